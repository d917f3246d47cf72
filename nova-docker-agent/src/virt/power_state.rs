//! Nova's power states (`nova.compute.power_state`).

use common::docker::ContainerStatus;

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
    /// Checkpointed.
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
    fn the_numbers_are_nova_s() {
        let numbers = [PowerState::NoState, PowerState::Running, PowerState::Paused, PowerState::Shutdown];
        assert_eq!(numbers.map(|state| state as u8), [0, 1, 3, 4]);
        assert_eq!((PowerState::Crashed as u8, PowerState::Suspended as u8), (6, 7));
    }
}
