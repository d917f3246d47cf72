//! What to do, decided without doing it: recovery at start (RPC-SURFACE §5.2) and power states (SEMANTICS §10).

use common::objects::fields::{TaskState, VmState};

use crate::virt::PowerState;

/// An instance as recovery and power sync look at it.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// `Instance.host` is this host.
    pub ours: bool,
    /// `Instance.vm_state`
    pub vm_state: VmState,
    /// `Instance.task_state`
    pub task: Option<TaskState>,
    /// `Instance.power_state`, as Nova's number.
    pub recorded_power: i64,
    /// What the hypervisor says.
    pub power: PowerState,
}

/// What to put right before [`Recovery::then`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// No task any more.
    ClearTask,
    /// No task any more, and the instance runs.
    ClearTaskAndActivate,
}

/// How an instance is picked up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It is as it should be, or not ours to touch.
    Leave,
    /// Its row and allocations have to go.
    CompleteDeletion,
    /// It was being made: ERROR, without a task.
    Fail,
    /// It was being deleted: again.
    Delete,
    /// It was being rebooted: again. `mark`: a soft reboot got as far as stopping it, so the task becomes the hard one.
    Reboot {
        /// Kill instead of stop.
        hard: bool,
        /// Save REBOOT_PENDING_HARD first.
        mark: bool,
    },
    /// It was being stopped: again.
    Stop,
    /// It was being started: again.
    Start,
    /// It was in an operation that containers do not have: no task any more.
    ClearTask,
    /// It ran before the host went down: start it.
    Resume,
}

/// The decision for one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// What to put right first.
    pub first: Option<Repair>,
    /// What to do after that.
    pub then: Then,
}

/// Decides how an instance is picked up at start (Nova: `_init_instance`); rows from top to bottom, the first one wins.
///
/// `resume`: the option `resume_guests_state_on_host_boot`.
pub fn recover(now: &Situation, resume: bool) -> Recovery {
    use TaskState as T;
    use VmState as V;
    let only = |then| Recovery { first: None, then };
    let errored = now.vm_state == V::Error;
    if !now.ours {
        return only(Then::Leave);
    }
    if now.vm_state == V::SoftDeleted
        || (errored && !matches!(now.task, Some(T::ResizeMigrating | T::Deleting)))
    {
        return only(Then::Leave);
    }
    if now.vm_state == V::Deleted {
        return only(Then::CompleteDeletion);
    }
    let building =
        matches!(now.task, Some(T::Scheduling | T::BlockDeviceMapping | T::Networking | T::Spawning));
    if now.vm_state == V::Building || building {
        return only(Then::Fail);
    }
    let rebuilding =
        matches!(now.task, Some(T::Rebuilding | T::RebuildBlockDeviceMapping | T::RebuildSpawning));
    if matches!(now.vm_state, V::Active | V::Stopped) && rebuilding {
        return only(Then::Fail);
    }
    let harmless = matches!(
        now.task,
        Some(
            T::ImageSnapshotPending
                | T::ImagePendingUpload
                | T::ImageUploading
                | T::ImageSnapshot
                | T::ResizePrep
        )
    );
    let first = (!errored && harmless).then_some(Repair::ClearTask);
    let task = if first.is_some() { None } else { now.task };
    after_repair(now, first, task, resume)
}

