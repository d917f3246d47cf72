//! How a build ends; pure (SEMANTICS §2.2, §2.4).

use serde_json::{Value, json};

use crate::error::Error;
use crate::{image, virt};

/// What becomes of an instance whose build failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is being deleted or gone: nothing is recorded.
    Quiet,
    /// Another host would fail, too: ERROR.
    Abort(String),
    /// Another host may do better.
    Reschedule(String),
}

/// Sorts an error of a build.
pub fn of(error: &Error) -> Outcome {
    if error.is_being_deleted() {
        return Outcome::Quiet;
    }
    let reason = error.sentence();
    match error {
        Error::Network(error) if error.fails_everywhere() => Outcome::Abort(format!(
            "Failed to allocate the network(s) with error {reason}, not rescheduling."
        )),
        Error::Image(image::Error::NotFound { .. } | image::Error::Unacceptable { .. })
        | Error::Virt(virt::Error::ImageUnacceptable { .. } | virt::Error::InvalidSpec(_))
        | Error::NotImplemented(_)
        | Error::Refused { class: "BuildAbortException" | "Base64Exception", .. }
        | Error::Arguments { .. } => Outcome::Abort(reason),
        _ => Outcome::Reschedule(reason),
    }
}

/// The filter properties for the next attempt, or none when there must be no other (Nova: `retry` is absent when
/// `max_attempts` is 1 or the host was forced).
pub fn with_failure(filter_properties: &Value, reason: &str) -> Option<Value> {
    let mut properties = filter_properties.clone();
    let retry = properties.get_mut("retry")?.as_object_mut()?;
    retry.insert("exc".into(), json!([format!("{reason}\n")]));
    retry.insert("exc_reason".into(), json!(reason));
    Some(properties)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conductor;
    use common::messaging::{CallError, RemoteError};

    fn conductor(class: &str) -> Error {
        Error::Conductor(conductor::Error::Call(CallError::Remote {
            topic: "conductor".into(),
            method: "object_action".into(),
            error: Box::new(RemoteError::nova(class, "text", 409)),
        }))
    }

    #[test]
    fn a_build_of_an_instance_that_is_being_deleted_ends_quietly() {
        for class in ["UnexpectedDeletingTaskStateError", "InstanceNotFound"] {
            assert_eq!(of(&conductor(class)), Outcome::Quiet);
        }
        assert_eq!(of(&Error::Cancelled), Outcome::Quiet);
    }

    #[test]
    fn what_fails_everywhere_is_not_tried_again() {
        let bad = image::Error::Unacceptable { image: "i".into(), reason: "no Docker archive".into() };
        let expected = Outcome::Abort("image i is unacceptable: no Docker archive".into());
        assert_eq!(of(&Error::Image(bad)), expected);
        let spec = virt::Error::InvalidSpec("memory below Docker's minimum of 6 MiB".into());
        assert!(matches!(of(&Error::Virt(spec)), Outcome::Abort(_)));
    }

    #[test]
    fn what_this_host_alone_may_suffer_is_tried_elsewhere() {
        let full = virt::Error::NoSpace("0 bytes free".into());
        assert!(matches!(of(&Error::Virt(full)), Outcome::Reschedule(_)));
        assert_eq!(of(&conductor("DBError")), Outcome::Reschedule("text".into()));
    }

    #[test]
    fn ports_end_a_build_as_nova_ends_it() {
        use crate::network::Error as Network;
        let of = |error| of(&Error::Network(error));
        let exhausted = of(Network::NoMoreFixedIps("n".into()));
        let expected = "Failed to allocate the network(s) with error No fixed IP addresses available for network: n, not \
                        rescheduling.";
        assert_eq!(exhausted, Outcome::Abort(expected.into()));
        assert!(matches!(of(Network::NotPlugged("no event".into())), Outcome::Abort(_)));
        for elsewhere in [
            Network::PortInUse("p".into()),
            Network::PortBindingFailed("p".into()),
            Network::PortLimitExceeded,
            Network::SecurityGroupNotFound("g".into()),
        ] {
            assert!(matches!(of(elsewhere), Outcome::Reschedule(_)));
        }
    }

    #[test]
    fn without_retry_there_is_no_second_attempt() {
        assert_eq!(with_failure(&json!({"limits": {}}), "x"), None);
        assert_eq!(with_failure(&json!({"retry": null}), "x"), None);
        let next =
            with_failure(&json!({"retry": {"num_attempts": 1, "hosts": [["h", "h"]]}}), "disk full").unwrap();
        assert_eq!(next["retry"]["exc_reason"], "disk full");
        assert_eq!(next["retry"]["hosts"], json!([["h", "h"]]));
    }
}
