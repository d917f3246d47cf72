//! Keyed hashes: "is this still what was asked for?" without telling what was asked for.

use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// The project's hashing key.
#[derive(Clone)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    /// A key from the project's secret.
    pub(crate) fn new(secret: &str) -> Self {
        Key(secret.as_bytes().to_vec())
    }

    /// HMAC-SHA256 over length-prefixed parts, as 32 hexadecimal digits.
    pub(crate) fn hash<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> String {
        // HMAC takes keys of any length; the error type is for other constructions.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { unreachable!("HMAC takes any key") };
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        hex(&mac.finalize().into_bytes()[..16])
    }

    /// Hash of a value's JSON. Maps inside must be ordered ones.
    pub(crate) fn hash_json(&self, value: &impl Serialize) -> String {
        self.hash([serde_json::to_vec(value).unwrap_or_default().as_slice()])
    }
}

/// SHA-256 over length-prefixed parts: for things that hold no secret.
pub(crate) fn plain<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    hex(&digest.finalize()[..16])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn moving_bytes_between_parts_changes_the_hash(a in "[a-z]{1,8}", b in "[a-z]{1,8}", key in "[a-z]{8}") {
            let key = Key::new(&key);
            let whole = format!("{a}{b}");
            let (a, b) = (a.as_bytes(), b.as_bytes());
            prop_assert_ne!(key.hash([a, b]), key.hash([whole.as_bytes()]));
            prop_assert_eq!(key.hash([a, b]), key.hash([a, b]));
        }

        #[test]
        fn another_key_is_another_hash(text in ".{0,16}", one in "[a-z]{8}", two in "[A-Z]{8}") {
            prop_assert_ne!(Key::new(&one).hash([text.as_bytes()]), Key::new(&two).hash([text.as_bytes()]));
        }
    }
}
