//! Ends a rescue: the instance's own container runs again, with what was repaired in it.

use common::objects::Instance;
use common::objects::fields::{TaskState, VmState};
use serde::Deserialize;

use super::{Call, Method};
use crate::conductor::Expect;
use crate::error::Error;
use crate::instance::guards::{Guards, error_out};
use crate::instance::{power, spawn};

/// The arguments.
#[derive(Deserialize)]
pub struct UnrescueInstance {
    /// The instance.
    pub instance: Instance,
}

impl Method for UnrescueInstance {
    const NAME: &'static str = "unrescue_instance";
    const GUARDS: Guards = Guards::REF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(mut self, call: &Call) -> Result<(), Error> {
        let (agent, context) = (&call.agent, &call.context);
        let acting = agent.acting(&self.instance).await?;
        let back = async {
            agent.driver.put_back(acting.uuid()).await?;
            spawn::start(agent, &acting, context, false).await
        };
        if let Err(error) = back.await {
            let error = spawn::with_advice(error);
            return Err(error_out(agent, context, &self.instance, error).await);
        }
        let expect = Expect::one_of(&[Some(TaskState::Unrescuing)]);
        power::settle(agent, context, &mut self.instance, (VmState::Active, expect)).await
    }
}
