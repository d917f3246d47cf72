//! Moves that the last run left and that no instance of this host leads to: the instance is another host's. They are found
//! from their migrations, and from what is claimed of this host.
//!
//! ```text
//! migration          the instance, and its host      this host     what becomes of it
//! confirming         any                             source        confirmed
//! confirming         resized, here                   destination   the source is asked again to confirm
//! post-migrating     resize_migrated, destination    source        the destination is asked again to finish
//! an evacuation      active, here                    destination   it is recorded as done
//! (claimed here)     resize_prep, another            destination   undone: the source keeps the instance
//! (claimed here)     rebuilding, the lost one        destination   undone: ERROR, from where it is evacuated again
//! ```
//! Nova has none of these rows: all of that would wait for an operator.

use common::error_chain::Chain;
use common::messaging::RequestContext;
use common::objects::fields::{TaskState, VmState};
use common::objects::{Instance, Migration};
use serde_json::json;

use super::interrupted_moves::ATTRIBUTES;
use super::{evacuate, moves};
use crate::agent::Agent;
use crate::compute::{Call, ConfirmResize, carry_out};
use crate::conductor::{Expect, Handed};
use crate::error::Error;

/// Nova's type of a migration away from a host that is gone.
const EVACUATION: &str = "evacuation";

/// The task of an instance that is to be moved.
const PREPARING: [Option<TaskState>; 1] = [Some(TaskState::ResizePrep)];

/// The tasks of an instance that is evacuated.
const REBUILDING: [Option<TaskState>; 3] = [
    Some(TaskState::Rebuilding),
    Some(TaskState::RebuildBlockDeviceMapping),
    Some(TaskState::RebuildSpawning),
];

/// What becomes of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// The source goes on with the confirmation.
    Confirm,
    /// The destination confirms in its user's place, and perhaps did not say so.
    Ask,
    /// The source passed the instance on, and perhaps did not say so.
    Finish,
    /// The instance has come here.
    Done,
}

/// Decides; `at_source`, `at_destination`: what this host is in it. `instance`: its state, its task, and whether it is here.
fn left(
    (status, kind): (&str, &str),
    (at_source, at_destination): (bool, bool),
    (vm_state, task, here): (VmState, Option<TaskState>, bool),
) -> Option<Left> {
    match status {
        "confirming" if at_source => Some(Left::Confirm),
        "confirming" if at_destination && here && vm_state == VmState::Resized && task.is_none() => {
            Some(Left::Ask)
        }
        "post-migrating" if at_source && !here && task == Some(TaskState::ResizeMigrated) => {
            Some(Left::Finish)
        }
        "accepted" | "pre-migrating" if at_destination && kind == EVACUATION && here => {
            (vm_state == VmState::Active && task.is_none()).then_some(Left::Done)
        }
        _ => None,
    }
}

/// Goes on with the moves from here and to here. To be called at start, after the instances of this host are settled.
///
/// # Errors
/// When the conductor cannot be asked.
pub async fn settle(call: &Call) -> Result<(), Error> {
    let (agent, context) = (&call.agent, &call.context);
    let host = agent.config.host.as_str();
    let filters =
        json!({"host": host, "status": ["confirming", "post-migrating", "accepted", "pre-migrating"]});
    for migration in agent.conductor.migrations(context, filters).await? {
        let Some(uuid) = migration.instance_uuid().and_then(|uuid| uuid.parse().ok()) else { continue };
        let instance = match agent.conductor.instance(context, uuid, &ATTRIBUTES).await {
            Err(error) if error.is_instance_not_found() => continue,
            other => other?,
        };
        let ends = (migration.source_compute() == Some(host), migration.dest_compute() == Some(host));
        let now = (instance.state(), instance.task(), instance.host() == Some(host));
        let kind = (migration.status().unwrap_or_default(), migration.migration_type().unwrap_or_default());
        let Some(what) = left(kind, ends, now) else { continue };
        tracing::warn!(instance_uuid = %uuid, ?what, "a move was under way when the last run ended");
        if let Err(error) = go_on(call, instance, (migration, what)).await {
            tracing::error!(instance_uuid = %uuid, error = %Chain(&error), "the move could not be gone on with");
        }
    }
    Ok(())
}

