//! Moves to this host that it refuses, noted from before their allocation is given back until the instance has no task any more,
//! or another host the move. The instance is another host's, and nothing else here tells of it then.
//!
//! Nova leaves the task to the source's next start, and the migration `pre-migrating`, in which the next move of the instance
//! would take it up.

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::messaging::RequestContext;
use common::objects::Migration;
use common::objects::fields::TaskState;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{guards, moves};
use crate::agent::Agent;
use crate::conductor::Expect;
use crate::error::Error;

/// A move that is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Its migration.
    migration: i64,
    /// Why, for the user.
    reason: String,
}

/// The task of an instance whose move is asked of its destination.
const PREPARING: [Option<TaskState>; 1] = [Some(TaskState::ResizePrep)];

/// Notes that this host refuses a move of the instance. A move that is not noted is refused all the same.
pub fn begin(agent: &Agent, uuid: InstanceUuid, migration: &Migration, why: &Error) {
    let Some(migration) = migration.id() else { return };
    if let Err(error) = agent.refusing.write(uuid, &Refusal { migration, reason: why.sentence() }) {
        tracing::warn!(instance_uuid = %uuid, error = %Chain(&error), "the refusal of a move is not noted");
    }
}

/// What is left to do of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// The task ends, and the migration has failed.
    Both,
    /// The migration has failed.
    Migration,
}

/// Decides; None when it is complete, or the conductor has given the move to another host. `holds`: the migration holds an
/// allocation, as it does while a host is asked. `elsewhere`: another host claims to be its destination.
fn left(task: Option<TaskState>, status: &str, (holds, elsewhere): (bool, bool)) -> Option<Left> {
    match (task, status) {
        _ if holds || elsewhere => None,
        (Some(TaskState::ResizePrep), "pre-migrating" | "error") => Some(Left::Both),
        (None, "pre-migrating") => Some(Left::Migration),
        _ => None,
    }
}

/// Completes what the last run had begun to refuse. To be called at start, after what is claimed of this host was looked at
/// ([`super::left_moves::withdraw`]).
pub async fn settle(agent: &Agent, context: &RequestContext) {
    for uuid in agent.refusing.all() {
        let done = finish(agent, context, uuid).await;
        agent.refusing.settled(uuid, done, "a move is refused by half");
    }
}

async fn finish(agent: &Agent, context: &RequestContext, uuid: InstanceUuid) -> Result<(), Error> {
    let Some(refusal) = agent.refusing.read(uuid) else { return Ok(()) };
    let mut instance = match agent.conductor.instance(context, uuid, &[]).await {
        Err(error) if error.is_instance_not_found() => return Ok(()),
        other => other?,
    };
    let all = agent.conductor.migrations(context, json!({"instance_uuid": uuid})).await?;
    let newest = all.into_iter().max_by_key(Migration::id);
    let Some(migration) = newest.filter(|newest| newest.id() == Some(refusal.migration)) else {
        return Ok(());
    };
    let elsewhere = migration.dest_compute().is_some_and(|host| host != agent.config.host);
    let holds = agent.provider.holds(migration.uuid().unwrap_or_default()).await?;
    let status = migration.status().unwrap_or_default();
    let Some(what) = left(instance.task(), status, (holds, elsewhere)) else { return Ok(()) };
    tracing::warn!(instance_uuid = %uuid, ?what, "completes the refusal of a move that the last run had begun");
    if what == Left::Both {
        instance.set_task(None);
        // Who has gone on with it meanwhile keeps it.
        match agent.conductor.save(context, &mut instance, Expect::one_of(&PREPARING)).await {
            Err(error) if error.is_unexpected_task_state() => return Ok(()),
            other => other?,
        }
        guards::fault_text(agent, context, uuid, (500, &refusal.reason, &refusal.reason)).await;
    }
    moves::fail(agent, context, &migration).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use TaskState as T;

    const FREE: (bool, bool) = (false, false);

    #[test]
    fn a_refusal_is_completed_unless_another_host_has_the_move() {
        assert_eq!(left(Some(T::ResizePrep), "pre-migrating", FREE), Some(Left::Both));
        assert_eq!(left(Some(T::ResizePrep), "error", FREE), Some(Left::Both));
        assert_eq!(left(None, "pre-migrating", FREE), Some(Left::Migration));
        assert_eq!(left(None, "error", FREE), None, "it is complete");
        assert_eq!(left(Some(T::Deleting), "pre-migrating", FREE), None);
        for others in [(true, false), (false, true), (true, true)] {
            assert_eq!(left(Some(T::ResizePrep), "pre-migrating", others), None, "{others:?}");
        }
    }
}
