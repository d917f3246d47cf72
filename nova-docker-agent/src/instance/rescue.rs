//! A rescue container takes the place of the instance's own one: its sandbox and addresses stay.

use common::error_chain::Chain;
use common::messaging::RequestContext;
use common::objects::Instance;
use common::secret::Secret;

use super::locks::Acting;
use super::network;
use super::snapshot::behalf;
use super::spawn;
use super::spec::{image_of_instance, instance_spec};
use crate::agent::Agent;
use crate::error::Error;
use crate::image::ImageRequest;
use crate::virt::InstanceSpec;

/// Whose password is set.
const ADMINISTRATOR: &str = "root";

/// What a rescue container is made from.
pub struct RescueImage {
    request: ImageRequest,
    properties: std::collections::BTreeMap<String, String>,
}

/// Finds the image of a rescue and brings it to Docker: the one that is asked for, else the one that the instance was
/// made from (Nova: `_get_rescue_image`).
///
/// # Errors
/// What is wrong with the image; [`Error::Cancelled`] when the instance is being deleted meanwhile.
pub async fn image(
    agent: &Agent,
    acting: &Acting,
    context: &RequestContext,
    wanted: (&Instance, Option<&str>),
) -> Result<RescueImage, Error> {
    tokio::select! {
        biased;
        // A download may take minutes.
        () = acting.cancelled() => Err(Error::Cancelled),
        image = find(agent, context, wanted) => image,
    }
}

async fn find(
    agent: &Agent,
    context: &RequestContext,
    (instance, wanted): (&Instance, Option<&str>),
) -> Result<RescueImage, Error> {
    let base = instance.system_metadata().remove("image_base_image_ref").filter(|base| !base.is_empty());
    let id = wanted.or(base.as_deref()).or(instance.image_ref()).unwrap_or_default();
    let found = agent.images.describe(id, behalf(context)).await;
    let (request, properties) = match found {
        Ok(found) => found,
        // What the instance runs is in Docker, whatever glance says by now.
        Err(_) if wanted.is_none() && agent.images.cached(id).is_some() => {
            let (request, properties) = image_of_instance(instance);
            (ImageRequest { id: id.to_owned(), ..request }, properties)
        }
        Err(error) => return Err(error.into()),
    };
    agent.images.ensure(&request, behalf(context)).await?;
    Ok(RescueImage { request, properties })
}

/// Makes and starts the rescue container; the original one is set aside.
///
/// # Errors
/// As [`spawn::spawn_again`].
pub async fn start(
    agent: &Agent,
    acting: &Acting,
    context: &RequestContext,
    (instance, image): (&Instance, &RescueImage),
) -> Result<(), Error> {
    let network_info = network::network_info(agent, context, instance).await?;
    let spec = InstanceSpec {
        rescue: true,
        image_id: image.request.id.clone(),
        ..instance_spec(instance, image.properties.clone())?
    };
    spawn::spawn_again(agent, acting, context, (spec, &image.request, &network_info)).await
}

/// Sets the password of the rescue container's administrator; one that has no tools for it runs without.
pub async fn set_password(agent: &Agent, acting: &Acting, password: &Secret) {
    if password.reveal().is_empty() {
        return;
    }
    if let Err(error) = agent.driver.set_password(acting.uuid(), ADMINISTRATOR, password).await {
        tracing::info!(error = %Chain(&error), "the rescue container has no password");
    }
}
