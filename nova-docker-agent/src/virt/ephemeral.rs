//! The ephemeral disk of an instance: a volume of Docker's at `/mnt`, where cloud-init mounts that of a virtual machine.
//!
//! It is no part of the container's own disk: snapshots do not have it, and a rebuild or a shelving ends it. Where Docker can
//! limit volumes it has the size of the flavor. When the instance moves, its content waits on the destination as an archive
//! until the container is there.
//!
//! ```text
//! <state_path>/instances/<uuid>/ephemeral0       there is, or was, a volume nova-<uuid>-ephemeral0
//! <state_path>/instances/<uuid>/ephemeral0.tar   what came from another host
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use common::docker;
use common::ids::InstanceUuid;
use futures_util::{Stream, TryStreamExt};
use tokio_util::bytes::Bytes;
use tokio_util::io::ReaderStream;

use super::error::{self, Error};
use super::guest_files::{close, failed, folder};
use super::spec::{HOST_LABEL, UUID_LABEL, container_name};
use super::{Driver, InstanceSpec};
use crate::config::Config;

/// Where the instance has it.
const TARGET: &str = "/mnt";

const NAME: &str = "ephemeral0";

fn volume_name(uuid: InstanceUuid) -> String {
    format!("{}-{NAME}", container_name(uuid))
}

/// Its mount. A new disk is empty, whatever the image has at that place.
pub(super) fn bind(instance: &InstanceSpec) -> Option<String> {
    (instance.ephemeral_gb > 0).then(|| format!("{}:{TARGET}:nocopy", volume_name(instance.uuid)))
}

fn mark(config: &Config, uuid: InstanceUuid) -> PathBuf {
    folder(config, uuid).join(NAME)
}

fn arrived(config: &Config, uuid: InstanceUuid) -> PathBuf {
    folder(config, uuid).join(format!("{NAME}.tar"))
}

/// What cannot be changed of the storage of a container that exists; none when `new` is possible. `quota`: Docker limits the
/// size of disks here. Pure.
pub fn in_place(old: &InstanceSpec, new: &InstanceSpec, quota: bool) -> Option<&'static str> {
    if quota && old.root_gb != new.root_gb {
        return Some("the size of its root disk");
    }
    let mounted = old.ephemeral_gb > 0;
    if mounted != (new.ephemeral_gb > 0) || (quota && old.ephemeral_gb != new.ephemeral_gb) {
        return Some("its ephemeral disk");
    }
    None
}

impl Driver {
    /// Makes the volume of an instance that has an ephemeral disk; one that is there stays, with what is in it.
    pub(super) async fn make_ephemeral(&self, instance: &InstanceSpec, quota: bool) -> Result<(), Error> {
        if instance.ephemeral_gb == 0 {
            return Ok(());
        }
        let (uuid, name) = (instance.uuid, volume_name(instance.uuid));
        let mark = mark(self.config(), uuid);
        fs::write(&mark, []).map_err(failed(&mark))?;
        let labels = [(UUID_LABEL, uuid.to_string()), (HOST_LABEL, self.config().host.clone())];
        let labels = labels.map(|(label, value)| (label.to_owned(), value)).into();
        let size = format!("{}G", instance.ephemeral_gb);
        let sized: &[(&str, &str)] = if quota { &[("size", &size)] } else { &[] };
        let made = match self.engine().create_volume(&name, sized, &labels).await {
            Err(refused) if quota && is_no_volume_quota(&refused) => {
                tracing::warn!(reason = %refused, "Docker cannot limit volumes here: ephemeral_gb is not enforced");
                self.engine().create_volume(&name, &[], &labels).await
            }
            other => other,
        };
        made.map_err(|e| error::of_container("make the ephemeral disk", uuid, e))
    }

    /// Removes the volume of an instance, if it has one, after its containers.
    pub(super) async fn remove_ephemeral(&self, uuid: InstanceUuid) -> Result<(), Error> {
        if !mark(self.config(), uuid).exists() {
            return Ok(());
        }
        let removed = self.engine().remove_volume(&volume_name(uuid)).await;
        removed.map(drop).map_err(|e| error::of_container("remove the ephemeral disk", uuid, e))
    }

    /// What is on the ephemeral disk of an instance that is stopped; none when it has no such disk.
    pub fn ephemeral(
        &self,
        uuid: InstanceUuid,
    ) -> Option<impl Stream<Item = io::Result<Bytes>> + Send + use<>> {
        if !mark(self.config(), uuid).exists() {
            return None;
        }
        let archive = self.engine().archive(&container_name(uuid), TARGET);
        Some(archive.map_err(io::Error::other))
    }

    /// Keeps what was on the ephemeral disk of an instance that comes here: `archive` is moved.
    ///
    /// # Errors
    /// [`Error::GuestFiles`]
    pub fn keep_ephemeral(&self, uuid: InstanceUuid, archive: &Path) -> Result<(), Error> {
        let path = arrived(self.config(), uuid);
        close(self.config(), uuid).and_then(|()| fs::rename(archive, &path)).map_err(failed(&path))
    }

    /// Puts what came with an instance into its container, which is new and has not run. May be repeated.
    ///
    /// # Errors
    /// When dockerd does not do it.
    pub async fn fill_ephemeral(&self, uuid: InstanceUuid) -> Result<(), Error> {
        let path = arrived(self.config(), uuid);
        let file = match tokio::fs::File::open(&path).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(&path)(error)),
        };
        let put = self.engine().unpack(&container_name(uuid), "/", ReaderStream::new(file)).await;
        put.map_err(|e| error::of_container("fill the ephemeral disk", uuid, e))?;
        fs::remove_file(&path).map_err(failed(&path))
    }

    /// Forgets what came with an instance that does not come after all.
    pub(super) fn discard_ephemeral(&self, uuid: InstanceUuid) {
        if fs::remove_file(arrived(self.config(), uuid)).is_ok() {
            // Only if there is nothing else in it.
            let _ = fs::remove_dir(folder(self.config(), uuid));
        }
    }
}

/// The file system below Docker's volumes has no project quotas.
fn is_no_volume_quota(refused: &docker::Error) -> bool {
    refused.to_string().contains("no quota support")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support;

    #[test]
    fn a_container_that_exists_gets_no_other_mounts_and_no_other_sizes() {
        let flavor =
            |root_gb, ephemeral_gb| InstanceSpec { root_gb, ephemeral_gb, ..test_support::instance() };
        for (old, new, quota, what) in [
            ((1, 0), (9, 0), false, None),
            ((1, 0), (9, 0), true, Some("the size of its root disk")),
            ((1, 0), (1, 2), false, Some("its ephemeral disk")),
            ((1, 2), (1, 4), false, None),
            ((1, 2), (1, 4), true, Some("its ephemeral disk")),
            ((1, 2), (1, 2), true, None),
        ] {
            let found = in_place(&flavor(old.0, old.1), &flavor(new.0, new.1), quota);
            assert_eq!(found, what, "{old:?} {new:?} {quota}");
        }
    }
}
