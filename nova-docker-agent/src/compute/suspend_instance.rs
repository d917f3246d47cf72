//! Suspends the instance: its container is frozen, as for a pause, and reported as suspended.

use common::objects::Instance;
use common::objects::fields::{TaskState, VmState};
use serde::Deserialize;

use super::{Call, Method};
use crate::conductor::Expect;
use crate::error::Error;
use crate::instance::guards::{Guards, error_out};
use crate::instance::power;

/// The key in `system_metadata` under which Nova keeps what the instance was before.
pub(super) const OLD_VM_STATE: &str = "old_vm_state";

/// The arguments.
#[derive(Deserialize)]
pub struct SuspendInstance {
    /// The instance.
    pub instance: Instance,
}

impl Method for SuspendInstance {
    const NAME: &'static str = "suspend_instance";
    const GUARDS: Guards = Guards::REF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(mut self, call: &Call) -> Result<(), Error> {
        let agent = &call.agent;
        let acting = agent.acting(&self.instance).await?;
        if let Err(error) = power::freeze(agent, &acting).await {
            return Err(error_out(agent, &call.context, &self.instance, error).await);
        }
        let mut metadata = self.instance.system_metadata();
        metadata.insert(OLD_VM_STATE.into(), self.instance.state().as_str().into());
        self.instance.set_system_metadata(metadata);
        let expect = Expect::one_of(&[Some(TaskState::Suspending)]);
        power::settle(agent, &call.context, &mut self.instance, (VmState::Suspended, expect)).await
    }
}
