//! Calls on containers.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use bollard::models::{ContainerInspectResponse, ContainerSummary, HealthStatusEnum};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, KillContainerOptionsBuilder, ListContainersOptionsBuilder,
    LogsOptionsBuilder, RemoveContainerOptionsBuilder, RenameContainerOptionsBuilder,
    RestartContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use futures_util::StreamExt;

use super::{ContainerSpec, Engine, Error};

/// What dockerd adds to a stop timeout before we give up on its answer.
const STOP_MARGIN: Duration = Duration::from_secs(60);

/// A container as dockerd has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its name, without the slash.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The image as it was named when the container was created.
    pub image: String,
    /// The image's id.
    pub image_id: String,
    /// What it does.
    pub status: ContainerStatus,
    /// PID of its first process in the host's namespace; 0 unless running. Not known from a list.
    pub pid: i64,
    /// Code of the last exit; not known from a list unless the container exited.
    pub exit_code: i64,
    /// Whether the kernel killed a process in it for want of memory. Not known from a list.
    pub oom_killed: bool,
    /// Why it did not start, in dockerd's words. Not known from a list.
    pub error: String,
    /// Result of its health check; None when it has none. Not known from a list.
    pub healthy: Option<bool>,
    /// Addresses by network.
    pub addresses: BTreeMap<String, String>,
    /// The storage driver, and where it keeps the file system. Not known from a list.
    pub storage: (String, BTreeMap<String, String>),
}

/// `State.Status` of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, strum::EnumString, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum ContainerStatus {
    /// Never started.
    #[default]
    Created,
    /// Running.
    Running,
    /// Frozen.
    Paused,
    /// Between two runs.
    Restarting,
    /// On its way out.
    Removing,
    /// About to exit (new in Docker 29).
    Stopping,
    /// Its first process ended.
    Exited,
    /// It could not be removed.
    Dead,
}

/// How much of the log is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLines {
    /// As much as the byte limit allows.
    All,
    /// The last lines.
    Last(u64),
}

impl Engine {
    /// Creates a container and returns its id.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the image, [`Error::Conflict`] for the name.
    pub async fn create_container(&self, spec: &ContainerSpec) -> Result<String, Error> {
        let options = CreateContainerOptionsBuilder::default().name(&spec.name).build();
        let created = self.docker().create_container(Some(options), spec.body()).await;
        Ok(created.map_err(|e| self.error(e))?.id)
    }

    /// Starts a container; one that runs already is fine.
    pub async fn start_container(&self, name: &str) -> Result<(), Error> {
        self.docker().start_container(name, None).await.map_err(|e| self.error(e))
    }

    /// Stops a container: its stop signal, then SIGKILL after `timeout` seconds. One that is stopped already is fine.
    pub async fn stop_container(&self, name: &str, timeout: u64) -> Result<(), Error> {
        let options = StopContainerOptionsBuilder::default().t(seconds(timeout)).build();
        let docker = self.patient(Duration::from_secs(timeout) + STOP_MARGIN);
        docker.stop_container(name, Some(options)).await.map_err(|e| self.error(e))
    }

    /// Stops as [`Engine::stop_container`] does, and starts; one that is stopped already is started.
    pub async fn restart_container(&self, name: &str, timeout: u64) -> Result<(), Error> {
        let options = RestartContainerOptionsBuilder::default().t(seconds(timeout)).build();
        let docker = self.patient(Duration::from_secs(timeout) + STOP_MARGIN);
        docker.restart_container(name, Some(options)).await.map_err(|e| self.error(e))
    }