/// The rows of the table that look at the hypervisor, with the task as it is after the first repair.
fn after_repair(now: &Situation, first: Option<Repair>, task: Option<TaskState>, resume: bool) -> Recovery {
    use TaskState as T;
    let then = |then| Recovery { first, then };
    let running = now.power == PowerState::Running;
    if task == Some(T::Deleting) {
        return then(Then::Delete);
    }
    if reboot_again(now, task) {
        let soft = matches!(task, Some(T::Rebooting | T::RebootPending | T::RebootStarted));
        let hard = !(running && soft);
        return then(Then::Reboot { hard, mark: soft && hard });
    }
    let done = matches!(
        task,
        Some(
            T::RebootStarted
                | T::RebootStartedHard
                | T::RebootingHard
                | T::Rebooting
                | T::Pausing
                | T::Unpausing
        )
    );
    if running && done {
        return Recovery { first: Some(Repair::ClearTaskAndActivate), then: Then::Leave };
    }
    match task {
        // Unpausing is not supported, so the task ends as Nova ends it then.
        Some(T::Unpausing) if now.power == PowerState::Paused => then(Then::ClearTask),
        Some(T::PoweringOff) => then(Then::Stop),
        Some(T::PoweringOn) => then(Then::Start),
        Some(T::ResizeMigrating | T::Migrating) => then(Then::ClearTask),
        _ if resume && now.recorded_power == PowerState::Running as i64 && !running => then(Then::Resume),
        _ => then(Then::Leave),
    }
}

