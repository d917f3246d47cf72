//! Creates, starts, stops and removes the containers of instances.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::docker::{self, Container, ContainerSpec, ContainerStatus, Engine, LogLines};
use common::error_chain::Chain;
use common::ids::InstanceUuid;
use futures_util::stream::Stream;
use tokio::sync::OnceCell;

use super::error::{self, Error};
use super::sandbox::is_sandbox;
use super::spec::{self, HOST_LABEL, UUID_LABEL, container_name};
use super::{
    InstanceSpec, LifecycleEvent, PowerState, config_drive, disk_device, guest_files, host, lifecycle,
};
use crate::config::Config;
use crate::image::ImageHandle;

/// As much of a console as Nova's libvirt driver returns (`MAX_CONSOLE_BYTES`).
const MAX_CONSOLE_BYTES: usize = 100 * 1024;

/// Exit code of a process that the kernel killed.
const KILLED: i64 = 137;

/// The hypervisor. Cheap to clone. All that it knows of instances is in Docker, so an agent that restarts loses nothing.
#[derive(Debug, Clone)]
pub struct Driver {
    engine: Engine,
    config: Arc<Config>,
    /// Asked before the first spawn.
    storage: Arc<OnceCell<Storage>>,
}

/// What Docker's storage can do.
#[derive(Debug)]
struct Storage {
    /// Limit the size of root disks; cleared if Docker refuses all the same.
    quota: AtomicBool,
    /// The device with all of them.
    device: Option<String>,
}

impl Driver {
    /// A driver on `engine`.
    pub fn new(engine: Engine, config: Arc<Config>) -> Self {
        Self { engine, config, storage: Arc::default() }
    }

    /// dockerd, for the other files of this folder.
    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The operator's options, for the other files of this folder.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Creates the container of `instance` from `image` without starting it; the leftover of an earlier build is
    /// replaced. One call to dockerd, and one more the first time.
    ///
    /// # Errors
    /// [`Error::ImageGone`] when the image has to be brought to Docker again; see also the other variants.
    pub async fn make(&self, instance: &InstanceSpec, image: &ImageHandle) -> Result<(), Error> {
        let mut spec = self.container(instance, image).await?;
        if let Err(refused) = self.engine.create_container(&spec).await {
            self.create_again(&mut spec, refused)
                .await
                .map_err(|e| error::of_spawn("create the container", &instance.image_id, e))?;
        }
        Ok(())
    }

    /// Creates and starts the container of `instance` from `image`. Removes it if it does not start.
    ///
    /// # Errors
    /// As [`Driver::make`].
    pub async fn spawn(&self, instance: &InstanceSpec, image: &ImageHandle) -> Result<(), Error> {
        self.make(instance, image).await?;
        self.start_new(instance).await
    }

    /// Creates the container of `instance` without starting it; false when it has one already, which is left alone.
    ///
    /// # Errors
    /// As [`Driver::spawn`].
    pub async fn create(&self, instance: &InstanceSpec, image: &ImageHandle) -> Result<bool, Error> {
        let spec = self.container(instance, image).await?;
        match self.engine.create_container(&spec).await {
            Ok(_) => Ok(true),
            Err(docker::Error::Conflict(_)) => Ok(false),
            Err(refused) => {
                if let Err(error) = self.remove_ephemeral(instance.uuid).await {
                    tracing::debug!(error = %Chain(&error), "the ephemeral disk of a container that was not made stays");
                }
                Err(error::of_spawn("create the container", &instance.image_id, refused))
            }
        }
    }

    /// Starts a container that [`Driver::create`] made; removes it if it does not start.
    ///
    /// # Errors
    /// As [`Driver::spawn`].
    pub async fn start_new(&self, instance: &InstanceSpec) -> Result<(), Error> {
        let name = container_name(instance.uuid);
        if let Err(refused) = self.engine.start_container(&name).await {
            if let Err(error) = self.engine.remove_container(&name).await {
                tracing::warn!(instance_uuid = %instance.uuid, error = %error, "a container that did not start stays");
            }
            return Err(error::of_spawn("start the container", &instance.image_id, refused));
        }
        Ok(())
    }

