//! Why the hypervisor did not do what it was asked, as far as Nova answers differently.

use common::docker;
use common::ids::InstanceUuid;

/// An error of the driver; each reads as a sentence for the user whose instance it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image is there but cannot be run (no command, other architecture): to build again elsewhere is useless.
    #[error("image {image} cannot be booted: {reason}")]
    ImageUnacceptable {
        /// Glance image id.
        image: String,
        /// Why, as a clause.
        reason: String,
    },
    /// Docker lost the image since [`crate::image::ImageStore::ensure`] found it: `forget` it there, ensure, spawn again.
    #[error("image {image} is no longer in Docker")]
    ImageGone {
        /// Glance image id.
        image: String,
    },
    /// There is no container of this instance.
    #[error("instance {uuid} has no container on this host")]
    NotFound {
        /// Instance uuid.
        uuid: InstanceUuid,
    },
    /// No other container can have the file system of the instance: why, as a sentence.
    #[error("{0}")]
    NotRescuable(String),
    /// dockerd does not answer.
    #[error("the Docker engine of this host does not answer")]
    DockerUnavailable(#[source] docker::Error),
    /// The host's disk is full.
    #[error("this host has no disk space left for the instance: {0}")]
    NoSpace(String),
    /// `state_path` cannot be written to.
    #[error("{} cannot be changed", path.display())]
    GuestFiles {
        /// The folder of the instance.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The flavor asks for what no container can have.
    #[error("{0}")]
    InvalidSpec(String),
    /// Anything else that dockerd said.
    #[error("Docker could not {what}: {message}")]
    Docker {
        /// What was to be done ("start the container").
        what: &'static str,
        /// dockerd's sentence.
        message: String,
    },
}

/// Ends of sentences with which dockerd and runc blame the image, and what they mean. First match wins.
const IMAGE_FAULTS: [(&str, &str); 7] = [
    ("exec format error", "its program is for another processor architecture"),
    ("executable file not found in $PATH", "the program that it says to run is not in it"),
    ("no such file or directory: unknown", "the program that it says to run is not in it"),
    ("permission denied: unknown", "the program that it says to run is not executable"),
    ("unable to find user", "the user that it says to run as is not in it"),
    ("unable to find group", "the group that it says to run as is not in it"),
    ("No command specified", "it says nothing to run"),
];

/// Decides what a failure of `spawn` means. `what` was to be done.
pub(super) fn of_spawn(what: &'static str, image_id: &str, error: docker::Error) -> Error {
    let text = error.to_string();
    let image = || image_id.to_owned();
    if matches!(error, docker::Error::NotFound(_)) && text.contains("No such image") {
        return Error::ImageGone { image: image() };
    }
    // Only runc's words about the program count: the same errno may come from a mount or a device.
    let about_program =
        text.contains("exec") || text.contains("unable to find") || text.contains("No command");
    match IMAGE_FAULTS.iter().find(|(words, _)| about_program && text.contains(words)) {
        Some((_, reason)) => Error::ImageUnacceptable {
            image: image(),
            reason: format!("{reason} ({})", of_the_program(&text)),
        },
        None => general(what, error),
    }
}

/// What runc says of the program itself: a fault holds 255 characters, and the layers above it would fill them.
fn of_the_program(text: &str) -> &str {
    let said = text.rsplit_once("unable to start container process: ").map_or(text, |(_, said)| said);
    said.trim_end_matches(": unknown")
}

/// Decides what a failure on the container of `uuid` means. `what` was to be done.
pub(super) fn of_container(what: &'static str, uuid: InstanceUuid, error: docker::Error) -> Error {
    match error {
        docker::Error::NotFound(_) => Error::NotFound { uuid },
        other => general(what, other),
    }
}

/// Decides what a failure means that is about no instance, or about no known one.
pub(super) fn general(what: &'static str, error: docker::Error) -> Error {
    match error {
        docker::Error::Unreachable { .. } | docker::Error::Timeout => Error::DockerUnavailable(error),
        docker::Error::NotFound(message)
        | docker::Error::Conflict(message)
        | docker::Error::Other(message) => {
            if message.contains("no space left on device") {
                Error::NoSpace(message)
            } else if message.contains("Minimum memory limit allowed") {
                Error::InvalidSpec(message)
            } else {
                Error::Docker { what, message }
            }
        }
    }
}

/// Whether dockerd refuses a container because its storage driver cannot limit the size of the root disk.
pub(super) fn is_no_disk_quota(error: &docker::Error) -> bool {
    let text = error.to_string().to_ascii_lowercase();
    matches!(error, docker::Error::Other(_) | docker::Error::Conflict(_))
        && ["storage-opt", "storage opt", "quota not supported", "no quota support"]
            .iter()
            .any(|w| text.contains(w))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "2d206834-23ab-4b5d-a236-4608f438a9e2";

    fn spawn(message: &str) -> Error {
        of_spawn("start the container", "glance-id", docker::Error::Other(message.into()))
    }

    #[test]
    fn runc_s_words_about_the_program_blame_the_image() {
        for (message, reason) in [
            (
                "OCI runtime create failed: container_linux.go:380: starting container process caused: exec: \
                 \"/nope\": stat /nope: no such file or directory: unknown",
                "not in it",
            ),
            (
                "failed to create shim: OCI runtime create failed: runc create failed: unable to start container \
                 process: exec: \"nope\": executable file not found in $PATH: unknown",
                "not in it",
            ),
            ("standard_init_linux.go:228: exec user process caused: exec format error", "another processor"),
            (
                "unable to start container process: exec: \"/etc/motd\": permission denied: unknown",
                "not executable",
            ),
            ("unable to find user nobody7: no matching entries in passwd file", "the user"),
            ("No command specified", "nothing to run"),
        ] {
            let error = spawn(message);
            assert!(matches!(error, Error::ImageUnacceptable { .. }), "{error:?}");
            assert!(error.to_string().contains(reason), "{error}");
        }
    }

    #[test]
    fn other_words_do_not() {
        for message in [
            "error gathering device information while adding custom device \"/dev/x\": no such file or directory",
            "OCI runtime create failed: unknown or invalid runtime name: kata",
            "driver failed programming external connectivity",
        ] {
            assert!(matches!(spawn(message), Error::Docker { .. }), "{message}");
        }
    }

    #[test]
    fn a_lost_image_is_not_a_lost_container() {
        let gone = docker::Error::NotFound("No such image: sha256:abc".into());
        assert!(
            matches!(of_spawn("create", "glance-id", gone), Error::ImageGone { image } if image == "glance-id")
        );
        let gone = docker::Error::NotFound("No such container: nova-x".into());
        assert!(matches!(of_container("stop", UUID.parse().unwrap(), gone), Error::NotFound { .. }));
    }

    #[test]
    fn a_full_disk_and_a_silent_daemon_are_told_apart() {
        assert!(matches!(spawn("mkdir /var/lib/docker/x: no space left on device"), Error::NoSpace(_)));
        assert!(matches!(of_spawn("x", "i", docker::Error::Timeout), Error::DockerUnavailable(_)));
        assert!(matches!(spawn("Minimum memory limit allowed is 6MB"), Error::InvalidSpec(_)));
    }

    #[test]
    fn missing_disk_quotas_are_recognised() {
        let overlay = "--storage-opt is supported only for overlay over xfs with 'pquota' mount option";
        assert!(is_no_disk_quota(&docker::Error::Other(overlay.into())));
        assert!(!is_no_disk_quota(&docker::Error::Other("no space left on device".into())));
    }
}