    /// Sends `signal` (`SIGHUP`). [`Error::Conflict`] when it does not run.
    pub async fn kill_container(&self, name: &str, signal: &str) -> Result<(), Error> {
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        self.docker().kill_container(name, Some(options)).await.map_err(|e| self.error(e))
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// [`Error::Conflict`] when there is one of the new name.
    pub async fn rename_container(&self, name: &str, new: &str) -> Result<(), Error> {
        let options = RenameContainerOptionsBuilder::default().name(new).build();
        self.docker().rename_container(name, options).await.map_err(|e| self.error(e))
    }

    /// Removes a container with its anonymous volumes, running or not. Returns false when there was none.
    pub async fn remove_container(&self, name: &str) -> Result<bool, Error> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        match self.docker().remove_container(name, Some(options)).await.map_err(|e| self.error(e)) {
            Ok(()) => Ok(true),
            Err(Error::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Looks at one container.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn inspect_container(&self, name: &str) -> Result<Container, Error> {
        let found = self.docker().inspect_container(name, None).await.map_err(|e| self.error(e))?;
        Ok(Container::from_inspect(found))
    }

    /// Containers, running or not, that carry all `labels` (`key` or `key=value`).
    pub async fn list_containers(&self, labels: &[String]) -> Result<Vec<Container>, Error> {
        let filters = HashMap::from([("label".to_owned(), labels.to_vec())]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let found = self.docker().list_containers(Some(options)).await.map_err(|e| self.error(e))?;
        Ok(found.into_iter().map(Container::from_summary).collect())
    }

    /// Standard output and error as they came, the last `max_bytes` of them at most.
    pub async fn container_logs(
        &self,
        name: &str,
        lines: LogLines,
        max_bytes: usize,
    ) -> Result<Vec<u8>, Error> {
        let tail = match lines {
            LogLines::All => "all".to_owned(),
            LogLines::Last(count) => count.to_string(),
        };
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).tail(&tail).build();
        let mut stream = std::pin::pin!(self.docker().logs(name, Some(options)));
        let mut kept = VecDeque::new();
        while let Some(output) = stream.next().await {
            let output = output.map_err(|e| self.error(e))?.into_bytes();
            kept.extend(&output);
            kept.drain(..kept.len().saturating_sub(max_bytes));
        }
        Ok(kept.into())
    }
}

/// Docker takes the timeout as a 32-bit number of seconds.
fn seconds(timeout: u64) -> i32 {
    i32::try_from(timeout).unwrap_or(i32::MAX)
}

impl Container {
    fn from_inspect(found: ContainerInspectResponse) -> Self {
        let state = found.state.unwrap_or_default();
        let config = found.config.unwrap_or_default();
        let networks = found.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        let storage = found.graph_driver.map(|driver| (driver.name, driver.data.into_iter().collect()));
        Self {
            storage: storage.unwrap_or_default(),
            id: found.id.unwrap_or_default(),
            name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
            labels: config.labels.unwrap_or_default().into_iter().collect(),
            image: config.image.unwrap_or_default(),
            image_id: found.image.unwrap_or_default(),
            status: status(state.status.map(|status| status.to_string())),
            pid: state.pid.unwrap_or_default(),
            exit_code: state.exit_code.unwrap_or_default(),
            oom_killed: state.oom_killed.unwrap_or_default(),
            error: state.error.unwrap_or_default(),
            healthy: state.health.and_then(|health| match health.status {
                Some(HealthStatusEnum::HEALTHY) => Some(true),
                Some(HealthStatusEnum::STARTING | HealthStatusEnum::UNHEALTHY) => Some(false),
                _ => None,
            }),
            addresses: addresses(networks.into_iter().map(|(name, end)| (name, end.ip_address))),
        }
    }

    fn from_summary(found: ContainerSummary) -> Self {
        let networks = found.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        Self {
            id: found.id.unwrap_or_default(),
            name: found
                .names
                .unwrap_or_default()
                .first()
                .map_or("", |n| n.trim_start_matches('/'))
                .to_owned(),
            labels: found.labels.unwrap_or_default().into_iter().collect(),
            image: found.image.unwrap_or_default(),
            image_id: found.image_id.unwrap_or_default(),
            status: status(found.state.map(|state| state.to_string())),
            exit_code: found.status.as_deref().and_then(exit_code).unwrap_or_default(),
            addresses: addresses(networks.into_iter().map(|(name, end)| (name, end.ip_address))),
            ..Self::default()
        }
    }
}

/// A status that a newer Docker invents counts as exited: the container is there and nobody knows it to run.
fn status(text: Option<String>) -> ContainerStatus {
    text.and_then(|text| text.parse().ok()).unwrap_or(ContainerStatus::Exited)
}

/// `Exited (137) 5 minutes ago` says 137.
fn exit_code(status: &str) -> Option<i64> {
    status.strip_prefix("Exited (")?.split_once(')')?.0.parse().ok()
}

fn addresses(networks: impl Iterator<Item = (String, Option<String>)>) -> BTreeMap<String, String> {
    networks.filter_map(|(name, address)| address.filter(|a| !a.is_empty()).map(|a| (name, a))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_tells_the_exit_code() {
        assert_eq!(exit_code("Exited (137) 5 minutes ago"), Some(137));
        assert_eq!(exit_code("Up 3 seconds"), None);
    }

    #[test]
    fn an_unknown_status_is_not_taken_for_running() {
        assert_eq!(status(Some("running".into())), ContainerStatus::Running);
        assert_eq!(status(Some("hibernating".into())), ContainerStatus::Exited);
        assert_eq!(status(None), ContainerStatus::Exited);
    }
}
