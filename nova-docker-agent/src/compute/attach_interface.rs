//! Gives a running or stopped instance one more port.

use common::objects::Instance;
use serde::Deserialize;

use super::{Call, Method};
use crate::error::Error;
use crate::instance::attaching;
use crate::instance::guards::Guards;
use crate::instance::network::{cached, owner};
use crate::network::model::Vif;
use crate::network::request::{Ask, Wanted};

/// The arguments.
#[derive(Deserialize)]
pub struct AttachInterface {
    /// The instance.
    pub instance: Instance,
    /// A new port of this network …
    #[serde(default)]
    pub network_id: Option<String>,
    /// … or this port; of the project's only network when neither is given.
    #[serde(default)]
    pub port_id: Option<String>,
    /// With this address.
    #[serde(default)]
    pub requested_ip: Option<String>,
    /// The user's name for it.
    #[serde(default)]
    pub tag: Option<String>,
}

impl Method for AttachInterface {
    const NAME: &'static str = "attach_interface";
    const GUARDS: Guards = Guards::EF;
    /// Nova's VIF; nova-api reads its id.
    type Reply = Vif;

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(self, call: &Call) -> Result<Vif, Error> {
        let (agent, context) = (&call.agent, &call.context);
        let acting = agent.acting(&self.instance).await?;
        let uuid = acting.uuid();
        let owner = owner(context, &self.instance, uuid);
        let wanted = [self.wanted()];
        let ask = match wanted[0].port.is_some() || wanted[0].network.is_some() {
            true => Ask::These(wanted.to_vec()),
            false => Ask::Only { needed: true },
        };
        let _alone = agent.caches.act(uuid).await;
        let before = cached(agent, context, uuid).await?;
        let note = || Ok(agent.attaching.begin(uuid, ask.given(), self.tag.as_deref())?);
        let attached = async {
            let made = agent.ports.allocate::<Error>(&owner, &ask, (&[], &<_>::default()), note).await?;
            let joined = attaching::join(agent, context, &self.instance, (&before, &made, &wanted)).await;
            joined.map_err(|error| failed(uuid, &error.sentence()))?;
            made.into_iter().next().ok_or_else(|| failed(uuid, "Neutron made no port"))
        };
        let attached = attached.await;
        if attached.is_err() {
            attaching::refused(agent, uuid, &before).await;
        }
        attached
    }
}

impl AttachInterface {
    fn wanted(&self) -> Wanted {
        Wanted {
            port: self.port_id.clone(),
            network: self.network_id.clone(),
            address: self.requested_ip.clone(),
            tag: self.tag.clone(),
        }
    }
}

/// Nova's sentence, and why.
fn failed(uuid: common::ids::InstanceUuid, why: &str) -> Error {
    Error::Refused {
        class: "InterfaceAttachFailed",
        code: 500,
        message: format!("Failed to attach network adapter device to {uuid}: {why}"),
    }
}
