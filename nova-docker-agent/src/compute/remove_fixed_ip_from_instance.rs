//! Takes an address from an instance; its port stays.

use common::objects::Instance;
use serde::Deserialize;

use super::{Call, Method};
use crate::error::Error;
use crate::instance::guards::Guards;
use crate::instance::{changing, network};

/// The arguments.
#[derive(Deserialize)]
pub struct RemoveFixedIpFromInstance {
    /// The instance.
    pub instance: Instance,
    /// The address.
    pub address: String,
}

impl Method for RemoveFixedIpFromInstance {
    const NAME: &'static str = "remove_fixed_ip_from_instance";
    const GUARDS: Guards = Guards::F;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(self, call: &Call) -> Result<(), Error> {
        let Some(uuid) = self.instance.instance_uuid() else { return Ok(()) };
        let agent = &call.agent;
        let changed = async {
            agent.ports.remove_fixed_ip(uuid, &self.address).await?;
            network::refresh(agent, &call.context, uuid, None).await
        };
        changing::noted(agent, uuid, changed).await
    }
}
