//! Files in and out of containers, running or not, as tar archives.

use std::io;
use std::time::Duration;

use bollard::query_parameters::{DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder};
use futures_util::{Stream, StreamExt, TryStreamExt};
use tokio_util::bytes::Bytes;

use super::{Engine, Error};

/// For archives of any size.
const PATIENCE: Duration = Duration::from_secs(3600);

impl Engine {
    /// Unpacks a tar archive into directory `path` of a container.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the container or the directory.
    pub async fn put_archive(&self, name: &str, path: &str, tar: Vec<u8>) -> Result<(), Error> {
        let options = UploadToContainerOptionsBuilder::default().path(path).build();
        let body = bollard::body_full(tar.into());
        self.docker().upload_to_container(name, Some(options), body).await.map_err(|e| self.error(e))
    }

    /// Unpacks a tar archive of any size into directory `path` of a container.
    ///
    /// # Errors
    /// As [`Self::put_archive`].
    pub async fn unpack<S>(&self, name: &str, path: &str, tar: S) -> Result<(), Error>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let options = UploadToContainerOptionsBuilder::default().path(path).build();
        // dockerd answers only after it unpacked all of it.
        let docker = self.patient(PATIENCE);
        let body = bollard::body_try_stream(tar);
        docker.upload_to_container(name, Some(options), body).await.map_err(|e| self.error(e))
    }

    /// A file or directory of a container as a tar archive, as it is read.
    pub fn archive(&self, name: &str, path: &str) -> impl Stream<Item = Result<Bytes, Error>> + Send + use<> {
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        let engine = self.clone();
        let archive = self.patient(PATIENCE).download_from_container(name, Some(options));
        archive.map_err(move |e| engine.error(e))
    }

    /// A file or directory of a container as a tar archive; None when there is no such path.
    ///
    /// # Errors
    /// [`Error::Other`] when it is larger than `max_bytes`.
    pub async fn get_archive(
        &self,
        name: &str,
        path: &str,
        max_bytes: usize,
    ) -> Result<Option<Vec<u8>>, Error> {
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        let mut stream = std::pin::pin!(self.docker().download_from_container(name, Some(options)));
        let mut tar = Vec::new();
        while let Some(chunk) = stream.next().await {
            match chunk.map_err(|e| self.error(e)) {
                Ok(chunk) => tar.extend_from_slice(&chunk),
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => return Err(error),
            }
            if tar.len() > max_bytes {
                return Err(Error::Other(format!("{path} is larger than {max_bytes} bytes")));
            }
        }
        Ok(Some(tar))
    }
}
