//! Calls on images. Building and importing base images is the deployer's, in its own file.

use std::collections::HashMap;
use std::io;

use bollard::query_parameters::{
    ImportImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder,
};
use futures_util::{Stream, StreamExt};
use tokio_util::bytes::Bytes;

use super::{Engine, Error};

/// An image as dockerd has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// `sha256:…`, the digest of its configuration.
    pub id: String,
    /// `name:tag`s that point at it.
    pub tags: Vec<String>,
    /// Entry point.
    pub entrypoint: Vec<String>,
    /// Command.
    pub command: Vec<String>,
    /// Labels.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Docker's name of the architecture (`amd64`).
    pub architecture: String,
    /// Digests of its layers as they are unpacked (diff ids), the lowest first. Not known from a list.
    pub layers: Vec<String>,
    /// Bytes of all its layers, unpacked.
    pub size: u64,
    /// When it got its last name here, as RFC 3339. Not known from a list.
    pub tagged_at: Option<String>,
}

impl Engine {
    /// Looks at one image by id or name.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn inspect_image(&self, name: &str) -> Result<Image, Error> {
        let found = self.docker().inspect_image(name).await.map_err(|e| self.error(e))?;
        let config = found.config.unwrap_or_default();
        Ok(Image {
            id: found.id.unwrap_or_default(),
            tags: found.repo_tags.unwrap_or_default(),
            entrypoint: config.entrypoint.unwrap_or_default(),
            command: config.cmd.unwrap_or_default(),
            labels: config.labels.unwrap_or_default().into_iter().collect(),
            architecture: found.architecture.unwrap_or_default(),
            layers: found.root_fs.and_then(|root| root.layers).unwrap_or_default(),
            size: found.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
            tagged_at: found
                .metadata
                .and_then(|metadata| metadata.last_tag_time)
                .map(|time| time.to_string()),
        })
    }

    /// Images whose name matches `reference` (`nova-image/*`): ids and tags.
    ///
    /// # Errors
    /// When dockerd does not answer.
    pub async fn list_images(&self, reference: &str) -> Result<Vec<Image>, Error> {
        let filters = HashMap::from([("reference", vec![reference])]);
        let options = ListImagesOptionsBuilder::default().filters(&filters).build();
        let found = self.docker().list_images(Some(options)).await.map_err(|e| self.error(e))?;
        let image = |image: bollard::models::ImageSummary| Image {
            id: image.id,
            tags: image.repo_tags,
            ..Image::default()
        };
        Ok(found.into_iter().map(image).collect())
    }

    /// `docker load` of an archive. Returns when all of it is in Docker.
    ///
    /// # Errors
    /// [`Error::Other`] with dockerd's words, also when `archive` itself yields an error.
    pub async fn load_image<S>(&self, archive: S) -> Result<(), Error>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let options = ImportImageOptionsBuilder::default().quiet(true).build();
        // dockerd answers only after it read and unpacked the archive, so the usual limit would be one on image sizes.
        let docker = self.patient(std::time::Duration::from_secs(3600));
        let mut answers = std::pin::pin!(docker.import_image_stream(options, archive, None));
        while let Some(answer) = answers.next().await {
            answer.map_err(|e| self.error(e))?;
        }
        Ok(())
    }

    /// Removes a name, and the image when it was its last name. Returns false when there was none.
    ///
    /// # Errors
    /// [`Error::Conflict`] while containers use it.
    pub async fn remove_image(&self, name: &str) -> Result<bool, Error> {
        let options = RemoveImageOptionsBuilder::default().build();
        match self.docker().remove_image(name, Some(options), None).await.map_err(|e| self.error(e)) {
            Ok(_) => Ok(true),
            Err(Error::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
