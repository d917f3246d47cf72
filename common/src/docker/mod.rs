//! Docker's API, wrapped once for the agent and the deployer. Nothing else in the product names bollard.

mod error;

pub use error::Error;

/// A connection to one Docker daemon; cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: bollard::Docker,
    url: String,
}

impl Engine {
    /// Connects to `url` (`unix://…` or `tcp://host:port`) and agrees on an API version.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when nothing answers there.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let docker =
            bollard::Docker::connect_with_host(url).map_err(|source| Error::unreachable(url, source))?;
        let docker = docker.negotiate_version().await.map_err(|source| Error::unreachable(url, source))?;
        Ok(Self { docker, url: url.to_owned() })
    }
}
