//! Stops the container: its stop signal, and SIGKILL when it takes too long.

use common::objects::Instance;
use common::objects::fields::{TaskState, VmState};
use serde::Deserialize;

use super::{Call, Method};
use crate::conductor::Expect;
use crate::error::Error;
use crate::instance::guards::Guards;
use crate::instance::power;
use crate::instance::spec::stop_seconds;
use crate::virt::PowerState;

/// The arguments.
#[derive(Deserialize)]
pub struct StopInstance {
    /// The instance.
    pub instance: Instance,
    /// Give the guest time to end by itself.
    pub clean_shutdown: bool,
}

impl Method for StopInstance {
    const NAME: &'static str = "stop_instance";
    const GUARDS: Guards = Guards::REF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(mut self, call: &Call) -> Result<(), Error> {
        let agent = &call.agent;
        let acting = agent.acting(&self.instance).await?;
        let before = agent.driver.power_state(acting.uuid()).await?;
        let seconds = stop_seconds(&self.instance, self.clean_shutdown, agent.config.shutdown_timeout);
        power::turn_off(agent, &acting, seconds).await?;
        let end = (VmState::Stopped, expectation(before));
        power::settle(agent, &call.context, &mut self.instance, end).await
    }
}

/// A guest that had ended before may have lost its task to a power sync already (Nova: `stop_instance`).
fn expectation(before: PowerState) -> Expect {
    if before.is_down() {
        Expect::one_of(&[Some(TaskState::PoweringOff), None])
    } else {
        Expect::one_of(&[Some(TaskState::PoweringOff)])
    }
}
