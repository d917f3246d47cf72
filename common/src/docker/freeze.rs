//! The freezer of a container's cgroup: all its processes stand still and keep their memory.

use super::{Engine, Error};

impl Engine {
    /// Freezes a container.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it does not run, or is frozen already.
    pub async fn pause_container(&self, name: &str) -> Result<(), Error> {
        self.docker().pause_container(name).await.map_err(|e| self.error(e))
    }

    /// Lets a frozen container go on.
    ///
    /// # Errors
    /// [`Error::Conflict`] or [`Error::Other`] when it is not frozen: versions of dockerd differ.
    pub async fn unpause_container(&self, name: &str) -> Result<(), Error> {
        self.docker().unpause_container(name).await.map_err(|e| self.error(e))
    }
}
