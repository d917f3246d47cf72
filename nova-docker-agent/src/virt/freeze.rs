//! Standing still: the freezer of the container's cgroup, for Nova's pause and for its suspend.
//!
//! Both keep the guest's memory, so a frozen container is no less for the host than a running one. A suspend that writes
//! the memory to disk and gives it back (a checkpoint) would be a second way beside [`Driver::freeze`]; what a suspended
//! instance is told apart by is its `vm_state`, not its container ([`super::PowerState::seen_in`]).

use common::docker;
use common::ids::InstanceUuid;

use super::spec::container_name;
use super::{Driver, Error, PowerState, error};

impl Driver {
    /// Freezes the container. A frozen one is fine.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no container, [`Error::Docker`] when it does not run.
    pub async fn freeze(&self, uuid: InstanceUuid) -> Result<(), Error> {
        let frozen = self.engine().pause_container(&container_name(uuid)).await;
        self.unless_already(uuid, PowerState::Paused, ("freeze the container", frozen)).await
    }

    /// Lets a frozen container go on. A running one is fine.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no container, [`Error::Docker`] when it does not run.
    pub async fn thaw(&self, uuid: InstanceUuid) -> Result<(), Error> {
        let thawed = self.engine().unpause_container(&container_name(uuid)).await;
        self.unless_already(uuid, PowerState::Running, ("thaw the container", thawed)).await
    }

    /// A refusal is none when the container is as it should be: dockerd says so in words that differ by version.
    async fn unless_already(
        &self,
        uuid: InstanceUuid,
        wanted: PowerState,
        (what, done): (&'static str, Result<(), docker::Error>),
    ) -> Result<(), Error> {
        let Err(refused) = done else { return Ok(()) };
        let refused = error::of_container(what, uuid, refused);
        match refused {
            Error::Docker { .. } if self.power_state(uuid).await? == wanted => Ok(()),
            refused => Err(refused),
        }
    }
}
