//! Identifiers that must not be mixed up, and the making of new ones.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A uuid that is no other uuid, written with hyphens.
macro_rules! uuid_of {
    ($(#[$about:meta])* $name:ident) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_of! {
    /// Uuid of a Nova instance.
    InstanceUuid
}

uuid_of! {
    /// Uuid of a Neutron port.
    PortId
}

/// A request id as Nova makes them: `req-<uuid>`.
pub fn new_request_id() -> String {
    format!("req-{}", Uuid::new_v4().hyphenated())
}

/// 32 hexadecimal digits: message ids and the tails of queue names.
pub fn new_hex() -> String {
    Uuid::new_v4().simple().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_uuid_is_written_with_hyphens_however_it_was_read() {
        let uuid: InstanceUuid = "2D206834-23ab-4b5d-a236-4608f438a9e2".parse().unwrap();
        assert_eq!(uuid.to_string(), "2d206834-23ab-4b5d-a236-4608f438a9e2");
        assert!("../../etc".parse::<InstanceUuid>().is_err());
    }

    #[test]
    fn new_ids_have_the_forms_of_oslo() {
        assert_eq!(new_hex().len(), 32);
        assert_eq!(new_request_id().len(), 40);
    }
}
