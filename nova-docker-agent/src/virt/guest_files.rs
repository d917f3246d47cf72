//! `/etc/hosts` and `/etc/resolv.conf` of an instance: dockerd writes none, for it does not set up the network.
//!
//! They lie in `<state_path>/instances/<uuid>/` (Nova: `instances_path`) and are mounted, so dockerd must see that folder
//! under the same path as the agent.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use common::ids::InstanceUuid;

use super::Error;
use crate::config::Config;
use crate::network::guest::GuestFiles;

const HOSTS: &str = "hosts";
const RESOLV_CONF: &str = "resolv.conf";

/// Mounts of the files of `uuid`, as `source:target`.
pub(super) fn binds(config: &Config, uuid: InstanceUuid) -> Vec<String> {
    let folder = folder(config, uuid);
    [HOSTS, RESOLV_CONF].map(|name| format!("{}:/etc/{name}", folder.join(name).display())).into()
}

/// Writes the files of `uuid`: the same file again, for a container has it mounted. `anew`: also when it is there.
///
/// # Errors
/// [`Error::GuestFiles`] when `state_path` cannot be written to.
pub(super) fn write(
    config: &Config,
    uuid: InstanceUuid,
    files: &GuestFiles,
    anew: bool,
) -> Result<(), Error> {
    let folder = folder(config, uuid);
    if !anew && folder.join(RESOLV_CONF).exists() {
        return Ok(());
    }
    let written = fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join(HOSTS), hosts(files)))
        .and_then(|()| fs::write(folder.join(RESOLV_CONF), resolv_conf(files)));
    written.map_err(failed(&folder))
}

/// Writes the files of `uuid` again if it has any: what comes late must not bring back what is gone.
///
/// # Errors
/// As [`write`].
pub(super) fn rewrite(config: &Config, uuid: InstanceUuid, files: &GuestFiles) -> Result<(), Error> {
    match folder(config, uuid).join(RESOLV_CONF).exists() {
        true => write(config, uuid, files, true),
        false => Ok(()),
    }
}

/// Removes the files of `uuid`; absent ones are fine.
///
/// # Errors
/// [`Error::GuestFiles`] when they cannot be removed.
pub(super) fn remove(config: &Config, uuid: InstanceUuid) -> Result<(), Error> {
    let folder = folder(config, uuid);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(failed(&folder)),
    }
}

/// The addresses that an instance's `/etc/hosts` has.
pub(super) fn addresses(config: &Config, uuid: InstanceUuid) -> Vec<IpAddr> {
    let hosts = fs::read_to_string(folder(config, uuid).join(HOSTS)).unwrap_or_default();
    let first = hosts.lines().filter_map(|line| line.split_whitespace().next()?.parse::<IpAddr>().ok());
    first.filter(|address| !address.is_loopback()).collect()
}

/// Instances that have files here.
pub(super) fn owners(config: &Config) -> Vec<InstanceUuid> {
    let folders = fs::read_dir(config.state_path.join("instances"));
    let names = folders.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.file_name()));
    names.filter_map(|name| name.to_str()?.parse().ok()).collect()
}

pub(super) fn folder(config: &Config, uuid: InstanceUuid) -> PathBuf {
    config.state_path.join("instances").join(uuid.to_string())
}

/// Makes the folder of the instance's files, into which nobody else on this host looks.
pub(super) fn close(config: &Config, uuid: InstanceUuid) -> io::Result<()> {
    let folder = folder(config, uuid);
    fs::create_dir_all(&folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

pub(super) fn failed(folder: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    |source| Error::GuestFiles { path: folder.to_owned(), source }
}

/// The instance finds itself: at its addresses, else at one of the loopback's. As in Debian that is not 127.0.0.1, which
/// must resolve to localhost.
fn hosts(files: &GuestFiles) -> String {
    let mut lines = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (address, name) in &files.hosts {
        let _ = writeln!(lines, "{address}\t{name}");
    }
    if files.hosts.is_empty() && !files.hostname.is_empty() {
        let _ = writeln!(lines, "127.0.1.1\t{}", files.hostname);
    }
    lines
}

fn resolv_conf(files: &GuestFiles) -> String {
    files.dns.iter().map(|server| format!("nameserver {server}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_finds_itself_and_its_name_servers() {
        let mut files = GuestFiles { hostname: "web-1".into(), ..GuestFiles::default() };
        assert!(hosts(&files).ends_with("\n127.0.1.1\tweb-1\n"));
        assert_eq!(resolv_conf(&files), "");
        files.hosts = vec![("10.0.0.5".parse().unwrap(), "web-1".into())];
        files.dns = vec!["10.20.0.1".parse().unwrap()];
        assert!(hosts(&files).ends_with("ip6-loopback\n10.0.0.5\tweb-1\n"));
        assert_eq!(resolv_conf(&files), "nameserver 10.20.0.1\n");
        assert!(hosts(&GuestFiles::default()).ends_with("ip6-loopback\n"));
    }
}
