//! Brings the recorded power state and the real one together (Nova: `_sync_instance_power_state`).

use common::ids::InstanceUuid;
use common::messaging::RequestContext;
use common::objects::Instance;
use common::objects::fields::TaskState;

use super::decide::{PowerAction, Situation, power_sync};
use crate::agent::Agent;
use crate::conductor::Expect;
use crate::error::Error;
use crate::virt::PowerState;

/// How an instance stands.
pub fn situation(agent: &Agent, instance: &Instance, power: PowerState) -> Situation {
    Situation {
        ours: instance.host() == Some(agent.config.host.as_str()),
        vm_state: instance.state(),
        task: instance.task(),
        recorded_power: instance.power_state().unwrap_or_default(),
        power,
    }
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
