//! Deletes an instance so that it can be restored: its container stays, off and without network, until
//! `periodic/reclaim_queued_deletes.rs` or its user deletes it for good.

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
pub struct SoftDeleteInstance {
    /// The instance.
    pub instance: Instance,
}

impl Method for SoftDeleteInstance {
    const NAME: &'static str = "soft_delete_instance";
    const GUARDS: Guards = Guards::REF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(mut self, call: &Call) -> Result<(), Error> {
        let acting = call.agent.acting(&self.instance).await?;
        // As Nova: a deleted guest is not asked.
        power::turn_off(&call.agent, &acting, 0).await?;
        let expect = Expect::one_of(&[Some(TaskState::SoftDeleting)]);
        power::settle(&call.agent, &call.context, &mut self.instance, (VmState::SoftDeleted, expect)).await
    }
}
