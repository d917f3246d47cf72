//! Nova's power states (`nova.compute.power_state`).

use common::docker::ContainerStatus;
use common::objects::fields::VmState;

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
    /// Dead, or ended by the kernel for want of memory.
    Crashed = 6,
    /// Frozen as well: Docker knows one kind of standing still, Nova two.
    Suspended = 7,
}

impl PowerState {
    /// What a container's status means. `oom_killed`: the kernel killed one of its processes for want of memory.
    pub(super) fn of(status: ContainerStatus, oom_killed: bool) -> Self {
        match status {
            ContainerStatus::Running | ContainerStatus::Restarting | ContainerStatus::Stopping => {
                Self::Running
            }
            ContainerStatus::Paused => Self::Paused,
            ContainerStatus::Exited if oom_killed => Self::Crashed,
            ContainerStatus::Created | ContainerStatus::Exited | ContainerStatus::Removing => Self::Shutdown,
            ContainerStatus::Dead => Self::Crashed,
        }
    }

    /// What Docker says of an instance that Nova has in this state, in Nova's words.
    #[must_use]
    pub fn seen_in(self, vm_state: VmState) -> Self {
        if self == Self::Paused && vm_state == VmState::Suspended { Self::Suspended } else { self }
    }

    /// Neither running nor frozen.
    pub fn is_down(self) -> bool {
        matches!(self, Self::NoState | Self::Shutdown | Self::Crashed)
    }

    /// Nova's word for it (`power_state.STATE_MAP`).
    pub fn word(self) -> &'static str {
        match self {
            Self::NoState => "pending",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Shutdown => "shutdown",
            Self::Crashed => "crashed",
            Self::Suspended => "suspended",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_killed_for_memory_crashes_only_a_container_that_ended() {
        assert_eq!(PowerState::of(ContainerStatus::Running, true), PowerState::Running);
        assert_eq!(PowerState::of(ContainerStatus::Exited, true), PowerState::Crashed);
        assert_eq!(PowerState::of(ContainerStatus::Exited, false), PowerState::Shutdown);
        assert_eq!(PowerState::of(ContainerStatus::Created, false), PowerState::Shutdown);
        assert_eq!(PowerState::of(ContainerStatus::Dead, false), PowerState::Crashed);
    }

    #[test]
    fn a_frozen_container_is_suspended_or_paused_as_nova_asked() {
        assert_eq!(PowerState::Paused.seen_in(VmState::Suspended), PowerState::Suspended);
        assert_eq!(PowerState::Paused.seen_in(VmState::Paused), PowerState::Paused);
        assert_eq!(PowerState::Running.seen_in(VmState::Suspended), PowerState::Running);
    }

    #[test]
    fn the_numbers_are_nova_s() {
        let numbers = [PowerState::NoState, PowerState::Running, PowerState::Paused, PowerState::Shutdown];
        assert_eq!(numbers.map(|state| state as u8), [0, 1, 3, 4]);
        assert_eq!((PowerState::Crashed as u8, PowerState::Suspended as u8), (6, 7));
    }
}
