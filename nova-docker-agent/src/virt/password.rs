//! A user's password, set in a running container by its own tools: they know how it stores passwords.

use std::time::Duration;

use common::docker;
use common::ids::InstanceUuid;
use common::secret::Secret;

use super::spec::container_name;
use super::{Driver, Error, error};

/// How long a guest may take for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a password was not set. None of it holds the password, or what the guest's tools said about it.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Its container does not run, or is frozen.
    #[error("instance {0} is not running")]
    NotRunning(InstanceUuid),
    /// The container has neither `chpasswd` nor `passwd`.
    #[error("the image has neither chpasswd nor passwd")]
    NotSupported,
    /// User name or password cannot be told to `chpasswd`.
    #[error("{0}")]
    Unusable(&'static str),
    /// The guest's tool refused.
    #[error("{tool} ended with code {code} in the container")]
    Refused {
        /// The program.
        tool: &'static str,
        /// Its exit code.
        code: i64,
    },
    /// It did not end in time.
    #[error("the container did not set it within {} seconds", PATIENCE.as_secs())]
    TimedOut,
    /// dockerd.
    #[error(transparent)]
    Virt(#[from] Error),
}

impl Driver {
    /// Sets the password of `user` in the running container. It goes over standard input only, never into arguments or
    /// the environment, which others can see.
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub async fn set_password(
        &self,
        uuid: InstanceUuid,
        user: &str,
        password: &Secret,
    ) -> Result<(), PasswordError> {
        usable(user, password.reveal())?;
        let line = Secret::new(format!("{user}:{}\n", password.reveal()));
        let twice = Secret::new(format!("{0}\n{0}\n", password.reveal()));
        // Busybox may be built without the first; its `passwd` asks twice.
        let tools = [("chpasswd", vec!["chpasswd"], line), ("passwd", vec!["passwd", "--", user], twice)];
        let name = container_name(uuid);
        for (tool, command, input) in tools {
            let run = self.engine().execute(&name, "0", &command, input.reveal().as_bytes());
            let ended = tokio::time::timeout(PATIENCE, run).await.map_err(|_| PasswordError::TimedOut)?;
            let refused = |e: docker::Error| error::of_container("set the password", uuid, e);
            match ended.map_err(refused)? {
                ended if ended.is_missing() => {}
                ended if ended.code == 0 => return Ok(()),
                ended => return Err(PasswordError::Refused { tool, code: ended.code }),
            }
        }
        Err(PasswordError::NotSupported)
    }
}

/// One line is one password: nothing in it may begin another.
fn usable(user: &str, password: &str) -> Result<(), PasswordError> {
    if user.is_empty() || user.contains([':', '\n', '\0']) {
        return Err(PasswordError::Unusable("the image's os_admin_user is no name of a user"));
    }
    if password.contains(['\n', '\r', '\0']) {
        return Err(PasswordError::Unusable("a password must be one line"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_cannot_become_two() {
        assert!(usable("root", "s3cret:with colon").is_ok());
        for (user, password) in [("root", "a\nroot:b"), ("ro:ot", "a"), ("", "a"), ("root", "a\0")] {
            assert!(matches!(usable(user, password), Err(PasswordError::Unusable(_))), "{user:?}");
        }
    }

    #[test]
    fn no_error_tells_the_password() {
        let error = usable("root", "hunter2\n").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
