//! Why the hypervisor did not do what it was asked, as far as Nova answers differently.

/// An error of the driver; each reads as a sentence for the user whose instance it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image is there but cannot be run (no command, wrong architecture): build again elsewhere is useless.
    #[error("image {image} cannot be booted: {reason}")]
    ImageUnacceptable {
        /// Glance image id.
        image: String,
        /// Why, as a clause.
        reason: String,
    },
    /// Docker lost the image since [`crate::image::ImageStore::ensure`] found it: forget it there, ensure, spawn once more.
    #[error("image {image} is no longer in Docker")]
    ImageGone {
        /// Glance image id.
        image: String,
    },
    /// There is no container of this instance.
    #[error("instance {uuid} has no container on this host")]
    NotFound {
        /// Instance uuid.
        uuid: common::ids::InstanceUuid,
    },
    /// dockerd does not answer.
    #[error("the Docker engine of this host does not answer")]
    DockerUnavailable(#[source] common::docker::Error),
    /// The host's disk is full.
    #[error("this host has no disk space left for the instance: {0}")]
    NoSpace(String),
    /// The flavor or the image asks for what no container can have.
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
