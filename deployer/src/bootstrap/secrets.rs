//! Passwords and keys: made once, kept in one file of mode 0600, never printed. Missing ones are added, none is changed.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use common::config::SecretKind;
use common::secret::Secret;

/// What can go wrong with the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The file cannot be read or written.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// "read" or "write".
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file does not hold what we wrote.
    #[error("{} is damaged: {message}; restore it, or remove the platform with its volumes", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The reader's complaint, without the content.
        message: String,
    },
    /// The system has no randomness to give.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// No certificate.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
}

/// All secrets of a platform by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Secrets(BTreeMap<String, Secret>);

impl Secrets {
    /// The secret called `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&Secret> {
        self.0.get(name)
    }

    /// Names and values, for templates.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.0.iter().map(|(name, secret)| (name.as_str(), secret))
    }

    /// These, with stand-ins for what is not there yet: enough to plan with.
    pub(crate) fn or_placeholders(mut self, wanted: &BTreeMap<String, SecretKind>) -> Secrets {
        for (name, secret) in Secrets::placeholders(wanted).0 {
            self.0.entry(name).or_insert(secret);
        }
        self
    }

    /// Stand-ins for validation and `render`: every secret is its own name in parentheses.
    pub(crate) fn placeholders(wanted: &BTreeMap<String, SecretKind>) -> Secrets {
        Secrets(wanted.keys().map(|name| (name.clone(), Secret::new(format!("(secret-{name})")))).collect())
    }
}

/// Reads the secrets and adds the missing ones of `wanted`.
///
/// `address`: what a certificate is for.
pub(crate) fn ensure(
    path: &Path,
    wanted: &BTreeMap<String, SecretKind>,
    address: Ipv4Addr,
) -> Result<Secrets, Error> {
    let mut secrets = read(path)?;
    let before = secrets.0.len();
    for (name, kind) in wanted {
        if !secrets.0.contains_key(name) {
            secrets.0.insert(name.clone(), Secret::new(generate(*kind, address)?));
        }
    }
    if secrets.0.len() > before {
        write(path, &secrets).map_err(|source| Error::Io {
            doing: "write",
            path: path.to_owned(),
            source,
        })?;
    }
    Ok(secrets)
}

/// Reads the secrets there are; none when there is no file.
pub(crate) fn read(path: &Path) -> Result<Secrets, Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Secrets::default()),
        Err(source) => return Err(Error::Io { doing: "read", path: path.to_owned(), source }),
    };
    let damaged = |message: String| Error::Damaged { path: path.to_owned(), message };
    let mut secrets = BTreeMap::new();
    for (number, line) in
        text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
    {
        // We write this file ourselves, one `name: "value"` a line. A YAML reader's message could quote a secret.
        let (name, value) = line
            .split_once(": ")
            .ok_or_else(|| damaged(format!("line {} is no `name: value`", number + 1)))?;
        secrets.insert(name.to_owned(), Secret::new(value.trim_matches('"').replace("\\n", "\n")));
    }
    Ok(Secrets(secrets))
}

fn write(path: &Path, secrets: &Secrets) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let temporary = folder.join(format!(".secrets.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    writeln!(file, "# Passwords and keys of this platform. Generated; services hold copies: do not edit.")?;
    for (name, secret) in secrets.iter() {
        // A certificate has lines.
        writeln!(file, "{name}: \"{}\"", secret.reveal().replace('\n', "\\n"))?;
    }
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    std::fs::File::open(folder)?.sync_all()
}

fn generate(kind: SecretKind, address: Ipv4Addr) -> Result<String, Error> {
    match kind {
        SecretKind::Password => password(32),
        SecretKind::Fernet => Ok(URL_SAFE.encode(random::<32>()?)),
        SecretKind::Hex => Ok(random::<32>()?.iter().map(|byte| format!("{byte:02x}")).collect()),
        SecretKind::Certificate => Ok(certificate(address)?),
    }
}

/// A key and a certificate of its own for this host: browsers ask once whether it is to be trusted.
fn certificate(address: Ipv4Addr) -> Result<String, rcgen::Error> {
    let names = [address.to_string(), "localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names)?;
    Ok(made.signing_key.serialize_pem() + &made.cert.pem())
}

/// Letters and digits: safe in URLs, SQL and ini files without any quoting.
fn password(length: usize) -> Result<String, Error> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::with_capacity(length);
    while text.len() < length {
        // 248 is the largest multiple of 62 in a byte; larger values would favour the first letters.
        let usable = random::<64>()?.into_iter().filter(|byte| *byte < 248);
        text.extend(
            usable.take(length - text.len()).map(|byte| char::from(ALPHABET[usize::from(byte) % 62])),
        );
    }
    Ok(text)
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn missing_secrets_are_added_and_none_changes() {
        let dir = std::env::temp_dir().join(format!("octo-secrets-{}", std::process::id()));
        let path = dir.join("secrets.yaml");
        let one = BTreeMap::from([("a".to_owned(), SecretKind::Password)]);
        let first = ensure(&path, &one, Ipv4Addr::LOCALHOST).unwrap();
        let two = BTreeMap::from([("b".to_owned(), SecretKind::Fernet), ("c".to_owned(), SecretKind::Hex)]);
        let second = ensure(&path, &two, Ipv4Addr::LOCALHOST).unwrap();
        assert_eq!(first.get("a"), second.get("a"));
        assert_eq!(second.get("b").unwrap().reveal().len(), 44);
        assert_eq!(second.get("c").unwrap().reveal().len(), 64);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn passwords_need_no_quoting_and_differ() {
        let (a, b) = (
            generate(SecretKind::Password, Ipv4Addr::LOCALHOST).unwrap(),
            generate(SecretKind::Password, Ipv4Addr::LOCALHOST).unwrap(),
        );
        assert_eq!(a.len(), 32);
        assert!(a.chars().all(|c| c.is_ascii_alphanumeric()));
        assert_ne!(a, b);
    }

    #[test]
    fn debug_output_tells_no_secret() {
        let wanted = BTreeMap::from([("a".to_owned(), SecretKind::Password)]);
        assert_eq!(format!("{:?}", Secrets::placeholders(&wanted)), "Secrets({\"a\": (secret)})");
    }
}
