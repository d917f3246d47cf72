//! Gives a running or stopped instance one more port.

use common::objects::Instance;
use serde::Deserialize;

use super::{Call, Method};
use crate::error::Error;
use crate::instance::follow;
use crate::instance::guards::Guards;
use crate::instance::network::{self, cached, owner};
use crate::network::model::{NetworkInfo, Vif};
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
        let alone = agent.caches.act(uuid).await;
        let before = cached(agent, context, uuid).await?;
        let made = agent.ports.allocate(&owner, &ask, (&[], &<_>::default())).await?;
        let recorded = network::record(agent, context, uuid, (&before, &made, &wanted)).await;
        let attached = match (recorded, made.as_slice()) {
            (Err(error), _) => Err(error),
            (Ok(()), [vif]) => agent.nics.attach(uuid, vif, &before).await,
            (Ok(()), _) => Err(failed(uuid, "Neutron made no port")),
        };
        let Err(error) = attached else {
            drop(alone);
            let all: NetworkInfo = before.iter().chain(&made).cloned().collect();
            follow::tell(agent, (uuid, self.instance.hostname().unwrap_or_default()), &all);
            return made.into_iter().next().ok_or_else(|| failed(uuid, "Neutron made no port"));
        };
        self.take_back(call, (&before, &made)).await;
        Err(failed(uuid, &error.sentence()))
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

    /// The port is as it was before, as far as that can be had.
    async fn take_back(&self, call: &Call, (before, made): (&NetworkInfo, &[Vif])) {
        let agent = &call.agent;
        let Some(uuid) = self.instance.instance_uuid() else { return };
        for vif in made {
            if let Err(error) = network::release_one(agent, &call.context, uuid, (before, vif)).await {
                tracing::error!(%error, port = %vif.id, "a port that could not be attached was not released");
            }
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
