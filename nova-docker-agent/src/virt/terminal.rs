//! Terminals of instances.

use std::time::Duration;

use common::docker::{Shown, Terminal};
use common::ids::InstanceUuid;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::error::{self, Error};
use super::{Driver, container_name};

/// The size of Horizon's terminal, in columns and rows, for those that do not tell theirs.
const SIZE: (u16, u16) = (80, 24);

/// The best shell there is.
const SHELL: [&str; 3] = ["/bin/sh", "-c", "exec \"$(command -v bash || command -v sh)\""];

/// How long a shell may take to end when its terminal is gone.
const GRACE: Duration = Duration::from_secs(2);

impl Driver {
    /// The terminal of the instance's process, if it has one, else a shell, else what its process writes.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no container.
    pub async fn terminal(&self, uuid: InstanceUuid) -> Result<Terminal, Error> {
        let failed = |e| error::of_container("open a terminal", uuid, e);
        let name = container_name(uuid);
        let engine = self.engine();
        let own = match engine.has_terminal(&name).await.map_err(failed)? {
            true => Some(Shown::Terminal),
            false => self.has_no_shell(&name).await.map_err(failed)?.then_some(Shown::Plain),
        };
        if let Some(shown) = own {
            return engine.attach_terminal(&name, shown).await.map_err(failed);
        }
        engine.open_terminal(&name, &SHELL, SIZE).await.map_err(failed)
    }

    /// Sets the size, in columns and rows, of the terminal of `program`, or of the instance's own.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is gone.
    pub async fn resize_terminal(
        &self,
        uuid: InstanceUuid,
        program: Option<&str>,
        size: (u16, u16),
    ) -> Result<(), Error> {
        let resized = self.engine().resize_terminal(&container_name(uuid), program, size).await;
        resized.map_err(|e| error::of_container("resize a terminal", uuid, e))
    }

    async fn has_no_shell(&self, name: &str) -> Result<bool, common::docker::Error> {
        let tried = self.engine().execute(name, "", &["/bin/sh", "-c", "exit 0"], b"").await?;
        Ok(tried.is_missing())
    }

    /// Ends the program of a terminal that nobody looks at any more: as when a line is cut, and by force if that is ignored.
    ///
    /// # Errors
    /// When dockerd does not answer.
    pub async fn hang_up(&self, uuid: InstanceUuid, program: &str) -> Result<(), Error> {
        for signal in [Signal::SIGHUP, Signal::SIGKILL] {
            let pid = self.engine().program_pid(program).await;
            let pid = match pid {
                Ok(Some(pid)) => pid,
                Ok(None) => return Ok(()),
                // With the container its programs are gone.
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) => return Err(error::of_container("end a terminal", uuid, error)),
            };
            if let Err(error) = kill(Pid::from_raw(pid), signal) {
                tracing::warn!(instance_uuid = %uuid, pid, %error, "the program of a console could not be ended");
            }
            tokio::time::sleep(GRACE).await;
        }
        Ok(())
    }
}