    async fn container(&self, instance: &InstanceSpec, image: &ImageHandle) -> Result<ContainerSpec, Error> {
        let storage = self.storage().await?;
        let quota = storage.quota.load(Ordering::Relaxed);
        let storage = spec::Storage { quota, device: storage.device.as_deref() };
        let spec = spec::container(instance, image, &self.config, storage)?;
        if config_drive::wanted(instance, &self.config) {
            config_drive::make(&self.config, instance.uuid)?;
        }
        // Its addresses follow when they are known.
        guest_files::write(&self.config, instance.uuid, &self.guest_files(&instance.hostname, &[]), false)?;
        self.make_ephemeral(instance, quota).await?;
        Ok(spec)
    }

    /// Creates after a refusal that can be dealt with: no disk quotas here, or a leftover of an earlier build.
    async fn create_again(
        &self,
        spec: &mut ContainerSpec,
        refused: docker::Error,
    ) -> Result<(), docker::Error> {
        if error::is_no_disk_quota(&refused) {
            // overlay2 on XFS without the mount option pquota: it tells only by refusing.
            if self.storage.get().is_some_and(|storage| storage.quota.swap(false, Ordering::Relaxed)) {
                tracing::warn!(reason = %refused, "Docker cannot limit root disks here: root_gb is not enforced");
            }
            spec.storage_opt.clear();
        } else if matches!(refused, docker::Error::Conflict(_)) {
            tracing::warn!(container = spec.name, "replaces the container that an earlier build has left");
            self.engine.remove_container(&spec.name).await?;
        } else {
            return Err(refused);
        }
        self.engine.create_container(spec).await.map(drop)
    }

    /// Whether Docker limits the size of disks here, as far as is known.
    ///
    /// # Errors
    /// When dockerd does not answer.
    pub async fn limits_disks(&self) -> Result<bool, Error> {
        Ok(self.storage().await?.quota.load(Ordering::Relaxed))
    }

    async fn storage(&self) -> Result<&Storage, Error> {
        let ask = async || {
            let info = self.engine.info().await.map_err(|e| error::general("tell about its storage", e))?;
            let possible = host::can_limit_disks(&info);
            if !possible {
                let driver = &info.storage_driver;
                tracing::warn!(driver, "Docker cannot limit root disks here: root_gb is not enforced");
            }
            let device = self.config.docker.disk_device.clone();
            let device = device.or_else(|| disk_device::of(Path::new(&info.root_dir)));
            Ok(Storage { quota: AtomicBool::new(possible), device })
        };
        self.storage.get_or_try_init(ask).await
    }

    /// Removes the container whatever its state; an absent container is fine.
    ///
    /// # Errors
    /// When dockerd does not answer or cannot remove it.
    pub async fn destroy(&self, uuid: InstanceUuid) -> Result<(), Error> {
        let name = container_name(uuid);
        let (removed, rescued, moved) =
            tokio::join!(self.engine.remove_container(&name), self.is_rescued(uuid), self.moved(uuid));
        let failed = |e| error::of_container("remove the container", uuid, e);
        removed.map_err(failed)?;
        if rescued? {
            self.remove_rescue(uuid).await.map_err(failed)?;
        }
        if moved?.is_some() {
            self.discard_moved(uuid).await?;
        }
        self.remove_ephemeral(uuid).await?;
        guest_files::remove(&self.config, uuid)
    }

    /// Instances that have files on this host, with or without a container.
    pub fn with_files(&self) -> Vec<InstanceUuid> {
        guest_files::owners(&self.config)
    }

    /// Stops the container: its stop signal first, SIGKILL after `timeout` seconds. A stopped container is fine.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no container.
    pub async fn power_off(&self, uuid: InstanceUuid, timeout: u64) -> Result<(), Error> {
        let stopped = self.engine.stop_container(&container_name(uuid), timeout).await;
        stopped.map_err(|e| error::of_container("stop the container", uuid, e))
    }

    /// Starts the container. A running container is fine; a frozen one goes on, for dockerd does not start it.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no container.
    pub async fn power_on(&self, uuid: InstanceUuid) -> Result<(), Error> {
        let Err(refused) = self.engine.start_container(&container_name(uuid)).await else { return Ok(()) };
        match error::of_container("start the container", uuid, refused) {
            Error::Docker { .. } if self.power_state(uuid).await? == PowerState::Paused => {
                self.thaw(uuid).await
            }
            refused => Err(refused),
        }
    }

