//! What is under way with an instance, in a file of its own below `state_path`: an agent that was killed finds it at its next
//! start. For what neither the task state nor Docker's labels tell.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::{fs, io};

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::virt;

/// The notes of one kind, in `<state_path>/<kind>/`: a file for each instance.
#[derive(Debug)]
pub struct Notes<T> {
    folder: PathBuf,
    kind: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Notes<T> {
    /// The notes of this kind below `state_path`; those of the last run are there.
    pub fn new(state_path: &Path, kind: &str) -> Self {
        Self { folder: state_path.join(kind), kind: PhantomData }
    }

    /// Notes it, in the place of what was noted of the instance.
    ///
    /// # Errors
    /// [`virt::Error::GuestFiles`] when `state_path` cannot be written to.
    pub fn write(&self, uuid: InstanceUuid, note: &T) -> Result<(), virt::Error> {
        let write = || {
            fs::create_dir_all(&self.folder)?;
            // Half a note would be none.
            let half = self.folder.join(format!(".{uuid}"));
            fs::write(&half, serde_json::to_vec(note)?)?;
            fs::rename(half, self.file(uuid))
        };
        write().map_err(|source| virt::Error::GuestFiles { path: self.folder.clone(), source })
    }

    /// What is noted of the instance; one that cannot be read is none.
    pub fn read(&self, uuid: InstanceUuid) -> Option<T> {
        serde_json::from_slice(&fs::read(self.file(uuid)).ok()?).ok()
    }

    /// It is not under way any more.
    pub fn end(&self, uuid: InstanceUuid) {
        match fs::remove_file(self.file(uuid)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let folder = self.folder.display();
                tracing::warn!(instance_uuid = %uuid, %folder, %error, "a note of an instance stays");
            }
            _ => {}
        }
    }

    /// Instances of which something is noted.
    pub fn all(&self) -> Vec<InstanceUuid> {
        let names = fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
        names.filter_map(|name| name.to_str()?.parse().ok()).collect()
    }

    /// Ends the note when what it was there for is `done`. Else that is logged, as `half`, and the next start tries again.
    pub fn settled(&self, uuid: InstanceUuid, done: Result<(), Error>, half: &str) {
        match done {
            Ok(()) => self.end(uuid),
            Err(error) => tracing::error!(instance_uuid = %uuid, error = %Chain(&error), "{half}"),
        }
    }

    fn file(&self, uuid: InstanceUuid) -> PathBuf {
        self.folder.join(uuid.to_string())
    }
}
