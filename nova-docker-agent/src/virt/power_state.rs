//! Nova's power states (`nova.compute.power_state`).

/// What the hypervisor says of an instance; the numbers are Nova's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PowerState {
    /// There is no container.
    NoState = 0,
    /// Running.
    Running = 1,
    /// Paused.
    Paused = 3,
    /// Created or exited.
    Shutdown = 4,
    /// Dead, or killed for want of memory.
    Crashed = 6,
    /// Checkpointed.
    Suspended = 7,
}
