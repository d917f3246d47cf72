//! Freezes the container: its processes stand still and keep their memory.

use common::objects::Instance;
use common::objects::fields::{TaskState, VmState};
use serde::Deserialize;

use super::{Call, Method};
use crate::conductor::Expect;
use crate::error::Error;
use crate::instance::guards::Guards;
use crate::instance::power;

/// The arguments.
#[derive(Deserialize)]
pub struct PauseInstance {
    /// The instance.
    pub instance: Instance,
}

impl Method for PauseInstance {
    const NAME: &'static str = "pause_instance";
    const GUARDS: Guards = Guards::REF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(mut self, call: &Call) -> Result<(), Error> {
        // Nova holds no lock for this; with it a lifecycle event cannot be mistaken for a change of its own.
        let acting = call.agent.acting(&self.instance).await?;
        power::freeze(&call.agent, &acting).await?;
        let expect = Expect::one_of(&[Some(TaskState::Pausing)]);
        power::settle(&call.agent, &call.context, &mut self.instance, (VmState::Paused, expect)).await
    }
}
