//! What happens to our containers without our doing (Nova: `virt.event.LifecycleEvent`).

use common::ids::InstanceUuid;

/// A container of ours changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleEvent {
    /// The instance.
    pub uuid: InstanceUuid,
    /// What happened.
    pub event: Event,
}

/// Nova's lifecycle transitions as far as containers have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The container runs.
    Started,
    /// Its process ended.
    Stopped,
    /// Paused.
    Paused,
    /// Unpaused.
    Resumed,
    /// The kernel killed a process in it for want of memory.
    OutOfMemory,
    /// The container was removed.
    Removed,
    /// Events may have been lost while dockerd was away: compare all power states.
    Resync,
}
