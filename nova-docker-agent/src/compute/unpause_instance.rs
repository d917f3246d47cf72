//! Lets a frozen container go on.

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
pub struct UnpauseInstance {
    /// The instance.
    pub instance: Instance,
}

impl Method for UnpauseInstance {
    const NAME: &'static str = "unpause_instance";
    const GUARDS: Guards = Guards::REF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(mut self, call: &Call) -> Result<(), Error> {
        let acting = call.agent.acting(&self.instance).await?;
        power::thaw(&call.agent, &acting).await?;
        let expect = Expect::one_of(&[Some(TaskState::Unpausing)]);
        power::settle(&call.agent, &call.context, &mut self.instance, (VmState::Active, expect)).await
    }
}
