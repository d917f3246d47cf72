//! What can go wrong between us and dockerd, as far as callers act differently on it.

/// An error of the Docker API.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing answers at the daemon's address, or the connection broke.
    #[error("Docker does not answer at {url}")]
    Unreachable {
        /// The daemon's address.
        url: String,
        /// What the transport said.
        #[source]
        source: bollard::errors::Error,
    },
    /// The daemon did not finish in time.
    #[error("Docker did not finish in time")]
    Timeout,
    /// There is no such object (404); dockerd's sentence.
    #[error("{0}")]
    NotFound(String),
    /// The object exists already, or is in a state that does not allow this (409); dockerd's sentence.
    #[error("{0}")]
    Conflict(String),
    /// Any other refusal; dockerd's sentence.
    #[error("{0}")]
    Other(String),
}

impl Error {
    pub(super) fn unreachable(url: &str, source: bollard::errors::Error) -> Self {
        Self::Unreachable { url: url.to_owned(), source }
    }
}