/// Nova: `_retry_reboot`.
fn reboot_again(now: &Situation, task: Option<TaskState>) -> bool {
    use TaskState as T;
    use VmState as V;
    match task {
        Some(T::RebootPending) => now.vm_state == V::Active,
        Some(T::RebootPendingHard) => {
            matches!(now.vm_state, V::Active | V::Stopped | V::Paused | V::Suspended | V::Error)
        }
        Some(T::Rebooting | T::RebootingHard | T::RebootStarted | T::RebootStartedHard) => {
            now.power != PowerState::Running
        }
        _ => false,
    }
}

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

    fn now(vm_state: V, task: Option<T>, power: P) -> Situation {
        Situation { ours: true, vm_state, task, recorded_power: P::Running as i64, power }
    }

    fn then(vm_state: V, task: Option<T>, power: P) -> Then {
        recover(&now(vm_state, task, power), false).then
    }

    #[test]
    fn row_1_an_instance_of_another_host_is_left_alone() {
        let foreign = Situation { ours: false, ..now(V::Building, Some(T::Spawning), P::Running) };
        assert_eq!(recover(&foreign, true), Recovery { first: None, then: Then::Leave });
    }

    #[test]
    fn row_2_soft_deleted_and_broken_instances_are_left_alone() {
        assert_eq!(then(V::SoftDeleted, Some(T::Deleting), P::Running), Then::Leave);
        assert_eq!(then(V::Error, None, P::NoState), Then::Leave);
        assert_eq!(then(V::Error, Some(T::PoweringOff), P::Running), Then::Leave);
    }

    #[test]
    fn row_3_a_deletion_that_was_nearly_done_is_completed() {
        assert_eq!(then(V::Deleted, None, P::NoState), Then::CompleteDeletion);
    }

    #[test]
    fn row_4_an_interrupted_build_fails() {
        assert_eq!(then(V::Building, None, P::NoState), Then::Fail);
        for task in [T::Scheduling, T::BlockDeviceMapping, T::Networking, T::Spawning] {
            assert_eq!(then(V::Active, Some(task), P::Running), Then::Fail, "{task:?}");
        }
    }

    #[test]
    fn row_5_an_interrupted_rebuild_fails() {
        for task in [T::Rebuilding, T::RebuildBlockDeviceMapping, T::RebuildSpawning] {
            assert_eq!(then(V::Active, Some(task), P::Running), Then::Fail);
            assert_eq!(then(V::Stopped, Some(task), P::Shutdown), Then::Fail);
            assert_eq!(then(V::Paused, Some(task), P::Paused), Then::Leave);
        }
    }

    #[test]
    fn rows_6_and_7_tasks_without_consequence_are_cleared_and_the_table_goes_on() {
        for task in [
            T::ImageSnapshot,
            T::ImageSnapshotPending,
            T::ImagePendingUpload,
            T::ImageUploading,
            T::ResizePrep,
        ] {
            let decision = recover(&now(V::Active, Some(task), P::Running), false);
            assert_eq!(decision, Recovery { first: Some(Repair::ClearTask), then: Then::Leave }, "{task:?}");
            let decision = recover(&now(V::Active, Some(task), P::Shutdown), true);
            assert_eq!(decision, Recovery { first: Some(Repair::ClearTask), then: Then::Resume }, "{task:?}");
        }
    }

    #[test]
    fn row_8_a_delete_is_done_again_even_in_error() {
        assert_eq!(then(V::Active, Some(T::Deleting), P::Running), Then::Delete);
        assert_eq!(then(V::Error, Some(T::Deleting), P::NoState), Then::Delete);
    }

    #[test]
    fn row_9_a_pending_reboot_is_done_and_a_stopped_one_becomes_hard() {
        assert_eq!(
            then(V::Active, Some(T::RebootPending), P::Running),
            Then::Reboot { hard: false, mark: false }
        );
        assert_eq!(
            then(V::Active, Some(T::RebootPending), P::Shutdown),
            Then::Reboot { hard: true, mark: true }
        );
        assert_eq!(
            then(V::Active, Some(T::RebootPendingHard), P::Running),
            Then::Reboot { hard: true, mark: false }
        );
        assert_eq!(
            then(V::Stopped, Some(T::RebootPendingHard), P::Shutdown),
            Then::Reboot { hard: true, mark: false }
        );
        for task in [T::Rebooting, T::RebootStarted] {
            assert_eq!(then(V::Active, Some(task), P::Shutdown), Then::Reboot { hard: true, mark: true });
        }
        for task in [T::RebootingHard, T::RebootStartedHard] {
            assert_eq!(then(V::Active, Some(task), P::NoState), Then::Reboot { hard: true, mark: false });
        }
        assert_eq!(then(V::Stopped, Some(T::RebootPending), P::Running), Then::Leave);
    }

    #[test]
    fn row_10_what_had_happened_already_is_only_recorded() {
        let recorded = Recovery { first: Some(Repair::ClearTaskAndActivate), then: Then::Leave };
        for task in
            [T::RebootStarted, T::RebootStartedHard, T::RebootingHard, T::Rebooting, T::Pausing, T::Unpausing]
        {
            assert_eq!(recover(&now(V::Active, Some(task), P::Running), false), recorded, "{task:?}");
        }
    }

    #[test]
    fn row_11_an_unpause_ends_without_a_task() {
        assert_eq!(then(V::Paused, Some(T::Unpausing), P::Paused), Then::ClearTask);
    }

    #[test]
    fn rows_12_and_13_stop_and_start_are_done_again() {
        assert_eq!(then(V::Active, Some(T::PoweringOff), P::Running), Then::Stop);
        assert_eq!(then(V::Active, Some(T::PoweringOff), P::Shutdown), Then::Stop);
        assert_eq!(then(V::Stopped, Some(T::PoweringOn), P::Shutdown), Then::Start);
    }

    #[test]
    fn rows_15_and_16_interrupted_migrations_end_without_a_task() {
        assert_eq!(then(V::Active, Some(T::ResizeMigrating), P::Running), Then::ClearTask);
        assert_eq!(then(V::Error, Some(T::ResizeMigrating), P::Running), Then::ClearTask);
        assert_eq!(then(V::Active, Some(T::Migrating), P::Running), Then::ClearTask);
    }

    #[test]
    fn row_17_guests_come_back_after_a_reboot_of_the_host_only_when_told() {
        assert_eq!(then(V::Active, None, P::Shutdown), Then::Leave);
        let down = now(V::Active, None, P::Shutdown);
        assert_eq!(recover(&down, true).then, Then::Resume);
        let stopped = Situation { recorded_power: P::Shutdown as i64, ..now(V::Stopped, None, P::Shutdown) };
        assert_eq!(recover(&stopped, true).then, Then::Leave);
    }

    #[test]
    fn a_running_container_without_a_task_is_never_touched() {
        for state in
            [V::Active, V::Stopped, V::Paused, V::Suspended, V::Rescued, V::Resized, V::Shelved, V::Unknown]
        {
            for resume in [false, true] {
                let decision = recover(&now(state, None, P::Running), resume);
                assert_eq!(decision, Recovery { first: None, then: Then::Leave }, "{state:?}");
            }
        }
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
