//! The hypervisor host's view: the containers behind the servers, seen through the Docker engine.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use bollard::{
    Docker,
    exec::{CreateExecOptions, StartExecResults},
    models::{ContainerCreateBody, ContainerInspectResponse},
    query_parameters::{
        CreateContainerOptionsBuilder, ListContainersOptionsBuilder, ListImagesOptionsBuilder,
        ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder, RestartContainerOptions,
    },
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

    /// The engine of the second hypervisor: the one that its agent uses.
    ///
    /// # Errors
    /// When the platform has no second hypervisor.
    pub fn second() -> Result<Self> {
        let socket = format!("{}/engine/docker.sock", second_folder()?);
        Ok(Self { docker: Docker::connect_with_unix(&socket, 120, bollard::API_DEFAULT_VERSION)? })
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

    /// Names of all volumes that carry the label `name=value`.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn volumes(&self, label: &str) -> Result<Vec<String>> {
        let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
        let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let found = self.docker.list_volumes(Some(options)).await?.volumes.unwrap_or_default();
        Ok(found.into_iter().map(|volume| volume.name).collect())
    }

    /// Names of all images that match a pattern such as `nova-image/*`.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn images(&self, reference: &str) -> Result<Vec<String>> {
        let filters = HashMap::from([("reference".to_owned(), vec![reference.to_owned()])]);
        let options = ListImagesOptionsBuilder::new().filters(&filters).build();
        let found = self.docker.list_images(Some(options)).await?;
        Ok(found.into_iter().flat_map(|image| image.repo_tags).collect())
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

    /// Creates a container of `image` with these labels, as somebody could have left it.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn leave(&self, name: &str, image: &str, labels: &[(&str, &str)]) -> Result<()> {
        let labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
        let body =
            ContainerCreateBody { image: Some(image.to_owned()), labels: Some(labels), ..Default::default() };
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        self.docker.create_container(Some(options), body).await?;
        Ok(())
    }

    /// Kills a container behind the control plane's back.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&self, name: &str) -> Result<()> {
        Ok(self.docker.kill_container(name, None).await?)
    }

    /// Starts a container that was killed.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn start(&self, name: &str) -> Result<()> {
        Ok(self.docker.start_container(name, None).await?)
    }

    /// Removes a container behind the control plane's back.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn remove(&self, name: &str) -> Result<()> {
        let options = RemoveContainerOptionsBuilder::default().force(true).build();
        Ok(self.docker.remove_container(name, Some(options)).await?)
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

/// The folder that the second hypervisor's agent has on the host.
fn second_folder() -> Result<String> {
    let name = crate::platform::container("nova-docker-agent-2")?;
    let sources = "{{range .Mounts}}{{println .Source}}{{end}}";
    let output =
        std::process::Command::new("docker").args(["inspect", "--format", sources, &name]).output()?;
    let sources = String::from_utf8_lossy(&output.stdout).into_owned();
    let own =
        sources.lines().find(|source| source.ends_with("/nova-docker-agent-2") && !source.contains("/log/"));
    Ok(own.with_context(|| format!("{name} has no folder of its own: {sources}"))?.to_owned())
}

/// When the container's main process was started, as Docker says it.
pub fn started_at(container: &ContainerInspectResponse) -> String {
    container.state.as_ref().and_then(|state| state.started_at.clone()).unwrap_or_default()
}

/// Whether the container's main process runs.
pub fn is_running(container: &ContainerInspectResponse) -> bool {
    container.state.as_ref().and_then(|state| state.running).unwrap_or_default()
}
