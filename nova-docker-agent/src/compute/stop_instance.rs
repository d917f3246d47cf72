//! Stops the container: its stop signal, and SIGKILL when it takes too long.

use common::objects::Instance;
use common::objects::fields::{TaskState, VmState};
use serde::Deserialize;

use super::{Call, Method};
use crate::conductor::Expect;
use crate::error::Error;
use crate::instance::guards::Guards;
use crate::instance::spec::stop_seconds;
use crate::virt::{self, PowerState};

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
        match agent.driver.power_off(acting.uuid(), seconds).await {
            // A container that is gone does not run: stopped is true.
            Err(virt::Error::NotFound { .. }) => {
                tracing::warn!("the container of a stopped instance is missing");
            }
            other => other?,
        }
        let power = agent.driver.power_state(acting.uuid()).await?;
        self.instance.set_power_state(power as i64);
        self.instance.set_state(VmState::Stopped);
        self.instance.set_task(None);
        agent.conductor.save(&call.context, &mut self.instance, expectation(before)).await?;
        agent.tracker.note(&self.instance, power);
        Ok(())
    }
}

/// A guest that had ended before may have lost its task to a power sync already (Nova: `stop_instance`).
fn expectation(before: PowerState) -> Expect {
    match before {
        PowerState::NoState | PowerState::Shutdown | PowerState::Crashed => {
            Expect::one_of(&[Some(TaskState::PoweringOff), None])
        }
        _ => Expect::one_of(&[Some(TaskState::PoweringOff)]),
    }
}
