//! `/etc/hosts` and `/etc/resolv.conf` of an instance: dockerd writes none where it does not set up the network.
//!
//! They lie in `<state_path>/instances/<uuid>/` (Nova: `instances_path`) and are mounted, so dockerd must see that folder
//! under the same path as the agent.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use common::ids::InstanceUuid;

use super::spec::hostname;
use super::{Error, InstanceSpec};
use crate::config::Config;

const HOSTS: &str = "hosts";
const RESOLV_CONF: &str = "resolv.conf";

/// Mounts of the files of `uuid`, as `source:target`.
pub(super) fn binds(config: &Config, uuid: InstanceUuid) -> Vec<String> {
    let folder = folder(config, uuid);
    [HOSTS, RESOLV_CONF].map(|name| format!("{}:/etc/{name}", folder.join(name).display())).into()
}

/// Writes the files of `instance`; to be called before its container is made.
///
/// # Errors
/// [`Error::GuestFiles`] when `state_path` cannot be written to.
pub(super) fn write(config: &Config, instance: &InstanceSpec) -> Result<(), Error> {
    let folder = folder(config, instance.uuid);
    let written = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(folder.join(HOSTS), hosts(&instance.hostname)))
        // No network, no name servers.
        .and_then(|()| std::fs::write(folder.join(RESOLV_CONF), ""));
    written.map_err(failed(&folder))
}

/// Removes the files of `uuid`; absent ones are fine.
///
/// # Errors
/// [`Error::GuestFiles`] when they cannot be removed.
pub(super) fn remove(config: &Config, uuid: InstanceUuid) -> Result<(), Error> {
    let folder = folder(config, uuid);
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(failed(&folder)),
    }
}

fn folder(config: &Config, uuid: InstanceUuid) -> PathBuf {
    config.state_path.join("instances").join(uuid.to_string())
}

fn failed(folder: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    |source| Error::GuestFiles { path: folder.to_owned(), source }
}

/// What an instance without a network finds in its `/etc/hosts`: itself.
fn hosts(name: &str) -> String {
    let mut lines = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    if let Some(name) = hostname(name) {
        // As Debian does: the own name must not be that of 127.0.0.1, which resolves to localhost.
        let _ = writeln!(lines, "127.0.1.1\t{name}");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_finds_itself() {
        assert!(hosts("web-1").ends_with("\n127.0.1.1\tweb-1\n"));
        assert!(hosts("").ends_with("ip6-loopback\n"));
    }
}
