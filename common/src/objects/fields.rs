//! The words Nova uses for states (`nova.compute.vm_states`, `nova.compute.task_states`).

use std::str::FromStr;

use strum::{EnumIter, EnumString, IntoStaticStr};

/// What an instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumString, IntoStaticStr, EnumIter)]
#[strum(serialize_all = "snake_case")]
pub enum VmState {
    /// Runs.
    Active,
    /// Is being made.
    Building,
    /// Frozen.
    Paused,
    /// Saved to disk.
    Suspended,
    /// Off.
    Stopped,
    /// Runs a rescue image.
    Rescued,
    /// Resized, not confirmed.
    Resized,
    /// Deleted, can be restored.
    #[strum(serialize = "soft-delete")]
    SoftDeleted,
    /// Deleted.
    Deleted,
    /// Broken.
    Error,
    /// Off, with its disk saved as an image.
    Shelved,
    /// As shelved, and on no host.
    ShelvedOffloaded,
    /// A word of a newer release.
    Unknown,
}

/// What is being done to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumString, IntoStaticStr, EnumIter)]
#[strum(serialize_all = "snake_case")]
#[expect(missing_docs, reason = "the words are Nova's and say what they mean")]
pub enum TaskState {
    Scheduling,
    BlockDeviceMapping,
    Networking,
    Spawning,
    ImageSnapshot,
    ImageSnapshotPending,
    ImagePendingUpload,
    ImageUploading,
    ImageBackup,
    UpdatingPassword,
    ResizePrep,
    ResizeMigrating,
    ResizeMigrated,
    ResizeFinish,
    ResizeReverting,
    ResizeConfirming,
    Rebooting,
    RebootPending,
    RebootStarted,
    RebootingHard,
    RebootPendingHard,
    RebootStartedHard,
    Pausing,
    Unpausing,
    Suspending,
    Resuming,
    #[strum(serialize = "powering-off")]
    PoweringOff,
    #[strum(serialize = "powering-on")]
    PoweringOn,
    Rescuing,
    Unrescuing,
    Rebuilding,
    RebuildBlockDeviceMapping,
    RebuildSpawning,
    Migrating,
    Deleting,
    #[strum(serialize = "soft-deleting")]
    SoftDeleting,
    Restoring,
    Shelving,
    ShelvingImagePendingUpload,
    ShelvingImageUploading,
    ShelvingOffloading,
    Unshelving,
    /// A word of a newer release.
    Unknown,
}

impl VmState {
    /// Reads Nova's word.
    pub fn read(word: &str) -> Self {
        Self::from_str(word).unwrap_or(Self::Unknown)
    }

    /// Nova's word.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl TaskState {
    /// Reads Nova's word.
    pub fn read(word: &str) -> Self {
        Self::from_str(word).unwrap_or(Self::Unknown)
    }

    /// Nova's word.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strum::IntoEnumIterator;

    #[test]
    fn the_words_with_hyphens_are_nova_s() {
        assert_eq!(VmState::SoftDeleted.as_str(), "soft-delete");
        assert_eq!(VmState::ShelvedOffloaded.as_str(), "shelved_offloaded");
        for (task, word) in [
            (TaskState::PoweringOff, "powering-off"),
            (TaskState::PoweringOn, "powering-on"),
            (TaskState::SoftDeleting, "soft-deleting"),
            (TaskState::RebootPendingHard, "reboot_pending_hard"),
            (TaskState::BlockDeviceMapping, "block_device_mapping"),
        ] {
            assert_eq!(task.as_str(), word);
        }
    }

    #[test]
    fn every_word_is_read_as_it_is_written_and_new_ones_are_unknown() {
        for state in VmState::iter() {
            assert_eq!(VmState::read(state.as_str()), state);
        }
        for task in TaskState::iter() {
            assert_eq!(TaskState::read(task.as_str()), task);
        }
        assert_eq!(TaskState::read("teleporting"), TaskState::Unknown);
    }
}
