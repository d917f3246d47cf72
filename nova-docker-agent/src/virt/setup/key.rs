//! The user's SSH key in an image that nobody would take it for: without cloud-init the agent writes it itself, before
//! the first start.

use super::layer::{Layer, Root};
use crate::virt::Error;

/// Programs that take the key from the metadata service or the config drive.
const CLOUD_INIT: [&str; 2] = ["/usr/bin/cloud-init", "/usr/local/bin/cloud-init"];

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

/// Writes the user's key, if there is one, into an image that has no program for it.
///
/// # Errors
/// When dockerd does not do it.
pub(super) async fn put(root: &Root<'_>, key: Option<&str>) -> Result<(), Error> {
    let Some(key) = key.map(str::trim).filter(|key| !key.is_empty()) else { return Ok(()) };
    for program in CLOUD_INIT {
        if root.has(program).await {
            return Ok(());
        }
    }
    let text = async |path: &str| Ok(root.file(path).await?.map(|present| present.text).unwrap_or_default());
    let mut layer = Layer::new();
    for home in homes(&text("/etc/passwd").await?) {
        let present: String = text(&format!("/{}/.ssh/authorized_keys", home.path)).await?;
        if let Some(keys) = with_key(&present, key) {
            append(&mut layer, &home, &keys);
        }
    }
    root.write(layer).await
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

fn append(layer: &mut Layer, home: &Home, keys: &str) {
    let owner = (home.uid, home.gid);
    layer.directory(&format!("{}/.ssh", home.path), 0o700, owner);
    layer.file(&format!("{}/.ssh/authorized_keys", home.path), 0o600, owner, keys.as_bytes());
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
        let mut layer = Layer::new();
        append(&mut layer, &Home { uid: 1000, gid: 1001, path: "home/demo".into() }, "key\n");
        assert_eq!(
            layer.entries(),
            [
                ("home/demo/.ssh/".into(), 0o700, 1000, 1001),
                ("home/demo/.ssh/authorized_keys".into(), 0o600, 1000, 1001),
            ]
        );
    }
}
