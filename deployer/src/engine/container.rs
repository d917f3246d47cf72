//! One container: create, start, stop, remove, wait.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, DeviceMapping, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig,
    HostConfigLogConfig, Mount as DockerMount, MountType, NetworkingConfig, PortBinding, RestartPolicy,
    RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
    StopContainerOptionsBuilder,
};

use common::config::Pid;

use super::docker::explain;
use super::{Docker, Error, KIND, PARTS, PROJECT, SERVICE, SPEC};
use crate::plan::spec::{Attachment, ContainerSpec, Desired, Kind, Mount};

/// A container as `inspect` shows it, reduced to what we decide on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inspected {
    pub(crate) running: bool,
    pub(crate) exit_code: i64,
    pub(crate) restarts: i64,
    /// Address on the platform's bridge; none in the host's network.
    pub(crate) address: Option<std::net::Ipv4Addr>,
    pub(crate) started_at: String,
    /// Docker's own words when it could not start the program.
    pub(crate) error: String,
}

impl Docker {
    /// Creates the container in place of one with the same name.
    pub(crate) async fn create(&self, project: &str, desired: &Desired) -> Result<(), Error> {
        let name = &desired.spec.name;
        self.remove_container(name).await?;
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let body = body(project, desired);
        let doing = format!("create container {name}");
        self.api().create_container(Some(options), body).await.map_err(|error| explain(&doing, error))?;
        Ok(())
    }

    /// Starts it; a running one is left alone.
    pub(crate) async fn start(&self, name: &str) -> Result<(), Error> {
        let answer = self.api().start_container(name, None::<StartContainerOptions>).await;
        answer.map_err(|error| explain(&format!("start container {name}"), error))
    }

