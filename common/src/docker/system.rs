//! What dockerd says of itself and of its host.

use std::time::Duration;

use super::{Engine, Error};

/// Time a ping may take: it does no work, so a daemon that needs longer is not well.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// `docker version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Of the engine (`20.10.24+dfsg1`).
    pub version: String,
    /// Newest API of the engine (`1.41`).
    pub api_version: String,
}

/// `docker info`, as far as somebody asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Of the engine (`20.10.24+dfsg1`).
    pub server_version: String,
    /// Processors that containers can use.
    pub cpus: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Where Docker keeps images and containers.
    pub root_dir: String,
    /// The kernel's name of the architecture (`x86_64`).
    pub architecture: String,
    /// Storage driver (`overlay2`).
    pub storage_driver: String,
    /// What the storage driver says of itself (`Backing Filesystem` → `extfs`).
    pub storage_status: Vec<(String, String)>,
    /// Names of the OCI runtimes.
    pub runtimes: Vec<String>,
    /// Whether memory and swap can be limited.
    pub memory_limit: bool,
}

impl Engine {
    /// Asks whether the daemon is there.
    pub async fn ping(&self) -> Result<(), Error> {
        self.patient(PING_TIMEOUT).ping().await.map_err(|e| self.error(e))?;
        Ok(())
    }

    /// `docker version`.
    pub async fn version(&self) -> Result<Version, Error> {
        let found = self.docker().version().await.map_err(|e| self.error(e))?;
        Ok(Version {
            version: found.version.unwrap_or_default(),
            api_version: found.api_version.unwrap_or_default(),
        })
    }

    /// `docker info`.
    pub async fn info(&self) -> Result<Info, Error> {
        let found = self.docker().info().await.map_err(|e| self.error(e))?;
        let mut runtimes: Vec<_> = found.runtimes.unwrap_or_default().into_keys().collect();
        runtimes.sort();
        Ok(Info {
            server_version: found.server_version.unwrap_or_default(),
            cpus: unsigned(found.ncpu),
            memory: unsigned(found.mem_total),
            root_dir: found.docker_root_dir.unwrap_or_default(),
            architecture: found.architecture.unwrap_or_default(),
            storage_driver: found.driver.unwrap_or_default(),
            storage_status: found.driver_status.unwrap_or_default().into_iter().filter_map(pair).collect(),
            runtimes,
            memory_limit: found.memory_limit.unwrap_or_default(),
        })
    }
}

fn unsigned(number: Option<i64>) -> u64 {
    number.and_then(|number| u64::try_from(number).ok()).unwrap_or_default()
}

fn pair(line: Vec<String>) -> Option<(String, String)> {
    let mut parts = line.into_iter();
    Some((parts.next()?, parts.next()?))
}
