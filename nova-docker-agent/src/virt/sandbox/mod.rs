//! The container that owns an instance's network namespace, so that the namespace outlives the instance's own container.
//!
//! The instance's container joins it by the network mode `container:<sandbox_name>`. Docker then allows it no host name of
//! its own: it has the sandbox's. Nothing of the sandbox depends on the ports, so it is made while Neutron makes them.
//!
//! dockerd never starts a sandbox by itself: after a boot of the host the agent does, in time before the instance.

mod image;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::docker::{self, Container, ContainerSpec, ContainerStatus, Engine, Limits, LogConfig, Restart};
use common::ids::InstanceUuid;
use futures_util::stream;

use super::error;
use super::spec::{HOST_LABEL, UUID_LABEL, labels};
use super::{Error, InstanceSpec};
use crate::config::Config;
use crate::network::guest;

/// Label that tells a sandbox (`true`) from an instance's container (`false`). Both have it, for an image may have any
/// label, and its containers with it.
pub(super) const SANDBOX_LABEL: &str = "nova.sandbox";

/// Whether these are the labels of a sandbox.
pub(super) fn is_sandbox(labels: &BTreeMap<String, String>) -> bool {
    labels.get(SANDBOX_LABEL).is_some_and(|value| value == "true")
}

/// More than a sleeping process needs, in bytes.
const MEMORY: i64 = 32 << 20;

/// Its one process, and before it the runtime's own threads: with too few of them a start fails now and then.
const PIDS: i64 = 64;

/// Name of the sandbox of an instance.
pub fn sandbox_name(uuid: InstanceUuid) -> String {
    format!("nova-{uuid}-net")
}

/// A running sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sandbox {
    /// Its process: the network namespace is `/proc/<pid>/ns/net`.
    pub pid: u32,
    /// It was started just now: its namespace is empty, and every NIC has to be plugged.
    pub fresh: bool,
}

/// The sandboxes of this host. Cheap to clone; all that it knows is in Docker.
#[derive(Debug, Clone)]
pub struct Sandboxes {
    engine: Engine,
    config: Arc<Config>,
}

impl Sandboxes {
    /// Sandboxes on `engine`.
    pub fn new(engine: Engine, config: Arc<Config>) -> Self {
        Self { engine, config }
    }

    /// The sandbox of `instance`, running: created, or started again, if need be. To be called before every start of
    /// the instance's container, which cannot start while its sandbox is down; by one caller at a time.
    ///
    /// # Errors
    /// When dockerd does not do it.
    pub async fn ensure(&self, instance: &InstanceSpec) -> Result<Sandbox, Error> {
        let uuid = instance.uuid;
        match self.inspect(uuid).await? {
            Some(found) if found.status == ContainerStatus::Running => return running(&found, false),
            Some(_) => {}
            None => self.create(instance).await?,
        }
        self.start(uuid).await?;
        running(&self.inspect(uuid).await?.ok_or(Error::NotFound { uuid })?, true)
    }

    /// Creates and starts the sandbox of `instance` if it has none. False when it has one, running or not.
    ///
    /// # Errors
    /// When dockerd does not do it.
    pub async fn make(&self, instance: &InstanceSpec) -> Result<bool, Error> {
        if self.inspect(instance.uuid).await?.is_some() {
            return Ok(false);
        }
        self.create(instance).await?;
        self.start(instance.uuid).await?;
        Ok(true)
    }

    async fn start(&self, uuid: InstanceUuid) -> Result<(), Error> {
        let started = self.engine.start_container(&sandbox_name(uuid)).await;
        started.map_err(|e| error::of_container("start the sandbox", uuid, e))
    }

    /// The sandbox of `uuid` if it runs; nothing is changed.
    ///
    /// # Errors
    /// When dockerd does not answer.
    pub async fn find(&self, uuid: InstanceUuid) -> Result<Option<Sandbox>, Error> {
        let found = self.inspect(uuid).await?.filter(|found| found.status == ContainerStatus::Running);
        found.map(|found| running(&found, false)).transpose()
    }

