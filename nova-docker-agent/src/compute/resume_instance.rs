//! Resumes a suspended instance: its container goes on where it was frozen. One that the host lost meanwhile, as by a
//! reboot, starts again.

use common::objects::Instance;
use common::objects::fields::{TaskState, VmState};
use serde::Deserialize;

use super::suspend_instance::OLD_VM_STATE;
use super::{Call, Method};
use crate::conductor::Expect;
use crate::error::Error;
use crate::instance::guards::{Guards, error_out};
use crate::instance::locks::Acting;
use crate::instance::{power, spawn};

/// The arguments.
#[derive(Deserialize)]
pub struct ResumeInstance {
    /// The instance.
    pub instance: Instance,
}

impl Method for ResumeInstance {
    const NAME: &'static str = "resume_instance";
    const GUARDS: Guards = Guards::REF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(mut self, call: &Call) -> Result<(), Error> {
        let agent = &call.agent;
        let acting = agent.acting(&self.instance).await?;
        if let Err(error) = go_on(call, &acting).await {
            return Err(error_out(agent, &call.context, &self.instance, error).await);
        }
        let mut metadata = self.instance.system_metadata();
        // Instances that were suspended by an older Nova have none.
        let before = metadata.remove(OLD_VM_STATE);
        let before = before.map_or(VmState::Active, |word| VmState::read(&word));
        self.instance.set_system_metadata(metadata);
        let expect = Expect::one_of(&[Some(TaskState::Resuming)]);
        power::settle(agent, &call.context, &mut self.instance, (before, expect)).await
    }
}

async fn go_on(call: &Call, acting: &Acting) -> Result<(), Error> {
    let agent = &call.agent;
    if agent.driver.power_state(acting.uuid()).await?.is_down() {
        return spawn::start(agent, acting, &call.context, false).await.map_err(spawn::with_advice);
    }
    power::thaw(agent, acting).await
}
