//! What is put into a container before its first start: files, the administrator's password, the user's SSH key.
//!
//! Nothing of it is in the container's description, so nobody who may look at containers reads it there. With an image that
//! has cloud-init, the key is left to it. As in Nova (`disk_api.inject_data`, `mandatory`), only files must succeed.

mod files;
mod key;
mod layer;
mod password;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use common::docker::Engine;
use common::error_chain::Chain;
use common::secret::Secret;

use super::{Error, InstanceSpec};
use layer::Root;

/// What a user put into the request of a build or rebuild.
#[derive(Debug, Clone, Default)]
pub struct GuestSetup {
    /// `injected_files`: path and content.
    pub files: Vec<InjectedFile>,
    /// `admin_password`
    pub admin_password: Option<Secret>,
}

/// A file of the request.
#[derive(Clone, PartialEq, Eq)]
pub struct InjectedFile {
    /// Where, as the user wrote it.
    pub path: String,
    /// What.
    pub content: Vec<u8>,
}

impl std::fmt::Debug for InjectedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InjectedFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl GuestSetup {
    /// Reads `injected_files` (pairs of path and base64) and `admin_password` as Nova sends them; null and absent mean none.
    ///
    /// # Errors
    /// The path whose content is no base64 (Nova: `Base64Exception`).
    pub fn read(
        injected_files: &serde_json::Value,
        admin_password: &serde_json::Value,
    ) -> Result<Self, String> {
        let pairs = injected_files.as_array().into_iter().flatten();
        let files = pairs.map(|pair| {
            let text = |index: usize| pair.get(index).and_then(serde_json::Value::as_str).unwrap_or_default();
            let content = decoded(text(1)).ok_or_else(|| text(0).to_owned())?;
            Ok(InjectedFile { path: text(0).to_owned(), content })
        });
        let password = admin_password.as_str().filter(|password| !password.is_empty());
        Ok(Self { files: files.collect::<Result<_, String>>()?, admin_password: password.map(Secret::new) })
    }
}

/// As Python reads it: what is no letter of base64, such as the ends of lines, is left out.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::RequireCanonical);
    let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, config);
    let letters: String =
        text.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=')).collect();
    engine.decode(letters).ok()
}

/// Puts what belongs into the container of `instance`, which has not been started yet. `password`: also the password.
///
/// # Errors
/// When a file cannot be written; the rest is only logged.
pub(super) async fn set_up(engine: &Engine, instance: &InstanceSpec, password: bool) -> Result<(), Error> {
    let root = Root::new(engine, instance.uuid);
    files::put(&root, &instance.setup.files).await?;
    if password
        && let Some(secret) = &instance.setup.admin_password
        && let Err(error) = password::put(&root, password::administrator(instance), secret).await
    {
        tracing::warn!(error = %Chain(&error), "the administrator's password is not in the instance");
    }
    if let Err(error) = key::put(&root, instance.ssh_key.as_deref()).await {
        tracing::warn!(error = %Chain(&error), "the user's SSH key is not in the instance");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn files_come_as_pairs_of_path_and_base64() {
        let setup =
            GuestSetup::read(&json!([["/etc/motd", "aGVs\nbG8=\n"], ["x", ""]]), &json!("hunter2")).unwrap();
        let file = |path: &str, content: &[u8]| InjectedFile { path: path.into(), content: content.into() };
        assert_eq!(setup.files, [file("/etc/motd", b"hello"), file("x", b"")]);
        assert_eq!(setup.admin_password.as_ref().map(Secret::reveal), Some("hunter2"));
        assert!(!format!("{setup:?}").contains("hunter2"));
        let none = GuestSetup::read(&Value::Null, &Value::Null).unwrap();
        assert!(none.files.is_empty() && none.admin_password.is_none());
        for wrong in ["a", "aGVsbG8", "====", "aGVsbG9="] {
            assert_eq!(
                GuestSetup::read(&json!([["/etc/motd", wrong]]), &Value::Null).unwrap_err(),
                "/etc/motd"
            );
        }
    }
}
