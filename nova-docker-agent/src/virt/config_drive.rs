//! An instance's config drive: a directory that it sees at `/config-drive`, where cloud-init looks for one that is no disk
//! (its data source ConfigDrive), read-only.
//!
//! It lies beside the other files of the instance, in `<state_path>/instances/<uuid>/config_drive/`, and goes with them.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use common::ids::InstanceUuid;

use super::guest_files::{close, failed, folder};
use super::{Error, InstanceSpec};
use crate::config::Config;

/// Where the instance sees it.
const TARGET: &str = "/config-drive";

const NAME: &str = "config_drive";

/// Whether `instance` has one (Nova: `nova.virt.configdrive.required_by`).
pub(super) fn wanted(instance: &InstanceSpec, config: &Config) -> bool {
    let by_image =
        instance.image_properties.get("img_config_drive").is_some_and(|value| value == "mandatory");
    instance.config_drive || config.force_config_drive || by_image
}

/// Its mount, as `source:target:ro`.
pub(super) fn bind(config: &Config, uuid: InstanceUuid) -> String {
    format!("{}:{TARGET}:ro", drive(config, uuid).display())
}

/// Makes the directory, which must be there when its container is made. What is in it stays.
///
/// # Errors
/// [`Error::GuestFiles`]
pub(super) fn make(config: &Config, uuid: InstanceUuid) -> Result<(), Error> {
    let drive = drive(config, uuid);
    close(config, uuid).and_then(|()| fs::create_dir_all(&drive)).map_err(failed(&drive))
}

/// True when something was written to it before.
pub(super) fn is_filled(config: &Config, uuid: InstanceUuid) -> bool {
    drive(config, uuid).join("openstack").exists()
}

/// Writes `files` (paths without a slash at the beginning) in the place of what is there. The directory stays the same one,
/// for a container may have it mounted.
///
/// # Errors
/// [`Error::GuestFiles`]
pub(super) fn fill(config: &Config, uuid: InstanceUuid, files: &[(String, Vec<u8>)]) -> Result<(), Error> {
    make(config, uuid)?;
    let drive = drive(config, uuid);
    let filled = empty(&drive)
        .and_then(|()| files.iter().try_for_each(|(path, content)| write(&drive, path, content)));
    filled.map_err(failed(&drive))
}

fn drive(config: &Config, uuid: InstanceUuid) -> PathBuf {
    folder(config, uuid).join(NAME)
}

fn empty(drive: &Path) -> io::Result<()> {
    for entry in fs::read_dir(drive)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

fn write(drive: &Path, path: &str, content: &[u8]) -> io::Result<()> {
    let path = Path::new(path);
    if !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(io::Error::other(format!("{} leads out of the drive", path.display())));
    }
    let path = drive.join(path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support;

    #[test]
    fn nova_image_and_operator_may_ask_for_it() {
        let (mut instance, mut config) = (test_support::instance(), test_support::config());
        assert!(!wanted(&instance, &config));
        instance.image_properties.insert("img_config_drive".into(), "optional".into());
        assert!(!wanted(&instance, &config));
        instance.image_properties.insert("img_config_drive".into(), "mandatory".into());
        assert!(wanted(&instance, &config));
        config.force_config_drive = true;
        assert!(wanted(&test_support::instance(), &config));
        assert!(wanted(
            &InstanceSpec { config_drive: true, ..test_support::instance() },
            &test_support::config()
        ));
    }

    #[test]
    fn what_it_held_goes_and_nothing_leaves_it() {
        let mut config = test_support::config();
        config.state_path = std::env::temp_dir().join(format!("config-drive-{}", std::process::id()));
        let uuid = test_support::uuid();
        make(&config, uuid).unwrap();
        assert!(!is_filled(&config, uuid));
        let files = |path: &str| vec![(path.to_owned(), b"x".to_vec())];
        fill(&config, uuid, &files("openstack/latest/user_data")).unwrap();
        assert!(is_filled(&config, uuid));
        fill(&config, uuid, &files("openstack/latest/meta_data.json")).unwrap();
        let latest = drive(&config, uuid).join("openstack/latest");
        assert!(latest.join("meta_data.json").exists() && !latest.join("user_data").exists());
        for outside in ["../x", "/tmp/x", "openstack/../../x"] {
            assert!(fill(&config, uuid, &files(outside)).is_err(), "{outside}");
        }
        fs::remove_dir_all(&config.state_path).unwrap();
    }
}
