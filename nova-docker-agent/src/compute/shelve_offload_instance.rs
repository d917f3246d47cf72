//! Takes a shelved instance from its host.

use common::objects::Instance;
use serde::Deserialize;

use super::{Call, Method};
use crate::error::Error;
use crate::instance::guards::Guards;
use crate::instance::shelve::offload;

/// The arguments.
#[derive(Deserialize)]
pub struct ShelveOffloadInstance {
    /// The instance.
    pub instance: Instance,
    /// Give the guest time to end by itself.
    pub clean_shutdown: bool,
}

impl Method for ShelveOffloadInstance {
    const NAME: &'static str = "shelve_offload_instance";
    const GUARDS: Guards = Guards::REF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(mut self, call: &Call) -> Result<(), Error> {
        let acting = call.agent.acting(&self.instance).await?;
        let subject = (&mut self.instance, self.clean_shutdown);
        offload(&call.agent, &acting, &call.context, subject).await
    }
}
