//! What can go wrong between us and dockerd, as far as callers act differently on it.

use bollard::errors::Error as Bollard;

/// An error of the Docker API.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing answers at the daemon's address, or the connection broke.
    #[error("the Docker engine at {url} does not answer")]
    Unreachable {
        /// The daemon's address.
        url: String,
        /// What the transport said.
        #[source]
        source: Box<Bollard>,
    },
    /// The daemon did not begin its answer in time.
    #[error("the Docker engine did not answer in time")]
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
    /// Sorts what bollard returned for a request to `url`.
    pub(super) fn from_bollard(url: &str, error: Bollard) -> Self {
        match error {
            Bollard::DockerResponseServerError { status_code: 404, message } => Self::NotFound(message),
            Bollard::DockerResponseServerError { status_code: 409, message } => Self::Conflict(message),
            Bollard::DockerResponseServerError { message, .. } => Self::Other(message),
            Bollard::DockerStreamError { error } => Self::Other(error),
            Bollard::RequestTimeoutError => Self::Timeout,
            source @ (Bollard::HyperLegacyError { .. }
            | Bollard::HyperResponseError { .. }
            | Bollard::IOError { .. }
            | Bollard::SocketNotFoundError(_)) => {
                Self::Unreachable { url: url.to_owned(), source: Box::new(source) }
            }
            other => Self::Other(other.to_string()),
        }
    }

    /// Whether this says that there is no such object.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status_code: u16) -> Error {
        Error::from_bollard(
            "unix:///x",
            Bollard::DockerResponseServerError { status_code, message: "why".into() },
        )
    }

    #[test]
    fn answers_are_sorted_by_status() {
        assert!(matches!(answer(404), Error::NotFound(m) if m == "why"));
        assert!(matches!(answer(409), Error::Conflict(m) if m == "why"));
        assert!(matches!(answer(500), Error::Other(m) if m == "why"));
        assert!(matches!(answer(400), Error::Other(m) if m == "why"));
    }

    #[test]
    fn a_missing_socket_is_unreachable() {
        let error = Error::from_bollard("unix:///x", Bollard::SocketNotFoundError("/x".into()));
        assert_eq!(error.to_string(), "the Docker engine at unix:///x does not answer");
        assert!(matches!(error, Error::Unreachable { .. }));
    }

    #[test]
    fn slowness_is_told_apart() {
        assert!(matches!(Error::from_bollard("unix:///x", Bollard::RequestTimeoutError), Error::Timeout));
    }
}
