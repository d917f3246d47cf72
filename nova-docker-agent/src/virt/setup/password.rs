//! The administrator's password at boot (Nova: `inject_password` of libvirt). Only its hash leaves the agent.

use common::secret::Secret;
use sha_crypt::{PasswordHasher, ShaCrypt};

use super::layer::{Layer, Root};
use crate::virt::{Error, InstanceSpec};

/// Where passwords are; an image without it has none.
const SHADOW: &str = "/etc/shadow";

/// The C library takes 16 characters of salt at most: so many bytes in its base64.
const SALT: usize = 12;

/// Whose password it is: the image's `os_admin_user`, else root.
pub(super) fn administrator(instance: &InstanceSpec) -> &str {
    instance.image_properties.get("os_admin_user").map_or("root", String::as_str)
}

/// Gives `user` the password, if the image knows passwords and the user.
///
/// # Errors
/// When dockerd does not do it.
pub(super) async fn put(root: &Root<'_>, user: &str, secret: &Secret) -> Result<(), Error> {
    let Some(present) = root.file(SHADOW).await? else { return Ok(()) };
    let hash = hash(secret).map_err(|message| Error::Docker { what: "hash the password", message })?;
    let Some(shadow) = with_hash(&present.text, user, &hash) else { return Ok(()) };
    let mut layer = Layer::new();
    let header = &present.header;
    let owner = (header.uid().unwrap_or_default(), header.gid().unwrap_or_default());
    let mode = header.mode().map_or(0o600, |mode| mode & 0o777);
    layer.file(SHADOW.trim_start_matches('/'), mode, owner, shadow.as_bytes());
    root.write(layer).await
}

/// SHA-512 of `crypt(3)`, which every C library knows.
fn hash(secret: &Secret) -> Result<String, String> {
    let mut salt = [0; SALT];
    getrandom::fill(&mut salt).map_err(|error| error.to_string())?;
    let hash = ShaCrypt::SHA512.hash_password_with_salt(secret.reveal().as_bytes(), &salt);
    Ok(hash.map_err(|error| error.to_string())?.to_string())
}

/// The file with the hash in the user's line; None when there is no such line.
fn with_hash(shadow: &str, user: &str, hash: &str) -> Option<String> {
    let mut found = false;
    let lines = shadow.split('\n').map(|line| {
        let Some((name, rest)) = line.split_once(':').filter(|(name, _)| *name == user) else {
            return line.to_owned();
        };
        found = true;
        let rest = rest.split_once(':').map_or(String::new(), |(_, rest)| format!(":{rest}"));
        format!("{name}:{hash}{rest}")
    });
    let lines = lines.collect::<Vec<_>>().join("\n");
    found.then_some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_user_s_line_changes() {
        let shadow = "root:*:20000:0:99999:7:::\nrooty:!:1::::::\ndemo:*\n";
        let changed = with_hash(shadow, "root", "$6$x").unwrap();
        assert_eq!(changed, "root:$6$x:20000:0:99999:7:::\nrooty:!:1::::::\ndemo:*\n");
        assert_eq!(with_hash(shadow, "demo", "$6$x").unwrap().lines().last(), Some("demo:$6$x"));
        assert_eq!(with_hash(shadow, "nobody", "$6$x"), None);
    }

    #[test]
    fn the_hash_is_the_c_library_s() {
        let hash = hash(&Secret::new("secret")).unwrap();
        let fields: Vec<&str> = hash.split('$').collect();
        let [_, "6", "rounds=5000", salt, digest] = fields.as_slice() else { panic!("{hash}") };
        // Longer salts are cut by it, and nobody could log in.
        assert_eq!((salt.len(), digest.len()), (16, 86));
        // openssl passwd -6 -salt 'rounds=5000$................' secret
        let known = ShaCrypt::SHA512.hash_password_with_salt(b"secret", &[0; SALT]).unwrap().to_string();
        assert_eq!(known, KNOWN);
    }

    const KNOWN: &str = "$6$rounds=5000$................$s4PhasMEbRosyjTHnnRkGEDx0UsKyQs9bVr5s3vJaLPl4dzTUyni9ukaV96a9YSKIa52MvDE1N3vZ/Uqz4biw/";
}
