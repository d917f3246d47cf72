//! Docker's API, wrapped once for the agent and the deployer. Nothing else in the product names bollard.
//!
//! Objects that only one caller needs are read straight from the daemon's answers into small types of our own, so that a
//! field which Docker renames concerns one file here.

mod archive;
mod commit;
mod container;
mod container_spec;
mod error;
mod events;
mod exec;
mod freeze;
mod image;
mod limits;
mod stats;
mod system;
mod terminal;
mod update;
mod volume;

use std::time::Duration;

pub use container::{Container, ContainerStatus, LogLines};
pub use container_spec::{ContainerSpec, Healthcheck, Limits, LogConfig, PublishedPort, Restart};
pub use error::Error;
pub use events::ContainerEvent;
pub use exec::Executed;
pub use image::Image;
pub use limits::{DiskIo, Ulimit};
pub use stats::{DiskStats, Stats};
pub use system::{Info, Version};
pub use terminal::{Shown, Terminal};

/// The oldest API spoken here: Docker 19.03, and what Zun uses as well.
const OLDEST_API: (usize, usize) = (1, 40);

/// How long the daemon may take to begin its answer, unless a call says otherwise.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A connection to one Docker daemon; cheap to clone, and it survives a restart of the daemon.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: bollard::Docker,
    url: String,
}

impl Engine {
    /// Connects to `url` (`unix:///path` or `tcp://host:port`) and agrees on an API version.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when nothing answers there, [`Error::Other`] for an unusable URL or too old a daemon.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let unreachable = |source| Error::from_bollard(url, source);
        let docker = bollard::Docker::connect_with_host(url).map_err(unreachable)?.with_timeout(TIMEOUT);
        let docker = docker.negotiate_version().await.map_err(unreachable)?;
        let version = docker.client_version();
        if (version.major_version, version.minor_version) < OLDEST_API {
            return Err(Error::Other(format!(
                "the Docker engine at {url} speaks API {version}, but 1.40 (Docker 19.03) or newer is needed"
            )));
        }
        Ok(Self { docker, url: url.to_owned() })
    }

    /// The daemon's address as it was given.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// bollard itself, for the files of this folder.
    pub(super) fn docker(&self) -> &bollard::Docker {
        &self.docker
    }

    /// bollard with another limit on the time until the daemon begins its answer.
    pub(super) fn patient(&self, timeout: Duration) -> bollard::Docker {
        self.docker.clone().with_timeout(timeout)
    }

    /// Sorts an error of this engine.
    pub(super) fn error(&self, source: bollard::errors::Error) -> Error {
        Error::from_bollard(&self.url, source)
    }
}
