//! Starts the container of a stopped instance.

use common::objects::Instance;
use common::objects::fields::{TaskState, VmState};
use serde::Deserialize;

use super::{Call, Method};
use crate::conductor::Expect;
use crate::error::Error;
use crate::instance::guards::Guards;
use crate::instance::spawn;
use crate::virt;

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
        spawn::start(agent, &acting, &call.context, false).await.map_err(with_advice)?;
        let power = agent.driver.power_state(acting.uuid()).await?;
        self.instance.set_power_state(power as i64);
        self.instance.set_state(VmState::Active);
        self.instance.set_task(None);
        let expect = Expect::one_of(&[Some(TaskState::PoweringOn)]);
        agent.conductor.save(&call.context, &mut self.instance, expect).await?;
        agent.tracker.note(&self.instance, power);
        Ok(())
    }
}

/// A missing container is not made again silently: its disk is gone with it.
fn with_advice(error: Error) -> Error {
    match error {
        Error::Virt(virt::Error::NotFound { uuid }) => Error::Refused {
            class: "InstancePowerOnFailure",
            code: 500,
            message: format!(
                "The container of instance {uuid} is missing on its host. A hard reboot makes a new one from the image."
            ),
        },
        other => other,
    }
}
