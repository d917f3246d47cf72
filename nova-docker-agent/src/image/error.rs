//! Why an image cannot be used.

use std::path::PathBuf;

use common::{docker, openstack};

/// An error of the image store; each reads as a sentence for the user.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Glance has no such image, or not for this user (Nova: ImageNotFound).
    #[error("image {image} could not be found")]
    NotFound {
        /// Glance image id.
        image: String,
    },
    /// The user may not read the image (Nova: ImageNotAuthorized).
    #[error("not authorized for image {image}")]
    NotAuthorized {
        /// Glance image id.
        image: String,
        /// What glance said.
        #[source]
        source: Box<openstack::Error>,
    },
    /// The image has no data, or none any more (Nova: ImageNotActive).
    #[error("image {image} is not active but {status}")]
    NotActive {
        /// Glance image id.
        image: String,
        /// Its status in glance.
        status: String,
    },
    /// The image can never be booted here (Nova: ImageUnacceptable).
    #[error("image {image} is unacceptable: {reason}")]
    Unacceptable {
        /// Glance image id.
        image: String,
        /// Why, as a clause.
        reason: String,
    },
    /// The host has no room for the image: another host may have.
    #[error("image {image} needs {needed}, but only {free} are free in {path} of this host")]
    NoSpace {
        /// Glance image id.
        image: String,
        /// How much, with its unit.
        needed: String,
        /// How much there is, with its unit.
        free: String,
        /// Where.
        path: PathBuf,
    },
    /// What came is not what glance says it has.
    #[error("image {image} arrived damaged: its {algorithm} is {actual}, but glance says {expected}")]
    Damaged {
        /// Glance image id.
        image: String,
        /// Name of the hash, or `size`.
        algorithm: String,
        /// As recorded in glance.
        expected: String,
        /// As it arrived.
        actual: String,
    },
    /// Glance does not answer, or not sensibly (Nova: GlanceConnectionFailed).
    #[error("glance cannot deliver image {image}")]
    Glance {
        /// Glance image id.
        image: String,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Glance does not take the data of an image.
    #[error("glance did not take the data of image {image}")]
    Upload {
        /// Glance image id.
        image: String,
        /// What happened.
        #[source]
        source: Box<openstack::Error>,
    },
    /// A file of the agent cannot be written or read.
    #[error("cannot keep image {image} in {path} while it is checked")]
    Staging {
        /// Glance image id.
        image: String,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// dockerd does not answer, or refused what we found good.
    #[error("Docker cannot take image {image}")]
    Docker {
        /// Glance image id.
        image: String,
        /// What it said.
        #[source]
        source: docker::Error,
    },
}

impl Error {
    /// Sorts what glance answered.
    pub(super) fn from_glance(image: &str, source: openstack::Error) -> Self {
        let image = image.to_owned();
        match source.status() {
            Some(404) => Self::NotFound { image },
            Some(401 | 403) => Self::NotAuthorized { image, source: Box::new(source) },
            _ => Self::Glance { image, source: source.into() },
        }
    }

    pub(super) fn unacceptable(image: &str, reason: impl Into<String>) -> Self {
        Self::Unacceptable { image: image.to_owned(), reason: reason.into() }
    }
}
