//! Deletes an instance: container, allocations, record.

use common::objects::fields::VmState;
use common::objects::{Instance, Versioned};
use serde::Deserialize;

use super::{Call, Method};
use crate::conductor::Expect;
use crate::error::Error;
use crate::instance::destroy;
use crate::instance::guards::Guards;

/// The arguments.
#[derive(Deserialize)]
pub struct TerminateInstance {
    /// The instance.
    pub instance: Instance,
}

impl Method for TerminateInstance {
    const NAME: &'static str = "terminate_instance";
    const GUARDS: Guards = Guards::REF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(mut self, call: &Call) -> Result<(), Error> {
        let agent = &call.agent;
        if let Some(uuid) = self.instance.instance_uuid() {
            // A build that waits for an image need not go on.
            agent.locks.cancel(uuid);
        }
        let acting = agent.acting(&self.instance).await?;
        match destroy::delete(agent, &acting, &call.context, &mut self.instance).await {
            // Already gone: that is what was wanted.
            Err(error) if error.is_instance_not_found() => {
                agent.tracker.release(acting.uuid());
                Ok(())
            }
            Err(error) => {
                // What was set for the end must not be saved with it.
                let mut instance = self.instance;
                instance.object_mut().clear_changes();
                instance.set_state(VmState::Error);
                if let Err(error) = agent.conductor.save(&call.context, &mut instance, Expect::ANY).await {
                    tracing::warn!(%error, "the instance could not be put into ERROR");
                }
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }
}
