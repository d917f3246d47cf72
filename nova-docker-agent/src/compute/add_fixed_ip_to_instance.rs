//! Gives an instance one more address of a network it is in.

use common::objects::Instance;
use serde::Deserialize;

use super::{Call, Method};
use crate::error::Error;
use crate::instance::guards::Guards;
use crate::instance::{changing, network};

/// The arguments.
#[derive(Deserialize)]
pub struct AddFixedIpToInstance {
    /// The instance.
    pub instance: Instance,
    /// The network.
    pub network_id: String,
}

impl Method for AddFixedIpToInstance {
    const NAME: &'static str = "add_fixed_ip_to_instance";
    const GUARDS: Guards = Guards::F;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(self, call: &Call) -> Result<(), Error> {
        let Some(uuid) = self.instance.instance_uuid() else { return Ok(()) };
        let agent = &call.agent;
        let changed = async {
            agent.ports.add_fixed_ip(uuid, &self.network_id).await?;
            network::refresh(agent, &call.context, uuid, None).await
        };
        changing::noted(agent, uuid, changed).await
    }
}
