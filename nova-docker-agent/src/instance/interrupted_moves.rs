//! What the last run of the agent left of resizes and migrations: gone on with where that is possible, else undone. As
//! `interrupted.rs`, before `recovery.rs` looks at the instance.
//!
//! ```text
//! task, on the instance's host      who was killed    what becomes of it
//! resize_prep                       the source        the migration has failed
//! resize_migrating                  the source        the guest runs again, the migration has failed
//! resize_migrated, resize_finish    the destination   finished, from the disk that came
//! resize_reverting                  either            again
//! ```
//! Nova clears the task in the first two rows, and leaves migration and allocation; the others would wait for an operator.
//! Moves of instances that are other hosts' are in `left_moves.rs`.

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::messaging::RequestContext;
use common::objects::fields::{TaskState, VmState};
use common::objects::{Instance, Migration};
use serde_json::json;

use super::recovery::Situation;
use super::{moves, network};
use crate::agent::Agent;
use crate::compute::{Call, FinishResize, FinishRevertResize, RevertResize, carry_out};
use crate::conductor::Expect;
use crate::error::Error;
use crate::virt::PowerState;

/// What the steps of a move are carried out with.
pub(super) const ATTRIBUTES: [&str; 4] = ["flavor", "metadata", "system_metadata", "info_cache"];

/// What was under way, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterruptedMove {
    /// The disk was not passed on: the guest runs again.
    TakeBack,
    /// It has come here: started.
    Finish,
    /// It was on its way back: again.
    Revert,
}

/// Decides; None when no move was under way.
pub fn interrupted(now: &Situation) -> Option<InterruptedMove> {
    if !now.ours || matches!(now.vm_state, VmState::Deleted | VmState::SoftDeleted | VmState::Building) {
        return None;
    }
    match now.task? {
        TaskState::ResizePrep if now.vm_state != VmState::Error => Some(InterruptedMove::TakeBack),
        TaskState::ResizeMigrating => Some(InterruptedMove::TakeBack),
        TaskState::ResizeMigrated | TaskState::ResizeFinish if now.vm_state != VmState::Error => {
            Some(InterruptedMove::Finish)
        }
        TaskState::ResizeReverting if now.vm_state != VmState::Error => Some(InterruptedMove::Revert),
        _ => None,
    }
}

/// Puts right what was interrupted.
///
/// # Errors
/// The first step that fails.
pub async fn settle(call: &Call, instance: &mut Instance, what: InterruptedMove) -> Result<(), Error> {
    let (agent, context) = (&call.agent, &call.context);
    let Some(uuid) = instance.instance_uuid() else { return Ok(()) };
    *instance = agent.conductor.instance(context, uuid, &ATTRIBUTES).await?;
    let migration = newest(agent, context, uuid).await?;
    let whole = instance.clone();
    let carried_out = match (what, migration) {
        (InterruptedMove::TakeBack, migration) => {
            return take_back(agent, context, instance, migration).await;
        }
        (InterruptedMove::Finish, Some(migration)) => {
            carry_out(call, FinishResize { instance: whole, migration }).await
        }
        (InterruptedMove::Revert, Some(migration)) => {
            let here = migration.source_compute() == Some(agent.config.host.as_str());
            match migration.status() {
                Some("reverted") if here => {
                    carry_out(call, FinishRevertResize { instance: whole, migration }).await
                }
                _ => {
                    let request_spec = serde_json::Value::Null;
                    carry_out(call, RevertResize { instance: whole, migration, request_spec }).await
                }
            }
        }
        (_, None) => {
            instance.set_state(VmState::Error);
            instance.set_task(None);
            return Ok(agent.conductor.save(context, instance, Expect::ANY).await?);
        }
    };
    *instance = agent.conductor.instance(context, uuid, &ATTRIBUTES).await?;
    carried_out
}

/// The move that is under way.
async fn newest(
    agent: &Agent,
    context: &RequestContext,
    uuid: InstanceUuid,
) -> Result<Option<Migration>, Error> {
    let filters = json!({
        "instance_uuid": uuid, "host": agent.config.host,
        "status": ["pre-migrating", "migrating", "post-migrating", "reverting", "reverted", "finished"],
    });
    let found = agent.conductor.migrations(context, filters).await?;
    Ok(found.into_iter().max_by_key(Migration::id))
}