async fn go_on(
    call: &Call,
    instance: Instance,
    (mut migration, what): (Migration, Left),
) -> Result<(), Error> {
    let (agent, context) = (&call.agent, &call.context);
    match what {
        Left::Confirm => carry_out(call, ConfirmResize { instance, migration }).await,
        Left::Ask => Ok(agent.conductor.confirm_resize(context, &instance, &migration).await?),
        Left::Finish => {
            let how = ("", Handed::default());
            Ok(agent.conductor.finish_resize(context, (&instance, &migration), how).await?)
        }
        Left::Done => {
            migration.set_status("done");
            Ok(agent.conductor.save_object(context, &mut migration).await?)
        }
    }
}

/// Whether an instance of another host, of which something is claimed here, was on its way here.
pub fn is_coming(instance: &Instance) -> bool {
    PREPARING.iter().chain(&REBUILDING).any(|task| *task == instance.task())
}

/// Undoes a move here that was asked of this host before this run began, and was not passed on: the request is lost, or is
/// not carried out any more ([`super::stale`]).
pub async fn withdraw(agent: &Agent, context: &RequestContext, mut instance: Instance) {
    let asked = instance.updated_at().and_then(|at| at.parse::<jiff::Timestamp>().ok());
    let Some(uuid) = instance.uuid().map(str::to_owned) else { return };
    if asked.is_none_or(|asked| asked >= agent.started) {
        return;
    }
    if let Err(error) = try_withdraw(agent, context, &mut instance).await {
        tracing::error!(instance_uuid = uuid, error = %Chain(&error), "its move to this host could not be undone");
    }
}

async fn try_withdraw(agent: &Agent, context: &RequestContext, instance: &mut Instance) -> Result<(), Error> {
    let (Some(uuid), task) = (instance.instance_uuid(), instance.task()) else { return Ok(()) };
    let filters = json!({"instance_uuid": uuid, "status": ["accepted", "pre-migrating"]});
    let found = agent.conductor.migrations(context, filters).await?;
    let Some(mut migration) = found.into_iter().max_by_key(Migration::id) else { return Ok(()) };
    let evacuation = migration.migration_type() == Some(EVACUATION);
    let others = migration.dest_compute().is_some_and(|host| host != agent.config.host);
    if others || evacuation != (task != Some(TaskState::ResizePrep)) {
        return Ok(());
    }
    tracing::warn!(instance_uuid = %uuid, ?task, "was on its way here when the last run ended");
    if evacuation {
        instance.set_state(VmState::Error);
    }
    instance.set_task(None);
    // Who has gone on with it meanwhile keeps it.
    let expect = Expect::one_of(if evacuation { &REBUILDING } else { &PREPARING });
    agent.conductor.save(context, instance, expect).await?;
    if !evacuation {
        moves::fail(agent, context, &migration).await;
        return moves::revert_allocation(agent, &migration).await;
    }
    migration.set_status("failed");
    agent.conductor.save_object(context, &mut migration).await?;
    evacuate::leave(agent, uuid).await;
    moves::remove(agent, uuid).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use TaskState as T;
    use VmState as V;

    const SOURCE: (bool, bool) = (true, false);
    const DESTINATION: (bool, bool) = (false, true);

    #[test]
    fn each_row_of_the_table_is_decided() {
        let resize = |status| (status, "resize");
        let gone = (V::Resized, None, false);
        assert_eq!(left(resize("confirming"), SOURCE, gone), Some(Left::Confirm));
        assert_eq!(left(resize("confirming"), DESTINATION, gone), None);
        let there = (V::Resized, None, true);
        assert_eq!(left(resize("confirming"), DESTINATION, there), Some(Left::Ask));
        assert_eq!(left(resize("confirming"), (true, true), there), Some(Left::Confirm));
        let deleted = (V::Resized, Some(T::Deleting), true);
        assert_eq!(left(resize("confirming"), DESTINATION, deleted), None);
        let passed = (V::Active, Some(T::ResizeMigrated), false);
        assert_eq!(left(resize("post-migrating"), SOURCE, passed), Some(Left::Finish));
        assert_eq!(
            left(resize("post-migrating"), (true, true), (V::Active, Some(T::ResizeMigrated), true)),
            None
        );
        let taken = (V::Active, Some(T::ResizeFinish), false);
        assert_eq!(left(resize("post-migrating"), SOURCE, taken), None);
        let came = (V::Active, None, true);
        assert_eq!(left(("pre-migrating", EVACUATION), DESTINATION, came), Some(Left::Done));
        assert_eq!(left(("pre-migrating", EVACUATION), SOURCE, came), None);
        assert_eq!(
            left(("pre-migrating", EVACUATION), DESTINATION, (V::Active, Some(T::Rebuilding), true)),
            None
        );
        assert_eq!(left(resize("pre-migrating"), DESTINATION, came), None);
    }
}