    /// Restarts in place: stop signal, SIGKILL after `timeout` seconds, start.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no container.
    pub async fn reboot_soft(&self, uuid: InstanceUuid, timeout: u64) -> Result<(), Error> {
        let restarted = self.engine.restart_container(&container_name(uuid), timeout).await;
        restarted.map_err(|e| error::of_container("restart the container", uuid, e))
    }

    /// Kills and starts.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no container; the caller may then `spawn` again, for an `InstanceSpec` and an
    /// image are all that it takes.
    pub async fn reboot_hard(&self, uuid: InstanceUuid) -> Result<(), Error> {
        self.reboot_soft(uuid, 0).await
    }

    /// The power state; [`PowerState::NoState`] when there is no container.
    ///
    /// # Errors
    /// When dockerd does not answer.
    pub async fn power_state(&self, uuid: InstanceUuid) -> Result<PowerState, Error> {
        match self.engine.inspect_container(&container_name(uuid)).await {
            Ok(found) => Ok(PowerState::of(found.status, found.oom_killed)),
            Err(error) if error.is_not_found() => Ok(PowerState::NoState),
            Err(error) => Err(error::of_container("look at the container", uuid, error)),
        }
    }

    /// The first process of the container, as this host numbers it; None unless it runs.
    ///
    /// # Errors
    /// When dockerd does not answer.
    pub async fn pid(&self, uuid: InstanceUuid) -> Result<Option<u32>, Error> {
        match self.engine.inspect_container(&container_name(uuid)).await {
            Ok(found) => Ok(u32::try_from(found.pid).ok().filter(|pid| *pid > 0)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error::of_container("look at the container", uuid, error)),
        }
    }

    /// The containers of this host's instances, by one call.
    ///
    /// # Errors
    /// When dockerd does not answer.
    pub async fn containers(&self) -> Result<HashMap<InstanceUuid, Container>, Error> {
        let found = self.listed().await?;
        Ok(found.collect())
    }

    /// Every container of this host's instances, by one call (and one more for each that was killed).
    ///
    /// # Errors
    /// When dockerd does not answer.
    pub async fn instances(&self) -> Result<Vec<(InstanceUuid, PowerState)>, Error> {
        let mut instances = Vec::new();
        for (uuid, container) in self.listed().await? {
            instances.push((uuid, self.listed_state(uuid, &container).await?));
        }
        Ok(instances)
    }

    async fn listed(&self) -> Result<impl Iterator<Item = (InstanceUuid, Container)> + use<>, Error> {
        let labels = [UUID_LABEL.to_owned(), format!("{HOST_LABEL}={}", self.config.host)];
        let found = self.engine.list_containers(&labels).await;
        let found = found.map_err(|e| error::general("list the containers", e))?;
        Ok(found.into_iter().filter(|container| !is_sandbox(&container.labels)).filter_map(|container| {
            // A label that is no uuid is not of our making.
            let uuid = container.labels.get(UUID_LABEL)?.parse().ok()?;
            // That of a rescued instance stands aside.
            (container.name == container_name(uuid)).then_some((uuid, container))
        }))
    }

    /// A list does not tell who killed a process: the kernel for want of memory, or somebody by intent.
    async fn listed_state(&self, uuid: InstanceUuid, container: &Container) -> Result<PowerState, Error> {
        if container.status == ContainerStatus::Exited && container.exit_code == KILLED {
            self.power_state(uuid).await
        } else {
            Ok(PowerState::of(container.status, false))
        }
    }

    /// The last `tail` lines (all when None) of what the instance wrote, never more than Nova returns (100 KiB).
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no container.
    pub async fn console_output(&self, uuid: InstanceUuid, tail: Option<u64>) -> Result<String, Error> {
        let lines = tail.map_or(LogLines::All, LogLines::Last);
        let logs = self.engine.container_logs(&container_name(uuid), lines, MAX_CONSOLE_BYTES).await;
        let bytes = logs.map_err(|e| error::of_container("read the console", uuid, e))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Events of this host's containers, for ever: reconnects by itself and says [`LifecycleEvent::Resync`] when it did.
    pub fn lifecycle(&self) -> impl Stream<Item = LifecycleEvent> + Send + use<> {
        lifecycle::events(self.engine.clone(), format!("{HOST_LABEL}={}", self.config.host))
    }
}
