//! Starts the container of a stopped instance.

use common::objects::Instance;
use common::objects::fields::{TaskState, VmState};
use serde::Deserialize;

use super::{Call, Method};
use crate::conductor::Expect;
use crate::error::Error;
use crate::instance::guards::Guards;
use crate::instance::{power, shelve, spawn};

/// The arguments.
#[derive(Deserialize)]
pub struct StartInstance {
    /// The instance.
    pub instance: Instance,
}

impl Method for StartInstance {
    const NAME: &'static str = "start_instance";
    const GUARDS: Guards = Guards::REF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(mut self, call: &Call) -> Result<(), Error> {
        let agent = &call.agent;
        // Nova starts without the lock; with it a lifecycle event cannot be mistaken for a change of its own.
        let acting = agent.acting(&self.instance).await?;
        spawn::start(agent, &acting, &call.context, false).await.map_err(spawn::with_advice)?;
        // A shelved instance that has not left its host is unshelved like this.
        shelve::forget(agent, &call.context, &mut self.instance).await;
        let expect = Expect::one_of(&[Some(TaskState::PoweringOn)]);
        power::settle(agent, &call.context, &mut self.instance, (VmState::Active, expect)).await
    }
}
