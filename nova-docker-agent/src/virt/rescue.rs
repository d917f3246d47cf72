//! A rescue container beside the original one: the first has the instance's name, sandbox and addresses, and the other's
//! file system at `/rescue`.
//!
//! ```text
//! nova-<uuid>           the rescue container ── /rescue ◄── volume nova-<uuid>-rescue: the original's layers, writable
//! nova-<uuid>-original  the stopped original one
//! ```
//! dockerd mounts the layers when the rescue container starts, as it would to start the original: a repair is there
//! afterwards. While there is a container of the second name, the instance is rescued, whatever else is missing.

use common::docker::{self, ContainerStatus};
use common::ids::InstanceUuid;

use super::Driver;
use super::error::{self, Error};
use super::spec::{HOST_LABEL, UUID_LABEL, container_name};

/// Where a rescue container has the file system of the original.
const MOUNT_POINT: &str = "/rescue";

/// The storage driver whose layers can be mounted like that.
const STORAGE_DRIVER: &str = "overlay2";

/// A page: the kernel takes no longer options of a mount.
const LONGEST_OPTIONS: usize = 4095;

/// How the file system of a container that is stopped can be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RescueDisk {
    /// Options of an overlay mount.
    options: String,
}

/// Name of the original container of a rescued instance.
fn original_name(uuid: InstanceUuid) -> String {
    format!("{}-original", container_name(uuid))
}

fn volume_name(uuid: InstanceUuid) -> String {
    format!("{}-rescue", container_name(uuid))
}

/// The mount that a rescue container has beside those of every container.
pub(super) fn bind(uuid: InstanceUuid) -> String {
    format!("{}:{MOUNT_POINT}", volume_name(uuid))
}

impl Driver {
    /// Looks how the file system of the instance could be had in another container; changes nothing.
    ///
    /// # Errors
    /// [`Error::NotRescuable`] when it cannot, [`Error::NotFound`] when there is no container.
    pub async fn rescue_disk(&self, uuid: InstanceUuid) -> Result<RescueDisk, Error> {
        let found = self.engine().inspect_container(&container_name(uuid)).await;
        let found = found.map_err(|e| error::of_container("look at the container", uuid, e))?;
        overlay(&found.storage).map_err(Error::NotRescuable)
    }

    /// Puts the stopped container of the instance aside, so that [`Driver::make`] can make a rescue container.
    ///
    /// # Errors
    /// When dockerd does not do it; [`Driver::put_back`] takes back what was done.
    pub async fn set_aside(&self, uuid: InstanceUuid, disk: &RescueDisk) -> Result<(), Error> {
        let failed = |e| error::of_container("put the container aside", uuid, e);
        self.engine().rename_container(&container_name(uuid), &original_name(uuid)).await.map_err(failed)?;
        let labels = [(UUID_LABEL, uuid.to_string()), (HOST_LABEL, self.config().host.clone())];
        let labels = labels.map(|(label, value)| (label.to_owned(), value)).into();
        let options = [("type", "overlay"), ("device", "overlay"), ("o", disk.options.as_str())];
        self.engine().create_volume(&volume_name(uuid), &options, &labels).await.map_err(failed)
    }

    /// Ends a rescue: the rescue container goes, and the original one, stopped, has its name again. Nothing is done when
    /// the instance is not rescued. May be repeated.
    ///
    /// # Errors
    /// When dockerd does not do it.
    pub async fn put_back(&self, uuid: InstanceUuid) -> Result<(), Error> {
        if !self.is_rescued(uuid).await? {
            return Ok(());
        }
        let failed = |e| error::of_container("end the rescue", uuid, e);
        self.engine().remove_container(&container_name(uuid)).await.map_err(failed)?;
        self.engine().remove_volume(&volume_name(uuid)).await.map_err(failed)?;
        self.engine().rename_container(&original_name(uuid), &container_name(uuid)).await.map_err(failed)
    }

    /// Whether the original container of the instance is set aside.
    ///
    /// # Errors
    /// When dockerd does not answer.
    pub async fn is_rescued(&self, uuid: InstanceUuid) -> Result<bool, Error> {
        match self.engine().inspect_container(&original_name(uuid)).await {
            Ok(found) => Ok(found.status != ContainerStatus::Removing),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error::of_container("look at the container", uuid, error)),
        }
    }

    /// Removes what a rescue has beside the instance's own container, which is gone already.
    pub(super) async fn remove_rescue(&self, uuid: InstanceUuid) -> Result<(), docker::Error> {
        self.engine().remove_volume(&volume_name(uuid)).await?;
        self.engine().remove_container(&original_name(uuid)).await.map(drop)
    }
}

/// The options of a mount of a container's layers, or why there are none.
fn overlay(
    (driver, data): &(String, std::collections::BTreeMap<String, String>),
) -> Result<RescueDisk, String> {
    if driver != STORAGE_DRIVER {
        return Err(format!(
            "Docker keeps its file system with the storage driver {driver:?}; only {STORAGE_DRIVER} lets another \
             container have it"
        ));
    }
    let part = |name: &str| data.get(name).ok_or_else(|| format!("Docker does not tell its {name}"));
    let (lower, upper, work) = (part("LowerDir")?, part("UpperDir")?, part("WorkDir")?);
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    if options.len() > LONGEST_OPTIONS {
        let layers = lower.split(':').count();
        return Err(format!(
            "it has too many layers ({layers}) for another container to have its file system"
        ));
    }
    Ok(RescueDisk { options })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage(driver: &str, lower: &str) -> (String, std::collections::BTreeMap<String, String>) {
        let data = [("LowerDir", lower), ("UpperDir", "/d/u/diff"), ("WorkDir", "/d/u/work")];
        (driver.into(), data.map(|(name, path)| (name.to_owned(), path.to_owned())).into())
    }

    #[test]
    fn the_original_is_mounted_as_docker_would() {
        let disk = overlay(&storage("overlay2", "/d/u-init/diff:/d/l/diff")).unwrap();
        assert_eq!(disk.options, "lowerdir=/d/u-init/diff:/d/l/diff,upperdir=/d/u/diff,workdir=/d/u/work");
    }

    #[test]
    fn what_cannot_be_mounted_is_told_before_anything_is_done() {
        assert!(overlay(&storage("btrfs", "/l")).unwrap_err().contains("\"btrfs\""));
        let many = vec!["/var/lib/docker/overlay2/0123456789abcdef/diff"; 100].join(":");
        assert!(overlay(&storage("overlay2", &many)).unwrap_err().contains("too many layers (100)"));
        let bare = ("overlay2".to_owned(), <_>::default());
        assert_eq!(overlay(&bare).unwrap_err(), "Docker does not tell its LowerDir");
    }
}
