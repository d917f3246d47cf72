//! Fills the image that nova-api has made for an instance's file system (Nova: `nova.image.glance`, `update`).

use std::io;

use common::openstack;
use common::openstack::glance::{Glance, OnBehalf};
use futures_util::Stream;
use tokio_util::bytes::Bytes;

use super::error::Error;

/// Says of `image` what it is and sends its data; a bounded part of it is in memory at a time.
///
/// `properties`: what more to say of it; None takes a property away.
///
/// # Errors
/// [`Error::NotFound`] when the user has deleted the image meanwhile.
pub async fn upload<S>(
    (glance, behalf): (&Glance, OnBehalf<'_>),
    image: &str,
    properties: &[(&str, Option<&str>)],
    archive: S,
) -> Result<(), Error>
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'static,
{
    let formats = [("container_format", Some("docker")), ("disk_format", Some("raw"))];
    let all: Vec<_> = formats.iter().chain(properties).copied().collect();
    let described = glance.update(image, &all, behalf).await;
    described.map_err(|e| Error::from_glance(image, e))?;
    let Err(error) = glance.upload(image, archive, behalf).await else { return Ok(()) };
    // Glance has several words for an image that is deleted under an upload.
    match glance.show(image, behalf).await {
        Err(openstack::Error::Api(gone)) if gone.status == 404 => {
            Err(Error::NotFound { image: image.to_owned() })
        }
        _ => Err(Error::Upload { image: image.to_owned(), source: error.into() }),
    }
}
