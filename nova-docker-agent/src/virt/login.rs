//! The user's SSH key in an image that nobody would take it for: without cloud-init the agent writes it itself, before
//! the first start.

use std::io::Read;

use common::docker::{self, Engine};

use super::spec::container_name;
use super::{Error, InstanceSpec, error};

/// Programs that take the key from the metadata service or the config drive.
const CLOUD_INIT: [&str; 2] = ["/usr/bin/cloud-init", "/usr/local/bin/cloud-init"];

/// Files that are read are small; an image may hold anything under their names.
const LARGEST_FILE: usize = 1024 * 1024;

/// Users who get the key: root, and the first one who is a person.
const USERS: [u64; 2] = [0, 1000];

/// The home of a user.
#[derive(Debug, PartialEq, Eq)]
struct Home {
    uid: u64,
    gid: u64,
    /// Without the slash at the beginning.
    path: String,
}

/// Writes the key of `instance`, if it has one, into its container, which has not been started yet.
///
/// # Errors
/// When dockerd does not do it.
pub(super) async fn put_key(engine: &Engine, instance: &InstanceSpec) -> Result<(), Error> {
    let Some(key) = instance.ssh_key.as_deref().map(str::trim).filter(|key| !key.is_empty()) else {
        return Ok(());
    };
    let name = container_name(instance.uuid);
    let refused = |e: docker::Error| error::of_container("write the SSH key", instance.uuid, e);
    for program in CLOUD_INIT {
        // A program is larger than what is read: then it is there all the same.
        if !matches!(engine.get_archive(&name, program, 0).await, Ok(None)) {
            return Ok(());
        }
    }
    let passwd = file(engine, &name, "/etc/passwd").await.map_err(refused)?;
    let mut tar = tar::Builder::new(Vec::new());
    for home in homes(&passwd) {
        let path = format!("{}/.ssh/authorized_keys", home.path);
        let present = file(engine, &name, &format!("/{path}")).await.map_err(refused)?;
        if let Some(keys) = with_key(&present, key) {
            append(&mut tar, &home, &keys).map_err(|e| refused(docker::Error::Other(e.to_string())))?;
        }
    }
    let tar = tar.into_inner().map_err(|e| refused(docker::Error::Other(e.to_string())))?;
    engine.put_archive(&name, "/", tar).await.map_err(refused)
}

/// The text of a small file; empty when there is none.
async fn file(engine: &Engine, container: &str, path: &str) -> Result<String, docker::Error> {
    let Some(archive) = engine.get_archive(container, path, LARGEST_FILE).await? else {
        return Ok(String::new());
    };
    let mut text = String::new();
    let mut archive = tar::Archive::new(archive.as_slice());
    if let Ok(mut entries) = archive.entries()
        && let Some(Ok(mut entry)) = entries.next()
    {
        // Text that is none is as good as no text.
        let _ = entry.read_to_string(&mut text);
    }
    Ok(text)
}

/// Homes of the users who get the key; an image without users has root, at `/root`.
fn homes(passwd: &str) -> Vec<Home> {
    let home = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, uid, gid, _, home, ..] = fields.as_slice() else { return None };
        let path = home.trim_matches('/').to_owned();
        Some(Home { uid: uid.parse().ok()?, gid: gid.parse().ok()?, path })
    };
    let mut homes: Vec<Home> = passwd
        .lines()
        .filter_map(home)
        .filter(|home| USERS.contains(&home.uid) && !home.path.is_empty())
        .collect();
    homes.dedup_by_key(|home| home.uid);
    if !homes.iter().any(|home| home.uid == 0) {
        homes.insert(0, Home { uid: 0, gid: 0, path: "root".into() });
    }
    homes
}

/// The file with the key at its end; None when it is in it already.
fn with_key(present: &str, key: &str) -> Option<String> {
    if present.lines().any(|line| line.trim() == key) {
        return None;
    }
    let end = if present.is_empty() || present.ends_with('\n') { "" } else { "\n" };
    Some(format!("{present}{end}{key}\n"))
}

fn append(tar: &mut tar::Builder<Vec<u8>>, home: &Home, keys: &str) -> std::io::Result<()> {
    let header = |mode: u32, size: usize, kind: tar::EntryType| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size as u64);
        header.set_uid(home.uid);
        header.set_gid(home.gid);
        header
    };
    let mut directory = header(0o700, 0, tar::EntryType::Directory);
    tar.append_data(&mut directory, format!("{}/.ssh/", home.path), std::io::empty())?;
    let mut file = header(0o600, keys.len(), tar::EntryType::Regular);
    tar.append_data(&mut file, format!("{}/.ssh/authorized_keys", home.path), keys.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_the_first_person_get_the_key() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\ndemo:x:1000:1001::/home/demo:/bin/sh\n";
        let home = |uid, gid, path: &str| Home { uid, gid, path: path.into() };
        assert_eq!(homes(passwd), [home(0, 0, "root"), home(1000, 1001, "home/demo")]);
        assert_eq!(homes("garbage\n:::\n"), [home(0, 0, "root")]);
    }

    #[test]
    fn keys_that_the_image_brings_are_kept() {
        assert_eq!(with_key("", "ssh-ed25519 A a@b").as_deref(), Some("ssh-ed25519 A a@b\n"));
        assert_eq!(with_key("ssh-rsa B", "ssh-ed25519 A").as_deref(), Some("ssh-rsa B\nssh-ed25519 A\n"));
        assert_eq!(with_key("x\nssh-ed25519 A\n", "ssh-ed25519 A"), None);
    }

    #[test]
    fn files_belong_to_the_user_and_nobody_else_may_read_them() {
        let mut tar = tar::Builder::new(Vec::new());
        append(&mut tar, &Home { uid: 1000, gid: 1001, path: "home/demo".into() }, "key\n").unwrap();
        let bytes = tar.into_inner().unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let path = entry.path().unwrap().display().to_string();
                (path, header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap())
            })
            .collect();
        assert_eq!(
            entries,
            [
                ("home/demo/.ssh/".into(), 0o700, 1000, 1001),
                ("home/demo/.ssh/authorized_keys".into(), 0o600, 1000, 1001),
            ]
        );
    }
}
