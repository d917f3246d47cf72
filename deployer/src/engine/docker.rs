//! The connection to the Docker daemon, and its errors in plain words.

use std::path::Path;
use std::time::Duration;

use bollard::errors::Error as Bollard;

/// A connection that also knows where it goes, for messages.
#[derive(Debug, Clone)]
pub(crate) struct Docker {
    api: bollard::Docker,
}

/// How long the daemon may take to begin an answer. Stopping a container may take its whole stop timeout.
const PATIENCE: Duration = Duration::from_secs(180);

/// What Docker refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nobody answers at the socket.
    #[error(
        "the Docker engine does not answer at {at}: {reason}. Is dockerd running? `./octopenstack` starts it; DOCKER_HOST chooses another engine"
    )]
    Unreachable {
        /// Socket or address.
        at: String,
        /// The system's words.
        reason: String,
    },
    /// The object does not exist.
    #[error("Docker could not {doing}: {message}")]
    NotFound {
        /// What was tried.
        doing: String,
        /// Docker's words.
        message: String,
    },
    /// Docker's disk is full.
    #[error(
        "no space left on the disk of the Docker engine while trying to {doing}. Free some (`docker system df` shows what uses it) and run the same command again: finished parts are kept"
    )]
    NoSpace {
        /// What was tried.
        doing: String,
    },
    /// A network that somebody is still in. Docker's count of who is in it can be wrong until the engine starts again.
    #[error(
        "Docker could not {doing}: it counts somebody in it. `docker network inspect` shows whether a container of somebody else's is; if there is none, restart the Docker engine, which makes it count again, and run the same command again"
    )]
    InUse {
        /// What was tried.
        doing: String,
    },
    /// Any other refusal.
    #[error("Docker could not {doing}: {message}")]
    Refused {
        /// What was tried.
        doing: String,
        /// Docker's words.
        message: String,
        /// HTTP status, when there was an answer.
        status: Option<u16>,
    },
}

impl Error {
    /// Docker's own words, sorted.
    pub(crate) fn from_message(doing: &str, message: &str, status: Option<u16>) -> Self {
        let doing = doing.to_owned();
        let message = message.trim().to_owned();
        match status {
            _ if message.contains("no space left on device") => Error::NoSpace { doing },
            _ if message.contains("has active endpoints") => Error::InUse { doing },
            Some(404) => Error::NotFound { doing, message },
            _ => Error::Refused { doing, message, status },
        }
    }

    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Error::NotFound { .. })
    }

    /// The name is taken, or the object is in use.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Error::Refused { status: Some(409), .. })
    }
}

/// Turns an answer into ours; `doing` completes "Docker could not …".
pub(crate) fn explain(doing: &str, error: Bollard) -> Error {
    match error {
        Bollard::DockerResponseServerError { status_code, message } => {
            Error::from_message(doing, &message, Some(status_code))
        }
        Bollard::DockerStreamError { error } => Error::from_message(doing, &error, None),
        Bollard::RequestTimeoutError => Error::from_message(doing, "it did not answer in time", None),
        Bollard::HyperLegacyError { .. }
        | Bollard::SocketNotFoundError(_)
        | Bollard::HyperResponseError { .. } => Error::Unreachable { at: address(), reason: chain(&error) },
        other => Error::from_message(doing, &chain(&other), None),
    }
}

/// Where the daemon is looked for.
pub(crate) fn address() -> String {
    std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".into())
}

/// The innermost cause says what happened; the outer ones name libraries.
fn chain(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

impl Docker {
    /// Connects and agrees on an API version.
    pub(crate) async fn connect() -> Result<Self, Error> {
        let unreachable = |error: Bollard| Error::Unreachable { at: address(), reason: chain(&error) };
        let api = bollard::Docker::connect_with_defaults().map_err(unreachable)?.with_timeout(PATIENCE);
        let api = api.negotiate_version().await.map_err(unreachable)?;
        Ok(Docker { api })
    }

    /// Connects to the engine at a socket.
    pub(crate) async fn at(socket: &Path) -> Result<Self, Error> {
        let at = format!("unix://{}", socket.display());
        let unreachable = |error: Bollard| Error::Unreachable { at: at.clone(), reason: chain(&error) };
        let api = bollard::Docker::connect_with_unix(&at, PATIENCE.as_secs(), bollard::API_DEFAULT_VERSION);
        let api = api.map_err(unreachable)?.negotiate_version().await.map_err(unreachable)?;
        Ok(Docker { api })
    }

    /// bollard itself, for the files of this folder and of `images/`.
    pub(crate) fn api(&self) -> &bollard::Docker {
        &self.api
    }

    /// The same connection, patient enough for long streams.
    pub(crate) fn patient(&self, patience: Duration) -> bollard::Docker {
        self.api.clone().with_timeout(patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_docker_miscounts_is_told_with_the_way_out() {
        let words = "error while removing network: network octo id f3df has active endpoints";
        let error = Error::from_message("remove network octo", words, Some(403)).to_string();
        assert!(
            error.contains("remove network octo") && error.contains("restart the Docker engine"),
            "{error}"
        );
    }
}
