//! What the agents ask of each other: a disk that moves is fetched, or not needed after all.

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::openstack::glance::OnBehalf;
use serde::Deserialize;

use super::{Call, Method};
use crate::disk::{self, Destination, Offer};
use crate::error::Error;
use crate::image::ImageRequest;
use crate::instance::guards::Guards;

/// The arguments.
#[derive(Deserialize)]
pub struct ReceiveDisk {
    /// Whose disk it is.
    pub instance_uuid: InstanceUuid,
    /// Where it is.
    pub offer: Offer,
    /// Glance id of the image that the instance was made from.
    pub image: String,
    /// Its container format.
    pub container_format: String,
    /// Its disk format.
    pub disk_format: String,
}

impl Method for ReceiveDisk {
    const NAME: &'static str = "receive_disk";
    const GUARDS: Guards = Guards::NONE;
    type Reply = String;

    async fn run(self, call: &Call) -> Result<String, Error> {
        let agent = &call.agent;
        let base = self.base(call).await;
        let here = Destination { driver: &agent.driver, state_path: &agent.config.state_path };
        disk::fetch(&here, self.instance_uuid, (&self.offer, &base)).await?;
        Ok(agent.driver.moved_name(self.instance_uuid))
    }
}

impl ReceiveDisk {
    /// The layers of the image: from glance, for then they are on this host for other instances, too. Without them the
    /// source sends them.
    async fn base(&self, call: &Call) -> Vec<String> {
        let (agent, context) = (&call.agent, &call.context);
        let request = ImageRequest {
            id: self.image.clone(),
            container_format: self.container_format.clone(),
            disk_format: self.disk_format.clone(),
            ..ImageRequest::default()
        };
        let behalf = OnBehalf { user_token: context.auth_token(), request_id: Some(context.request_id()) };
        let layers = async {
            let image = agent.images.ensure(&request, behalf).await?;
            Ok::<_, Error>(agent.driver.layers(&image.docker_id).await?)
        };
        layers.await.unwrap_or_else(|error| {
            tracing::info!(error = %Chain(&error), "the image of an instance that moves here comes from its host");
            Vec::new()
        })
    }
}

/// The arguments.
#[derive(Deserialize)]
pub struct DiscardDisk {
    /// Whose disk it is.
    pub instance_uuid: InstanceUuid,
}

impl Method for DiscardDisk {
    const NAME: &'static str = "discard_disk";
    const GUARDS: Guards = Guards::NONE;
    type Reply = ();

    async fn run(self, call: &Call) -> Result<(), Error> {
        let driver = &call.agent.driver;
        // One that a container is made of belongs to an instance.
        if driver.power_state(self.instance_uuid).await? == crate::virt::PowerState::NoState {
            driver.discard_moved(self.instance_uuid).await?;
        }
        Ok(())
    }
}
