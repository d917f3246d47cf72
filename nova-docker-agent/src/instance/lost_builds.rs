//! Builds that the last run lost. They are on no host, or on none any more, and found from what is claimed of this one, or from
//! a note.
//!
//! ```text
//! vm_state, task         found from          what becomes of it
//! building, none         its claim here      ERROR
//! building, scheduling   its claim here      built, if its request is in the queue still; else ERROR
//! building, scheduling   the note: it was    another host's, if the conductor has claimed one for it; else ERROR
//!                        to be given back
//! error, none            its claim here      the claim goes
//! ```
//! Nova has the first row, for the second, too; an instance of the others is stuck, or its claim is until it is deleted.

use std::sync::Arc;
use std::time::Duration;

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::messaging::RequestContext;
use common::objects::Instance;
use common::objects::fields::{TaskState, VmState};

use super::guards::{self, Subject};
use crate::agent::Agent;
use crate::conductor::Expect;
use crate::error::Error;

/// What the user reads.
const INTERRUPTED: &str = "The build was interrupted when its compute service ended.";

/// What becomes of an instance of which something is claimed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Its build was lost.
    Build,
    /// Its build was lost, or is in the queue still.
    Perhaps,
    /// Only its claim is left.
    Claim,
}

/// Decides; None when it is no build that was lost. `placed`: it has a host.
fn lost(vm_state: VmState, task: Option<TaskState>, placed: bool) -> Option<Lost> {
    match (vm_state, task) {
        (VmState::Building, None) => Some(Lost::Build),
        (VmState::Building, Some(TaskState::Scheduling)) if !placed => Some(Lost::Perhaps),
        (VmState::Error, None) if !placed => Some(Lost::Claim),
        _ => None,
    }
}

/// Decides for an instance that is not this host's.
pub fn of(instance: &Instance) -> Option<Lost> {
    lost(instance.state(), instance.task(), instance.host().is_some())
}

/// Notes that a build is given back to the conductor. One that is not noted is given back all the same.
pub fn begin_giving_back(agent: &Agent, uuid: InstanceUuid) {
    if let Err(error) = agent.giving_back.write(uuid, &()) {
        tracing::warn!(instance_uuid = %uuid, error = %Chain(&error), "that a build is given back is not noted");
    }
}

/// Looks after the builds that the last run was about to give back.
pub async fn settle_given_back(agent: &Agent, context: &RequestContext) {
    for uuid in agent.giving_back.all() {
        let done = given_back(agent, context, uuid).await;
        agent.giving_back.settled(uuid, done, "a build is given back by half");
    }
}

async fn given_back(agent: &Agent, context: &RequestContext, uuid: InstanceUuid) -> Result<(), Error> {
    let instance = match agent.conductor.instance(context, uuid, &[]).await {
        Err(error) if error.is_instance_not_found() => return Ok(()),
        other => other?,
    };
    if of(&instance) != Some(Lost::Perhaps) {
        return Ok(());
    }
    let consumer = uuid.to_string();
    agent.provider.leave(&consumer, &agent.tracker.node_uuid()).await?;
    if agent.provider.holds(&consumer).await? {
        return Ok(());
    }
    fail(agent, context, instance).await
}

/// Looks again after those of whose builds the requests may have been in the queue, when there was time to take them out of it.
pub fn watch(agent: &Arc<Agent>, waiting: Vec<InstanceUuid>) {
    if waiting.is_empty() {
        return;
    }
    let agent = Arc::clone(agent);
    let patience = Duration::from_secs(agent.config.rpc_response_timeout);
    agent.life.clone().spawn_service(async move {
        tokio::select! {
            () = agent.life.stopped() => return,
            () = tokio::time::sleep(patience) => {}
        }
        let context = RequestContext::admin();
        for uuid in waiting {
            if let Err(error) = fail_unless_begun(&agent, &context, uuid).await {
                tracing::error!(instance_uuid = %uuid, error = %Chain(&error), "a lost build could not be put into ERROR");
            }
        }
    });
}

async fn fail_unless_begun(agent: &Agent, context: &RequestContext, uuid: InstanceUuid) -> Result<(), Error> {
    // A build that waits for its turn acts on its instance already.
    if agent.locks.busy(uuid) {
        return Ok(());
    }
    let instance = match agent.conductor.instance(context, uuid, &[]).await {
        Err(error) if error.is_instance_not_found() => return Ok(()),
        other => other?,
    };
    let claims = agent.provider.allocations(&agent.tracker.node_uuid()).await?;
    if of(&instance) == Some(Lost::Perhaps) && claims.contains_key(&uuid.to_string()) {
        fail(agent, context, instance).await?;
    }
    Ok(())
}

/// Puts an instance whose build was lost into ERROR, as [`give_up`] does.
///
/// # Errors
/// What conductor or placement say.
pub async fn fail(agent: &Agent, context: &RequestContext, instance: Instance) -> Result<(), Error> {
    tracing::warn!(instance_uuid = instance.uuid(), "the build of the instance was interrupted");
    let Some(subject) = Subject::of(&instance) else { return Ok(()) };
    let fault = guards::fault_text(agent, context, subject.uuid(), (500, INTERRUPTED, INTERRUPTED));
    give_up(agent, context, &subject, fault).await
}

/// No host will build the instance: ERROR, then what records the `fault`, and nothing is claimed any more. One that somebody
/// has gone on with is left alone; of one that could not be saved the claim stays, by which the next start finds it.
///
/// # Errors
/// What conductor or placement say.
pub async fn give_up(
    agent: &Agent,
    context: &RequestContext,
    subject: &Subject,
    fault: impl Future<Output = ()>,
) -> Result<(), Error> {
    let mut instance = subject.bare();
    instance.set_state(VmState::Error);
    instance.set_task(None);
    let expect = Expect::one_of(&[Some(TaskState::Scheduling), None]).while_in(VmState::Building);
    match agent.conductor.save(context, &mut instance, expect).await {
        Err(error) if error.is_unexpected_task_state() || error.is_instance_not_found() => return Ok(()),
        other => other?,
    }
    fault.await;
    free(agent, subject.uuid()).await
}

/// Nothing of any host is claimed for the instance any more.
///
/// # Errors
/// What placement says.
pub async fn free(agent: &Agent, uuid: InstanceUuid) -> Result<(), Error> {
    Ok(agent.provider.delete_allocations(&uuid.to_string()).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use TaskState as T;
    use VmState as V;

    #[test]
    fn each_row_of_the_table_is_decided() {
        assert_eq!(lost(V::Building, None, false), Some(Lost::Build));
        assert_eq!(lost(V::Building, Some(T::Scheduling), false), Some(Lost::Perhaps));
        assert_eq!(lost(V::Error, None, false), Some(Lost::Claim));
        assert_eq!(lost(V::Building, Some(T::Spawning), true), None, "it is another host's");
        assert_eq!(lost(V::Building, Some(T::Scheduling), true), None);
        assert_eq!(lost(V::Error, None, true), None, "a hard reboot may help it there");
        assert_eq!(lost(V::Error, Some(T::Deleting), false), None);
        assert_eq!(lost(V::Active, None, true), None);
    }
}
