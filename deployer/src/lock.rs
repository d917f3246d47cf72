//! One deployer per project at a time: a lock file held with flock, so that a killed deployer leaves no lock behind.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Somebody else holds it.
    #[error("another octopenstack ({holder}) is working on {what}; wait until it ends and try again")]
    Held {
        /// Process id and verb, as the holder wrote them.
        holder: String,
        /// What the lock is for.
        what: String,
    },
    /// The file cannot be used.
    #[error("cannot use the lock file {}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The lock; free again when dropped or when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: Flock<File>,
}

/// Takes the lock of `what` in `path`, or says who has it.
pub(crate) fn take(path: &Path, what: &str, verb: &str) -> Result<Lock, Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io)?;
    }
    loop {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((mut file, _)) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(io)?;
                return Err(Error::Held { holder: holder.trim().to_owned(), what: what.to_owned() });
            }
        };
        // `rm` deletes the file it holds: a lock on a deleted file guards nothing.
        let ours = file.metadata().map_err(io)?.ino();
        if std::fs::metadata(path).is_ok_and(|now| now.ino() == ours) {
            file.set_len(0).map_err(io)?;
            file.rewind().map_err(io)?;
            write!(file, "pid {}, {verb}", std::process::id()).map_err(io)?;
            return Ok(Lock { _file: file });
        }
    }
}

/// Takes the lock, waiting for it in steps of a fifth of a second; `waiting` is called once with the holder.
pub(crate) async fn wait(path: &Path, what: &str, verb: &str, waiting: impl Fn(&str)) -> Result<Lock, Error> {
    let mut told = false;
    loop {
        match take(path, what, verb) {
            Err(Error::Held { holder, .. }) => {
                if !told {
                    waiting(&holder);
                    told = true;
                }
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_learns_who_holds_it() {
        let path = std::env::temp_dir().join(format!("octo-lock-{}/lock", std::process::id()));
        let lock = take(&path, "project a", "up").unwrap();
        let refusal = take(&path, "project a", "rm").unwrap_err().to_string();
        assert!(refusal.contains(&format!("pid {}, up", std::process::id())), "{refusal}");
        drop(lock);
        take(&path, "project a", "rm").unwrap();
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