    /// Stops it within `timeout` seconds; a stopped or absent one is left alone.
    pub(crate) async fn stop(&self, name: &str, timeout: u32) -> Result<(), Error> {
        let options =
            StopContainerOptionsBuilder::default().t(i32::try_from(timeout).unwrap_or(i32::MAX)).build();
        let patient = self.patient(Duration::from_secs(u64::from(timeout) + 60));
        match patient
            .stop_container(name, Some(options))
            .await
            .map_err(|error| explain(&format!("stop container {name}"), error))
        {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    /// Removes it, running or not; an absent one is fine.
    pub(crate) async fn remove_container(&self, name: &str) -> Result<(), Error> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let doing = format!("remove container {name}");
        match self.api().remove_container(name, Some(options)).await.map_err(|error| explain(&doing, error)) {
            Err(error) if error.is_not_found() => Ok(()),
            // Somebody else's removal of it is under way.
            Err(error) if error.is_conflict() => self.wait_until_gone(name).await,
            other => other,
        }
    }

    async fn wait_until_gone(&self, name: &str) -> Result<(), Error> {
        for _ in 0..100 {
            if self.inspect(name).await?.is_none() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(Error::Refused {
            doing: format!("remove container {name}"),
            message: "its removal hangs".into(),
            status: None,
        })
    }

    /// Its state; `None` when there is none of that name.
    pub(crate) async fn inspect(&self, name: &str) -> Result<Option<Inspected>, Error> {
        let answer = match self.api().inspect_container(name, None).await {
            Ok(answer) => answer,
            Err(error) => {
                let error = explain(&format!("inspect container {name}"), error);
                return if error.is_not_found() { Ok(None) } else { Err(error) };
            }
        };
        let state = answer.state.unwrap_or_default();
        let networks = answer.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        let address = networks.values().find_map(|network| network.ip_address.as_deref()?.parse().ok());
        Ok(Some(Inspected {
            running: state.running.unwrap_or_default() && !state.restarting.unwrap_or_default(),
            exit_code: state.exit_code.unwrap_or_default(),
            restarts: answer.restart_count.unwrap_or_default(),
            address,
            started_at: state.started_at.unwrap_or_default(),
            error: state.error.unwrap_or_default(),
        }))
    }

    /// Waits for a job's end and returns its code; `None` when `patience` is over.
    pub(crate) async fn wait_for_exit(
        &self,
        name: &str,
        patience: Duration,
    ) -> Result<Option<Inspected>, Error> {
        let deadline = tokio::time::Instant::now() + patience;
        // Polling costs one cheap call; a `wait` stream would be cut by a restart of the daemon.
        while tokio::time::Instant::now() < deadline {
            match self.inspect(name).await? {
                Some(state) if state.running => tokio::time::sleep(Duration::from_millis(100)).await,
                Some(state) => return Ok(Some(state)),
                None => {
                    return Err(Error::NotFound {
                        doing: format!("wait for container {name}"),
                        message: "somebody removed it".into(),
                    });
                }
            }
        }
        Ok(None)
    }
}

fn body(project: &str, desired: &Desired) -> ContainerCreateBody {
    let spec = &desired.spec;
    let kind = if spec.kind == Kind::Job { "job" } else { "service" };
    let labels = [
        (PROJECT, project),
        (SERVICE, &spec.service),
        (KIND, kind),
        (SPEC, &desired.hash),
        (PARTS, &desired.parts),
    ];
    let alias = match &spec.network {
        Attachment::Bridge { alias, .. } => alias.clone(),
        Attachment::Host | Attachment::Joined { .. } => None,
    };
    ContainerCreateBody {
        image: Some(spec.image_id.clone()),
        hostname: alias,
        user: Some(format!("{0}:{0}", spec.user)),
        // The whole command is the entrypoint, so that an image's own entrypoint or command never mixes in.
        entrypoint: Some(spec.command.clone()),
        cmd: Some(Vec::new()),
        env: Some(spec.environment.iter().map(|(key, value)| format!("{key}={value}")).collect()),
        labels: Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()),
        stop_timeout: Some(i64::from(spec.stop_timeout)),
        healthcheck: spec.health.as_ref().map(|test| health(test)),
        exposed_ports: Some(spec.ports.iter().map(|(_, port)| format!("{port}/tcp")).collect()),
        host_config: Some(host_config(spec)),
        networking_config: networking(&spec.network),
        ..ContainerCreateBody::default()
    }
}

fn host_config(spec: &ContainerSpec) -> HostConfig {
    let tmpfs =
        |path: &String| (path.clone(), format!("rw,nosuid,nodev,mode=0755,uid={0},gid={0}", spec.user));
    let restart = if spec.kind == Kind::Job {
        RestartPolicyNameEnum::NO
    } else {
        RestartPolicyNameEnum::UNLESS_STOPPED
    };
    HostConfig {
        network_mode: Some(match &spec.network {
            Attachment::Bridge { network, .. } => network.clone(),
            Attachment::Host => "host".into(),
            Attachment::Joined { container, .. } => format!("container:{container}"),
        }),
        mounts: Some(spec.config.iter().chain(&spec.mounts).map(mount).collect()),
        tmpfs: Some(spec.tmpfs.iter().map(tmpfs).collect()),
        cap_drop: Some(vec!["ALL".into()]),
        cap_add: Some(spec.capabilities.clone()),
        devices: Some(spec.devices.iter().map(|path| device(path)).collect()),
        group_add: Some(spec.groups.iter().map(u32::to_string).collect()),
        sysctls: Some(spec.sysctls.clone().into_iter().collect()),
        pid_mode: spec.pid.map(|Pid::Host| "host".to_owned()),
        security_opt: Some(vec!["no-new-privileges".into()]),
        readonly_rootfs: Some(spec.read_only),
        pids_limit: Some(spec.pids),
        memory: spec.memory.and_then(|bytes| i64::try_from(bytes).ok()),
        restart_policy: Some(RestartPolicy { name: Some(restart), maximum_retry_count: None }),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".into()),
            config: Some(HashMap::from([("max-size".into(), "10m".into()), ("max-file".into(), "3".into())])),
        }),
        port_bindings: Some(
            spec.ports
                .iter()
                .map(|(address, port)| {
                    let binding =
                        PortBinding { host_ip: Some(address.to_string()), host_port: Some(port.to_string()) };
                    (format!("{port}/tcp"), Some(vec![binding]))
                })
                .collect(),
        ),
        ..HostConfig::default()
    }
}

fn device(path: &str) -> DeviceMapping {
    DeviceMapping {
        path_on_host: Some(path.to_owned()),
        path_in_container: Some(path.to_owned()),
        cgroup_permissions: Some("rwm".into()),
    }
}

fn mount(mount: &Mount) -> DockerMount {
    DockerMount {
        typ: Some(if mount.volume { MountType::VOLUME } else { MountType::BIND }),
        source: Some(mount.source.clone()),
        target: Some(mount.target.clone()),
        read_only: Some(mount.read_only),
        ..DockerMount::default()
    }
}

/// The interval Docker asks at; our own readiness gates do not wait for it. Each look starts a process in each container.
fn health(test: &[String]) -> HealthConfig {
    const SECOND: i64 = 1_000_000_000;
    HealthConfig {
        test: Some(test.to_vec()),
        interval: Some(30 * SECOND),
        timeout: Some(5 * SECOND),
        retries: Some(3),
        start_period: Some(120 * SECOND),
        ..HealthConfig::default()
    }
}

fn networking(network: &Attachment) -> Option<NetworkingConfig> {
    let Attachment::Bridge { network, alias, address } = network else { return None };
    let endpoint = EndpointSettings {
        aliases: alias.clone().map(|alias| vec![alias]),
        ipam_config: address.map(|address| EndpointIpamConfig {
            ipv4_address: Some(address.to_string()),
            ..EndpointIpamConfig::default()
        }),
        ..EndpointSettings::default()
    };
    Some(NetworkingConfig { endpoints_config: Some(HashMap::from([(network.clone(), endpoint)])) })
}
