//! The hypervisor host's view: the containers behind the servers, seen through the Docker engine.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use bollard::{
    Docker,
    exec::{CreateExecOptions, StartExecResults},
    models::ContainerInspectResponse,
    query_parameters::{ListContainersOptionsBuilder, RestartContainerOptions},
};
use futures_util::StreamExt;

/// The Docker engine of the machine.
pub struct Host {
    docker: Docker,
}

impl Host {
    /// Connects to the engine named by `DOCKER_HOST`, or to the local socket.
    ///
    /// # Errors
    /// When the address is malformed.
    pub fn new() -> Result<Self> {
        Ok(Self { docker: Docker::connect_with_defaults()? })
    }

    /// Ids of all containers, running or not, that carry the label `name=value`.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn containers(&self, label: &str) -> Result<Vec<String>> {
        let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let found = self.docker.list_containers(Some(options)).await?;
        Ok(found.into_iter().filter_map(|container| container.id).collect())
    }

    /// The container of a Nova instance, which is not its sandbox; `None` when there is none.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn instance(&self, uuid: &str) -> Result<Option<ContainerInspectResponse>> {
        for id in self.containers(&format!("nova.instance_uuid={uuid}")).await? {
            let found = self.docker.inspect_container(&id, None).await?;
            if found.name.as_deref() == Some(&format!("/nova-{uuid}")) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The container of a Nova instance that must exist.
    ///
    /// # Errors
    /// When there is none.
    pub async fn running_instance(&self, uuid: &str) -> Result<ContainerInspectResponse> {
        self.instance(uuid)
            .await?
            .with_context(|| format!("no container has the label nova.instance_uuid={uuid}"))
    }

    /// Kills a container behind the control plane's back.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&self, name: &str) -> Result<()> {
        Ok(self.docker.kill_container(name, None).await?)
    }

    /// Restarts a container of the platform.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn restart(&self, name: &str) -> Result<()> {
        Ok(self.docker.restart_container(name, None::<RestartContainerOptions>).await?)
    }

    /// Freezes a container.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn pause(&self, name: &str) -> Result<()> {
        Ok(self.docker.pause_container(name).await?)
    }

    /// See [`Host::pause`].
    ///
    /// # Errors
    /// When it is not frozen.
    pub async fn unpause(&self, name: &str) -> Result<()> {
        Ok(self.docker.unpause_container(name).await?)
    }

    /// Runs a command in a container and returns what it said.
    ///
    /// # Errors
    /// When it ends with another code than 0; the message holds what it said, not the command.
    pub async fn exec(&self, name: &str, command: &[&str]) -> Result<String> {
        let (code, said) = self.try_exec(name, command).await?;
        ensure!(code == Some(0), "a command in {name} ended with {code:?}: {said}");
        Ok(said)
    }

    /// Runs a command in a container and returns its code and what it said.
    ///
    /// # Errors
    /// When the engine cannot run it.
    pub async fn try_exec(&self, name: &str, command: &[&str]) -> Result<(Option<i64>, String)> {
        let options = CreateExecOptions {
            cmd: Some(command.iter().map(|&word| word.to_owned()).collect()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::<String>::default()
        };
        let exec = self.docker.create_exec(name, options).await?.id;
        let mut said = String::new();
        if let StartExecResults::Attached { mut output, .. } = self.docker.start_exec(&exec, None).await? {
            while let Some(piece) = output.next().await {
                said += &piece?.to_string();
            }
        }
        Ok((self.docker.inspect_exec(&exec).await?.exit_code, said))
    }

    /// Inspects a container by name.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn inspect(&self, name: &str) -> Result<ContainerInspectResponse> {
        Ok(self.docker.inspect_container(name, None).await?)
    }
}

/// When the container's main process was started, as Docker says it.
pub fn started_at(container: &ContainerInspectResponse) -> String {
    container.state.as_ref().and_then(|state| state.started_at.clone()).unwrap_or_default()
}

/// Whether the container's main process runs.
pub fn is_running(container: &ContainerInspectResponse) -> bool {
    container.state.as_ref().and_then(|state| state.running).unwrap_or_default()
}
