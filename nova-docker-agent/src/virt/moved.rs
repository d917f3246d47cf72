//! The disk of an instance that moves to another host, and other limits for one that stays.
//!
//! ```text
//! source: nova-moving/<host>:<uuid>   committed for the time of the transfer; the container stays
//! destination: nova-moved/<host>:<uuid>   what its container there is made from, as long as that exists
//! ```

use std::io;

use common::docker::Image;
use common::ids::InstanceUuid;
use futures_util::Stream;
use tokio_util::bytes::Bytes;

use super::commit::repository_of;
use super::error::{self, Error};
use super::spec::{self, container_name};
use super::{Driver, InstanceSpec};
use crate::image::ImageHandle;

const MOVING: &str = "nova-moving";
const MOVED: &str = "nova-moved";

impl Driver {
    /// Gives the container of `instance` the limits of its flavor; its disk stays as it is.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no container.
    pub async fn set_limits(&self, instance: &InstanceSpec) -> Result<(), Error> {
        let limits = spec::limits_of(instance, self.config())?;
        let updated = self.engine().update_container(&container_name(instance.uuid), &limits).await;
        updated.map_err(|e| error::of_container("change the limits of the container", instance.uuid, e))
    }

    /// Makes an image of the stopped container of `uuid`, to be moved. [`Driver::end_moving`] takes it away.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no container.
    pub async fn begin_moving(&self, uuid: InstanceUuid) -> Result<Image, Error> {
        let what = "make an image of the container";
        let repository = repository_of(MOVING, &self.config().host);
        let tag = (repository.as_str(), &*uuid.to_string());
        let id = self.engine().commit_container(&container_name(uuid), tag, [].into(), false).await;
        let id = id.map_err(|e| error::of_container(what, uuid, e))?;
        self.engine().inspect_image(&id).await.map_err(|e| error::general(what, e))
    }

    /// See [`Driver::begin_moving`]; an absent image is fine.
    ///
    /// # Errors
    /// When dockerd does not do it.
    pub async fn end_moving(&self, uuid: InstanceUuid) -> Result<(), Error> {
        self.untag(MOVING, uuid).await
    }

    /// Brings the disk of an instance that moves here into Docker, from an archive that has it under [`Driver::moved_name`].
    ///
    /// # Errors
    /// When dockerd does not take it.
    pub async fn load_moved<S>(&self, archive: S) -> Result<(), Error>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let loaded = self.engine().load_image(archive).await;
        loaded.map_err(|e| error::general("load the disk of a moved instance", e))
    }

    /// The layers of an image, the lowest first; none when Docker does not have it.
    ///
    /// # Errors
    /// When dockerd does not answer.
    pub async fn layers(&self, image: &str) -> Result<Vec<String>, Error> {
        match self.engine().inspect_image(image).await {
            Ok(found) => Ok(found.layers),
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error::general("look at an image", error)),
        }
    }

    /// Name of the disk of an instance that has moved here.
    pub fn moved_name(&self, uuid: InstanceUuid) -> String {
        format!("{}:{uuid}", repository_of(MOVED, &self.config().host))
    }

    /// The disk that an instance came with when it moved here. A container made from it is the instance again.
    ///
    /// # Errors
    /// When dockerd does not answer.
    pub async fn moved(&self, uuid: InstanceUuid) -> Result<Option<ImageHandle>, Error> {
        match self.engine().inspect_image(&self.moved_name(uuid)).await {
            Ok(found) => Ok(Some(ImageHandle {
                image_id: uuid.to_string(),
                docker_id: found.id,
                has_command: !found.entrypoint.is_empty() || !found.command.is_empty(),
            })),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error::general("look for the disk of a moved instance", error)),
        }
    }

    /// Takes the disk away that an instance came with, after its container; an absent one is fine.
    ///
    /// # Errors
    /// When dockerd does not do it.
    pub async fn discard_moved(&self, uuid: InstanceUuid) -> Result<(), Error> {
        self.discard_ephemeral(uuid);
        self.untag(MOVED, uuid).await
    }

    /// Instances whose disk is on its way from here, and those whose disk came here.
    ///
    /// # Errors
    /// When dockerd does not answer.
    pub async fn moves(&self) -> Result<(Vec<InstanceUuid>, Vec<InstanceUuid>), Error> {
        Ok((self.tags(MOVING).await?, self.tags(MOVED).await?))
    }

    async fn tags(&self, kind: &str) -> Result<Vec<InstanceUuid>, Error> {
        let repository = repository_of(kind, &self.config().host);
        let found = self.engine().list_images(&repository).await;
        let found = found.map_err(|e| error::general("list the disks of moved instances", e))?;
        let tags = found.iter().flat_map(|image| &image.tags);
        Ok(tags.filter_map(|tag| tag.strip_prefix(&repository)?.strip_prefix(':')?.parse().ok()).collect())
    }

    async fn untag(&self, kind: &str, uuid: InstanceUuid) -> Result<(), Error> {
        let name = format!("{}:{uuid}", repository_of(kind, &self.config().host));
        let removed = self.engine().remove_image(&name).await;
        removed.map(drop).map_err(|e| error::general("remove the disk of a moved instance", e))
    }
}
