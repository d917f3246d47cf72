//! A container's file system as an image, and an image as an archive.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::models::ContainerConfig;
use bollard::query_parameters::CommitContainerOptionsBuilder;
use futures_util::{Stream, TryStreamExt};
use tokio_util::bytes::Bytes;

use super::{Engine, Error};

/// Time until dockerd answers: it has packed the whole file system by then.
const PATIENCE: Duration = Duration::from_secs(3600);

impl Engine {
    /// `docker commit`: makes the image `repository:tag` of a container, running or not, with what it runs as its
    /// command. `labels` go over those of the container. `pause`: its processes stand still meanwhile. Returns the id.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the container.
    pub async fn commit_container(
        &self,
        name: &str,
        (repository, tag): (&str, &str),
        labels: BTreeMap<String, String>,
        pause: bool,
    ) -> Result<String, Error> {
        let options = CommitContainerOptionsBuilder::default().container(name).repo(repository).tag(tag);
        let config =
            ContainerConfig { labels: Some(labels.into_iter().collect()), ..ContainerConfig::default() };
        let committed = self.patient(PATIENCE).commit_container(options.pause(pause).build(), config).await;
        Ok(committed.map_err(|e| self.error(e))?.id)
    }

    /// `docker save` of one image, as it comes.
    pub fn save_image(&self, id: &str) -> impl Stream<Item = Result<Bytes, Error>> + Send + use<> {
        let (engine, docker) = (self.clone(), self.patient(PATIENCE));
        docker.export_image(id).map_err(move |e| engine.error(e))
    }
}
