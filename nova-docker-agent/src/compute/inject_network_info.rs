//! Brings an instance's NICs up to date with Neutron (`reset_network` of the API): what a guest's files would be told
//! elsewhere, the agent sets itself.

use common::objects::Instance;
use serde::Deserialize;

use super::{Call, Method};
use crate::error::Error;
use crate::instance::guards::Guards;
use crate::instance::network;

/// The arguments.
#[derive(Deserialize)]
pub struct InjectNetworkInfo {
    /// The instance.
    pub instance: Instance,
}

impl Method for InjectNetworkInfo {
    const NAME: &'static str = "inject_network_info";
    const GUARDS: Guards = Guards::F;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(self, call: &Call) -> Result<(), Error> {
        let Some(uuid) = self.instance.instance_uuid() else { return Ok(()) };
        network::refresh(&call.agent, &call.context, uuid, None).await
    }
}
