//! What to do about a guest whose power state is not as recorded, decided without doing it (Nova: `_sync_instance_power_state`).

use common::objects::fields::VmState;

use super::recovery::Situation;
use crate::virt::PowerState;

/// What a comparison of the recorded with the real power state leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerSync {
    /// The record has to be put right.
    pub save: bool,
    /// What to do about the instance.
    pub then: PowerAction,
}

/// What is done about an instance whose guest is not as the record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerAction {
    /// Nothing.
    Leave,
    /// It ended by itself, or must not run: stop it in the API's place.
    Stop,
    /// Only a person can tell: log it.
    Warn(&'static str),
}

/// Compares power states (Nova: `_sync_instance_power_state`).
pub fn power_sync(now: &Situation) -> PowerSync {
    use PowerState as P;
    use VmState as V;
    if !now.ours || now.task.is_some() {
        return PowerSync { save: false, then: PowerAction::Leave };
    }
    let down = matches!(now.power, P::Shutdown | P::Crashed);
    let then = match now.vm_state {
        V::Active if down || now.power == P::Suspended => PowerAction::Stop,
        V::Active if now.power == P::Paused => {
            PowerAction::Warn("the container is paused although Nova did not do it")
        }
        V::Active if now.power == P::NoState => PowerAction::Warn("the container is missing"),
        V::Stopped if !down && now.power != P::NoState => PowerAction::Stop,
        V::Paused if down => PowerAction::Stop,
        V::SoftDeleted | V::Deleted if !matches!(now.power, P::NoState | P::Shutdown) => {
            PowerAction::Warn("the container of a deleted instance runs")
        }
        _ => PowerAction::Leave,
    };
    PowerSync { save: now.recorded_power != now.power as i64, then }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PowerState as P;
    use TaskState as T;
    use VmState as V;
    use common::objects::fields::TaskState;

    fn now(vm_state: V, task: Option<T>, power: P) -> Situation {
        Situation { ours: true, vm_state, task, recorded_power: P::Running as i64, power }
    }

    #[test]
    fn an_active_instance_whose_guest_ended_is_stopped_through_the_api() {
        for power in [P::Shutdown, P::Crashed, P::Suspended] {
            let sync = power_sync(&now(V::Active, None, power));
            assert_eq!(sync, PowerSync { save: true, then: PowerAction::Stop }, "{power:?}");
        }
    }

    #[test]
    fn a_stopped_instance_that_runs_is_stopped() {
        assert_eq!(power_sync(&now(V::Stopped, None, P::Running)).then, PowerAction::Stop);
        assert_eq!(power_sync(&now(V::Stopped, None, P::NoState)).then, PowerAction::Leave);
        assert_eq!(power_sync(&now(V::Paused, None, P::Shutdown)).then, PowerAction::Stop);
    }

    #[test]
    fn what_is_busy_missing_or_broken_is_only_recorded() {
        let busy = power_sync(&now(V::Active, Some(T::Rebooting), P::Shutdown));
        assert_eq!(busy, PowerSync { save: false, then: PowerAction::Leave });
        let missing = power_sync(&now(V::Active, None, P::NoState));
        assert!(missing.save && matches!(missing.then, PowerAction::Warn(_)));
        assert_eq!(power_sync(&now(V::Error, None, P::Shutdown)).then, PowerAction::Leave);
        assert!(!power_sync(&now(V::Active, None, P::Running)).save);
    }
}
