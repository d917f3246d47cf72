//! Takes a port from an instance: the NIC goes, a port that Nova made is deleted, one that the user made is free again.

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::objects::Instance;
use serde::Deserialize;

use super::{Call, Method};
use crate::error::Error;
use crate::instance::follow;
use crate::instance::guards::Guards;
use crate::instance::network::{cached, release_one};
use crate::instance::tags;
use crate::network;
use crate::network::model::{NetworkInfo, Vif};

/// The arguments.
#[derive(Deserialize)]
pub struct DetachInterface {
    /// The instance.
    pub instance: Instance,
    /// The port.
    pub port_id: String,
}

impl Method for DetachInterface {
    const NAME: &'static str = "detach_interface";
    const GUARDS: Guards = Guards::EF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(self, call: &Call) -> Result<(), Error> {
        let (agent, context) = (&call.agent, &call.context);
        let acting = agent.acting(&self.instance).await?;
        let uuid = acting.uuid();
        let _alone = agent.caches.act(uuid).await;
        let mut rest = cached(agent, context, uuid).await?;
        let index = rest.iter().position(|vif| vif.id.to_string() == self.port_id);
        let index = index.ok_or_else(|| Error::Refused {
            class: "PortNotFound",
            code: 404,
            message: format!("Port {} is not attached", self.port_id),
        })?;
        let condemned = rest.remove(index);
        agent.attaching.begin_leaving(uuid, condemned.id)?;
        let detached = self.detach(call, uuid, (&rest, &condemned)).await;
        // What failed is told; only what was killed is finished at the next start.
        agent.attaching.end_leaving(uuid);
        detached
    }
}

impl DetachInterface {
    async fn detach(
        &self,
        call: &Call,
        uuid: InstanceUuid,
        (rest, condemned): (&NetworkInfo, &Vif),
    ) -> Result<(), Error> {
        let (agent, context) = (&call.agent, &call.context);
        if let Err(error) = agent.nics.detach(uuid, condemned.id).await {
            return Err(Error::Refused {
                class: "InterfaceDetachFailed",
                code: 400,
                message: format!("Failed to detach network adapter device from {uuid}: {}", error.sentence()),
            });
        }
        follow::tell(agent, (uuid, self.instance.hostname().unwrap_or_default()), rest);
        if let Err(error) = tags::remove(agent, context, (&self.instance, &condemned.address)).await {
            tracing::warn!(error = %Chain(&error), "the tag of a detached port stays");
        }
        match release_one(agent, context, uuid, (rest, condemned)).await {
            // What the user deleted meanwhile is gone, as wanted.
            Err(Error::Network(network::Error::PortNotFound(_))) => Ok(()),
            other => other,
        }
    }
}
