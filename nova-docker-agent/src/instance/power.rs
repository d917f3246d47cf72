//! Power states: turning off, recording, and bringing the record and the truth together (Nova:
//! `_sync_instance_power_state`).

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::messaging::RequestContext;
use common::objects::Instance;
use common::objects::fields::{TaskState, VmState};

use super::decide::{PowerAction, power_sync};
use super::locks::Acting;
use super::recovery::Situation;
use crate::agent::Agent;
use crate::conductor::Expect;
use crate::error::Error;
use crate::virt::{self, PowerState};

/// How an instance stands.
pub fn situation(agent: &Agent, instance: &Instance, power: PowerState) -> Situation {
    Situation {
        ours: instance.host() == Some(agent.config.host.as_str()),
        vm_state: instance.state(),
        task: instance.task(),
        recorded_power: instance.power_state().unwrap_or_default(),
        power: power.seen_in(instance.state()),
    }
}

/// Turns an instance off: its container ends, of itself within `seconds` or killed, and its addresses answer no more.
///
/// # Errors
/// When dockerd cannot stop it. A container that is gone does not run, and that its NICs stay is only logged.
pub async fn turn_off(agent: &Agent, acting: &Acting, seconds: u64) -> Result<(), Error> {
    let uuid = acting.uuid();
    match agent.driver.power_off(uuid, seconds).await {
        Err(virt::Error::NotFound { .. }) => {
            tracing::warn!("the container of a stopped instance is missing");
        }
        other => other?,
    }
    if let Err(error) = agent.nics.rest(uuid).await {
        tracing::warn!(error = %Chain(&error), "the addresses of a stopped instance may still answer");
    }
    Ok(())
}

/// Freezes an instance: its container stands still, and its addresses answer no more.
///
/// # Errors
/// When dockerd cannot freeze it. That its NICs speak on is only logged.
pub async fn freeze(agent: &Agent, acting: &Acting) -> Result<(), Error> {
    agent.driver.freeze(acting.uuid()).await?;
    if let Err(error) = agent.nics.silence(acting.uuid(), true).await {
        tracing::warn!(error = %Chain(&error), "the addresses of a frozen instance may still answer");
    }
    Ok(())
}

/// Lets a frozen instance go on.
///
/// # Errors
/// When its NICs stay silent, or dockerd does not let it go on: it is frozen still.
pub async fn thaw(agent: &Agent, acting: &Acting) -> Result<(), Error> {
    agent.nics.silence(acting.uuid(), false).await?;
    Ok(agent.driver.thaw(acting.uuid()).await?)
}

/// Records the end of an operation: what the instance is now, what Docker says of it, and that nothing is being done.
///
/// # Errors
/// When Docker or the conductor cannot be asked, or the record is not as `expect` says.
pub async fn settle(
    agent: &Agent,
    context: &RequestContext,
    instance: &mut Instance,
    (vm_state, expect): (VmState, Expect),
) -> Result<(), Error> {
    let Some(uuid) = instance.instance_uuid() else { return Ok(()) };
    let power = agent.driver.power_state(uuid).await?.seen_in(vm_state);
    instance.set_power_state(power as i64);
    instance.set_state(vm_state);
    instance.set_task(None);
    agent.conductor.save(context, instance, expect).await?;
    agent.tracker.note(instance, power);
    Ok(())
}

/// Compares one instance and puts it right; an instance that somebody acts on is left for later.
///
/// # Errors
/// When the conductor or the hypervisor cannot be asked.
pub async fn sync(agent: &Agent, uuid: InstanceUuid) -> Result<(), Error> {
    if agent.locks.busy(uuid) {
        return Ok(());
    }
    let _acting = agent.locks.act(uuid).await;
    let context = RequestContext::admin();
    let power = agent.driver.power_state(uuid).await?;
    let mut instance = match agent.conductor.instance(&context, uuid, &["flavor", "system_metadata"]).await {
        // Not in Nova any more: running_deleted looks after its container.
        Err(error) if error.is_instance_not_found() => return Ok(()),
        other => other?,
    };
    let power = power.seen_in(instance.state());
    agent.tracker.set_power(uuid, power);
    let decision = power_sync(&situation(agent, &instance, power));
    if decision.save {
        tracing::info!(instance_uuid = %uuid, ?power, "the power state changed without Nova; recorded");
        instance.set_power_state(power as i64);
        agent.conductor.save(&context, &mut instance, Expect::ANY).await?;
    }
    match decision.then {
        PowerAction::Leave => Ok(()),
        PowerAction::Warn(what) => {
            tracing::warn!(instance_uuid = %uuid, "{what}");
            Ok(())
        }
        PowerAction::Stop => stop_for_the_api(agent, &context, uuid, instance).await,
    }
}

/// What nova-api does when a user stops a server: action, task state, cast (SEMANTICS §10).
async fn stop_for_the_api(
    agent: &Agent,
    context: &RequestContext,
    uuid: InstanceUuid,
    mut instance: Instance,
) -> Result<(), Error> {
    tracing::warn!(instance_uuid = %uuid, "the guest ended by itself or runs against its state; stopping the instance");
    agent.conductor.action_start(context, uuid, "stop").await?;
    instance.set_task(Some(TaskState::PoweringOff));
    instance.set_progress(0);
    match agent.conductor.save(context, &mut instance, Expect::one_of(&[None])).await {
        // Somebody began something else: the next comparison sees to it.
        Err(error) if error.is_unexpected_task_state() => return Ok(()),
        other => other?,
    }
    Ok(agent.conductor.stop_own_instance(context, &instance).await?)
}
