//! Image, container, start: the way in, for a build and for a hard reboot that finds no container.

use common::messaging::RequestContext;

use super::locks::Acting;
use crate::agent::Agent;
use crate::error::Error;
use crate::image::{ImageHandle, ImageRequest, OnBehalf};
use crate::virt::{self, InstanceSpec};

/// Makes the container ahead, not started, if that needs no download: while the conductor still decides whether the
/// instance may be built here. True when it was made; whatever keeps it from being made, [`spawn`] will meet again.
pub async fn prepare(agent: &Agent, spec: &InstanceSpec, request: &ImageRequest) -> bool {
    let Some(image) = agent.images.cached(&request.id) else { return false };
    agent.driver.create(spec, &image).await.unwrap_or(false)
}

/// Makes and starts the container of an instance; leaves none behind when it fails.
///
/// `prepared`: [`prepare`] has made it.
///
/// # Errors
/// [`Error::Cancelled`] when the instance is being deleted meanwhile, else what image store or hypervisor say.
pub async fn spawn(
    agent: &Agent,
    acting: &Acting,
    context: &RequestContext,
    (spec, request, prepared): (&InstanceSpec, &ImageRequest, bool),
) -> Result<(), Error> {
    if prepared {
        return Ok(agent.driver.start_new(spec).await?);
    }
    let image = ensure(agent, acting, context, request).await?;
    match agent.driver.spawn(spec, &image).await {
        // Somebody removed the image behind our back: fetch it and try once more.
        Err(virt::Error::ImageGone { .. }) => {
            agent.images.forget(&request.id).await;
            let image = ensure(agent, acting, context, request).await?;
            agent.driver.spawn(spec, &image).await?;
        }
        other => other?,
    }
    Ok(())
}

/// The image in Docker; gives up as soon as the instance is being deleted, for a download may take minutes.
async fn ensure(
    agent: &Agent,
    acting: &Acting,
    context: &RequestContext,
    request: &ImageRequest,
) -> Result<ImageHandle, Error> {
    let behalf = OnBehalf { user_token: context.auth_token(), request_id: Some(context.request_id()) };
    tokio::select! {
        biased;
        () = acting.cancelled() => Err(Error::Cancelled),
        image = agent.images.ensure(request, behalf) => Ok(image?),
    }
}