/// Nova: `finish_revert_migration` in `_init_instance`; and, beyond Nova, what a failure would have done.
async fn take_back(
    agent: &Agent,
    context: &RequestContext,
    instance: &mut Instance,
    migration: Option<Migration>,
) -> Result<(), Error> {
    let acting = agent.acting(instance).await?;
    let was = match instance.state() {
        VmState::Error => moves::was(instance),
        // Not touched until it is resized.
        state => state,
    };
    let runs = agent.driver.power_state(acting.uuid()).await?;
    if was != VmState::Stopped && runs != PowerState::Running {
        let cached = network::network_info(agent, context, instance).await?;
        moves::start_again(agent, &acting, context, (instance, &cached)).await?;
    }
    if let Some(migration) = migration {
        moves::fail(agent, context, &migration).await;
        moves::try_revert_allocation(agent, &migration).await;
        if let Some(host) = migration.dest_compute().filter(|_| !migration.stays())
            && let Err(error) = agent.conductor.discard_disk(context, host, instance).await
        {
            tracing::debug!(error = %Chain(&error), "the destination was not told; it finds out by itself");
        }
    }
    instance.set_task(None);
    agent.conductor.save(context, instance, Expect::ANY).await?;
    Ok(())
}

/// Takes away disks that are not on their way from here any more, and those that came for nothing: no container is made
/// of them, and the instance is neither this host's nor about to become so. `at_start`: no move is under way from here.
///
/// # Errors
/// When dockerd or the conductor cannot be asked.
pub async fn tidy(agent: &Agent, context: &RequestContext, at_start: bool) -> Result<(), Error> {
    let (moving, moved) = agent.driver.moves().await?;
    for uuid in moving.into_iter().filter(|_| at_start) {
        agent.driver.end_moving(uuid).await?;
    }
    for uuid in moved {
        if agent.driver.power_state(uuid).await? == PowerState::NoState
            && !is_coming(agent, context, uuid).await?
        {
            tracing::warn!(instance_uuid = %uuid, "takes away the disk of a move that has failed");
            agent.driver.discard_moved(uuid).await?;
        }
    }
    Ok(())
}

async fn is_coming(agent: &Agent, context: &RequestContext, uuid: InstanceUuid) -> Result<bool, Error> {
    let instance = match agent.conductor.instance(context, uuid, &[]).await {
        Err(error) if error.is_instance_not_found() => return Ok(false),
        other => other?,
    };
    let moves = matches!(instance.task(), Some(TaskState::ResizeMigrating | TaskState::ResizeMigrated));
    Ok(moves || instance.host() == Some(agent.config.host.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(vm_state: VmState, task: TaskState, ours: bool) -> Option<InterruptedMove> {
        interrupted(&Situation {
            ours,
            vm_state,
            task: Some(task),
            recorded_power: 1,
            power: PowerState::Shutdown,
        })
    }

    #[test]
    fn each_step_of_a_move_has_its_way_on() {
        use InterruptedMove as M;
        use TaskState as T;
        for vm_state in [VmState::Active, VmState::Stopped, VmState::Resized] {
            assert_eq!(of(vm_state, T::ResizeMigrating, true), Some(M::TakeBack));
            assert_eq!(of(vm_state, T::ResizeMigrated, true), Some(M::Finish));
            assert_eq!(of(vm_state, T::ResizeFinish, true), Some(M::Finish));
            assert_eq!(of(vm_state, T::ResizeReverting, true), Some(M::Revert));
            assert_eq!(of(vm_state, T::ResizePrep, true), Some(M::TakeBack));
            assert_eq!(of(vm_state, T::ResizeMigrating, false), None, "another host's");
        }
        assert_eq!(of(VmState::Error, T::ResizeMigrating, true), Some(M::TakeBack));
        assert_eq!(of(VmState::Error, T::ResizeFinish, true), None);
        assert_eq!(of(VmState::Deleted, T::ResizeMigrating, true), None);
    }
}
