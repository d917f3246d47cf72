//! The file system of an instance as an archive that another instance can be made from.
//!
//! `docker commit` makes an image in Docker first. Its tag is the image in glance that it is for, so that an agent which
//! was killed meanwhile finds it, knows what was under way, and takes it away.

use std::collections::BTreeMap;
use std::io;

use common::docker;
use common::ids::InstanceUuid;
use futures_util::{Stream, TryStreamExt};
use tokio_util::bytes::Bytes;

use super::error::{self, Error};
use super::spec::container_name;
use super::{Driver, spec};

/// Repository of the images that only exist while they are uploaded.
const REPOSITORY: &str = "nova-snapshot";

impl Driver {
    /// Makes an image of the container of `uuid` as it is now, running or not. `image`: the glance image it is for.
    /// Returns Docker's id.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no container.
    pub async fn commit(&self, uuid: InstanceUuid, image: &str) -> Result<String, Error> {
        let name = container_name(uuid);
        let what = "make an image of the container";
        let found = self.engine().inspect_container(&name).await;
        let found = found.map_err(|e| error::of_container(what, uuid, e))?;
        // Labels cannot be taken away from an image; that of another instance must not say it is this one.
        let ours = found.labels.into_keys().filter(|label| label.starts_with(spec::LABEL_PREFIX));
        let labels: BTreeMap<String, String> = ours.map(|label| (label, String::new())).collect();
        let repository = repository(&self.config().host);
        let pause = self.config().docker.snapshot_pause;
        let committed = self.engine().commit_container(&name, (&repository, image), labels, pause).await;
        committed.map_err(|e| error::of_container(what, uuid, e))
    }

    /// The archive of a committed image (`docker save`), as it comes.
    pub fn archive(&self, docker_id: &str) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        self.engine().save_image(docker_id).map_err(io::Error::other)
    }

    /// Takes away what [`Driver::commit`] has made for `image`; an absent one is fine.
    ///
    /// # Errors
    /// When dockerd does not do it.
    pub async fn discard(&self, image: &str) -> Result<(), Error> {
        let name = format!("{}:{image}", repository(&self.config().host));
        let removed = self.engine().remove_image(&name).await;
        removed.map(drop).map_err(|e| error::general("remove the image of a snapshot", e))
    }

    /// The glance images for which there is a committed image.
    ///
    /// # Errors
    /// When dockerd does not answer.
    pub async fn committed(&self) -> Result<Vec<String>, Error> {
        let repository = repository(&self.config().host);
        let found = self.engine().list_images(&repository).await;
        let found: Vec<docker::Image> =
            found.map_err(|e| error::general("list the images of snapshots", e))?;
        let tags = found.iter().flat_map(|image| &image.tags);
        let of_ours = |tag: &String| {
            let (name, image) = tag.rsplit_once(':')?;
            (name == repository).then(|| image.to_owned())
        };
        Ok(tags.filter_map(of_ours).collect())
    }
}

fn repository(host: &str) -> String {
    repository_of(REPOSITORY, host)
}

/// Several agents may share one dockerd.
pub(super) fn repository_of(kind: &str, host: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let host: String = host.chars().map(plain).collect();
    format!("{kind}/{}", host.trim_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_s_name_becomes_one_of_docker_s() {
        assert_eq!(repository("Node_1.example.org."), "nova-snapshot/node-1-example-org");
    }
}
