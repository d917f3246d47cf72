//! How an instance is picked up when the agent starts, decided without doing it (Nova: `_init_instance`).
//!
//! Nova leaves what a crash interrupted between some task states (pausing, suspending, soft-deleting …) for an operator to
//! reset. Here the operation is done again, for each may be repeated; the rows below say which those are.

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
    /// It was being frozen: again.
    Pause,
    /// It was being thawed: again.
    Unpause,
    /// It was being suspended: again.
    Suspend,
    /// It was being resumed: again.
    Resume,
    /// It was being deleted so that it can be restored: again.
    SoftDelete,
    /// It was being restored: again.
    Restore,
    /// What was being done cannot be done again, or need not: no task any more.
    ClearTask,
    /// It ran before the host went down: start it.
    BootAgain,
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
    if now.vm_state == V::SoftDeleted {
        // Nova skips these whatever their task; then neither could ever end.
        return only(match now.task {
            Some(T::Deleting) => Then::Delete,
            Some(T::Restoring) => Then::Restore,
            _ => Then::Leave,
        });
    }
    if errored && !matches!(now.task, Some(T::ResizeMigrating | T::Deleting)) {
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
        Some(T::PoweringOff) => then(Then::Stop),
        Some(T::PoweringOn) => then(Then::Start),
        Some(T::ResizeMigrating | T::Migrating | T::UpdatingPassword) => then(Then::ClearTask),
        Some(T::SoftDeleting) => then(Then::SoftDelete),
        Some(T::Restoring) => then(Then::Restore),
        Some(T::Resuming) => then(Then::Resume),
        // What stands still or runs can be frozen and thawed; what is down has lost what that was for, and the power sync
        // says so.
        Some(T::Pausing | T::Unpausing | T::Suspending) if now.power.is_down() => then(Then::ClearTask),
        Some(T::Pausing) => then(Then::Pause),
        Some(T::Unpausing) => then(Then::Unpause),
        Some(T::Suspending) => then(Then::Suspend),
        _ if boots_again(now, resume) => then(Then::BootAgain),
        _ => then(Then::Leave),
    }
}

/// What becomes of the decision when the instance's ports cannot be plugged (row 14; Nova: VirtualInterfacePlugException of
/// `plug_vifs`): an instance that needs nothing else is in ERROR.
pub fn without_network(now: &Situation, decision: Recovery) -> Recovery {
    let skipped = !now.ours || matches!(now.vm_state, VmState::SoftDeleted | VmState::Error);
    match decision.then {
        Then::Leave | Then::ClearTask | Then::BootAgain if !skipped => {
            Recovery { then: Then::Fail, ..decision }
        }
        _ => decision,
    }
}

/// Nova: `resume_guests_state_on_host_boot`. A frozen container is no guest that the host has lost.
fn boots_again(now: &Situation, resume: bool) -> bool {
    resume && now.recorded_power == PowerState::Running as i64 && now.power.is_down()
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
        assert_eq!(then(V::SoftDeleted, None, P::Shutdown), Then::Leave);
        assert_eq!(then(V::SoftDeleted, None, P::Running), Then::Leave);
        assert_eq!(then(V::Error, None, P::NoState), Then::Leave);
        assert_eq!(then(V::Error, Some(T::PoweringOff), P::Running), Then::Leave);
    }

    #[test]
    fn beside_row_2_what_was_begun_with_a_soft_deleted_instance_is_ended() {
        assert_eq!(then(V::SoftDeleted, Some(T::Deleting), P::Shutdown), Then::Delete);
        assert_eq!(then(V::SoftDeleted, Some(T::Restoring), P::Shutdown), Then::Restore);
        assert_eq!(then(V::SoftDeleted, Some(T::Restoring), P::Running), Then::Restore);
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
            assert_eq!(
                decision,
                Recovery { first: Some(Repair::ClearTask), then: Then::BootAgain },
                "{task:?}"
            );
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
    fn row_11_an_unpause_is_done_again() {
        assert_eq!(then(V::Paused, Some(T::Unpausing), P::Paused), Then::Unpause);
        assert_eq!(then(V::Paused, Some(T::Unpausing), P::Shutdown), Then::ClearTask);
    }

    #[test]
    fn beside_row_11_what_can_be_repeated_is_done_again() {
        assert_eq!(then(V::Active, Some(T::Pausing), P::Paused), Then::Pause);
        assert_eq!(then(V::Active, Some(T::Suspending), P::Paused), Then::Suspend);
        assert_eq!(then(V::Active, Some(T::Suspending), P::Running), Then::Suspend);
        for power in [P::Suspended, P::Running, P::Shutdown] {
            assert_eq!(then(V::Suspended, Some(T::Resuming), power), Then::Resume, "{power:?}");
        }
        for power in [P::Running, P::Shutdown] {
            assert_eq!(then(V::Active, Some(T::SoftDeleting), power), Then::SoftDelete, "{power:?}");
        }
        assert_eq!(then(V::Active, Some(T::UpdatingPassword), P::Running), Then::ClearTask);
    }

    #[test]
    fn beside_row_11_a_guest_that_ended_meanwhile_is_neither_frozen_nor_thawed() {
        for task in [T::Pausing, T::Unpausing, T::Suspending] {
            for power in [P::Shutdown, P::Crashed, P::NoState] {
                assert_eq!(then(V::Active, Some(task), power), Then::ClearTask, "{task:?} {power:?}");
            }
        }
    }

    #[test]
    fn rows_12_and_13_stop_and_start_are_done_again() {
        assert_eq!(then(V::Active, Some(T::PoweringOff), P::Running), Then::Stop);
        assert_eq!(then(V::Active, Some(T::PoweringOff), P::Shutdown), Then::Stop);
        assert_eq!(then(V::Stopped, Some(T::PoweringOn), P::Shutdown), Then::Start);
    }

    #[test]
    fn row_14_what_cannot_be_plugged_is_an_error_unless_something_else_is_to_be_done() {
        let decide = |now: Situation| without_network(&now, recover(&now, false)).then;
        assert_eq!(decide(now(V::Active, None, P::Running)), Then::Fail);
        assert_eq!(decide(now(V::Active, Some(T::Pausing), P::Running)), Then::Fail);
        assert_eq!(decide(now(V::Active, Some(T::Deleting), P::Running)), Then::Delete);
        assert_eq!(decide(now(V::Active, Some(T::PoweringOff), P::Running)), Then::Stop);
        for state in [V::Error, V::SoftDeleted] {
            assert_eq!(decide(now(state, None, P::Shutdown)), Then::Leave);
        }
        assert_eq!(decide(Situation { ours: false, ..now(V::Active, None, P::Running) }), Then::Leave);
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
        assert_eq!(recover(&down, true).then, Then::BootAgain);
        for (state, power) in [(V::Active, P::Paused), (V::Suspended, P::Suspended)] {
            assert_eq!(recover(&now(state, None, power), true).then, Then::Leave, "{state:?}");
        }
        let suspended =
            Situation { recorded_power: P::Suspended as i64, ..now(V::Suspended, None, P::Shutdown) };
        assert_eq!(recover(&suspended, true).then, Then::Leave);
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
}