    /// Stops the sandbox of `uuid`, after the instance's container: its namespace is gone then, and
    /// [`Sandboxes::ensure`] makes a new one. An absent one is fine.
    ///
    /// # Errors
    /// When dockerd does not do it.
    pub async fn stop(&self, uuid: InstanceUuid) -> Result<(), Error> {
        match self.engine.stop_container(&sandbox_name(uuid), 0).await {
            Err(error) if error.is_not_found() => Ok(()),
            stopped => stopped.map_err(|e| error::of_container("stop the sandbox", uuid, e)),
        }
    }

    /// Removes the sandbox of `uuid`, after the instance's container; an absent one is fine.
    ///
    /// # Errors
    /// When dockerd does not do it.
    pub async fn remove(&self, uuid: InstanceUuid) -> Result<(), Error> {
        let removed = self.engine.remove_container(&sandbox_name(uuid)).await;
        removed.map(drop).map_err(|e| error::of_container("remove the sandbox", uuid, e))
    }

    /// Every sandbox of this host, running or not, for clean-up at start.
    ///
    /// # Errors
    /// When dockerd does not answer.
    pub async fn list(&self) -> Result<Vec<InstanceUuid>, Error> {
        let labels = [format!("{SANDBOX_LABEL}=true"), format!("{HOST_LABEL}={}", self.config.host)];
        let found = self.engine.list_containers(&labels).await;
        let found = found.map_err(|e| error::general("list the sandboxes", e))?;
        Ok(found.iter().filter_map(|container| container.labels.get(UUID_LABEL)?.parse().ok()).collect())
    }

    async fn inspect(&self, uuid: InstanceUuid) -> Result<Option<Container>, Error> {
        match self.engine.inspect_container(&sandbox_name(uuid)).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error::of_container("look at the sandbox", uuid, error)),
        }
    }

    async fn create(&self, instance: &InstanceSpec) -> Result<(), Error> {
        let what = "create the sandbox";
        let image = image::image().map_err(|e| Error::Docker { what, message: e.to_string() })?;
        let spec = sandbox(instance, &self.config, image.name);
        let created = match self.engine.create_container(&spec).await {
            // The first one on this host, or somebody has tidied up.
            Err(error) if error.is_not_found() => self.create_with_image(&spec, image.archive).await,
            other => other.map(drop),
        };
        created.map_err(|e| error::of_container(what, instance.uuid, e))
    }

    async fn create_with_image(&self, spec: &ContainerSpec, archive: Vec<u8>) -> Result<(), docker::Error> {
        self.engine.load_image(stream::iter([Ok(archive.into())])).await?;
        self.engine.create_container(spec).await.map(drop)
    }
}

fn running(found: &Container, fresh: bool) -> Result<Sandbox, Error> {
    let ended = || Error::Docker { what: "start the sandbox", message: "its process has ended".into() };
    let pid = u32::try_from(found.pid).ok().filter(|pid| *pid > 0).ok_or_else(ended)?;
    Ok(Sandbox { pid, fresh })
}

/// The container; pure.
fn sandbox(instance: &InstanceSpec, config: &Config, image: String) -> ContainerSpec {
    let mut labels = labels(instance, config);
    labels.insert(SANDBOX_LABEL.to_owned(), "true".to_owned());
    ContainerSpec {
        name: sandbox_name(instance.uuid),
        image,
        labels,
        hostname: Some(guest::usable(&instance.hostname)).filter(|name| !name.is_empty()),
        network: "none".into(),
        network_disabled: true,
        // There is nothing in it, it does nothing, and it may do nothing.
        user: Some("65534:65534".into()),
        cap_drop: vec!["ALL".into()],
        security_opt: vec!["no-new-privileges".into()],
        read_only: true,
        limits: Limits { memory: MEMORY, memory_swap: MEMORY, pids: PIDS, ..Limits::default() },
        // The first process of a container does not hear other signals.
        stop_signal: Some("SIGKILL".into()),
        restart: Restart::No,
        log: LogConfig { driver: "none".into(), ..LogConfig::default() },
        ..ContainerSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support;

    #[test]
    fn a_sandbox() {
        let spec = sandbox(&test_support::instance(), &test_support::config(), "nova-sandbox:0123".into());
        insta::assert_debug_snapshot!(spec);
    }
}
