//! Brings a soft-deleted instance back: its container starts again.

use common::objects::Instance;
use common::objects::fields::{TaskState, VmState};
use serde::Deserialize;

use super::{Call, Method};
use crate::conductor::Expect;
use crate::error::Error;
use crate::instance::guards::Guards;
use crate::instance::{power, spawn};

/// The arguments.
#[derive(Deserialize)]
pub struct RestoreInstance {
    /// The instance.
    pub instance: Instance,
}

impl Method for RestoreInstance {
    const NAME: &'static str = "restore_instance";
    const GUARDS: Guards = Guards::REF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(mut self, call: &Call) -> Result<(), Error> {
        let agent = &call.agent;
        let acting = agent.acting(&self.instance).await?;
        spawn::start(agent, &acting, &call.context, false).await.map_err(spawn::with_advice)?;
        let expect = Expect::one_of(&[Some(TaskState::Restoring)]);
        power::settle(agent, &call.context, &mut self.instance, (VmState::Active, expect)).await
    }
}
