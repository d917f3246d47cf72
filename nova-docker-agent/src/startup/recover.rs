//! Picking up what the last run left: the instances' networks, then each instance by the table in
//! `instance/recovery.rs`, then interrupted builds by what is claimed for them.

use std::sync::Arc;

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::messaging::RequestContext;
use common::objects::fields::{TaskState, VmState};
use common::objects::{Instance, Versioned};
use futures_util::{StreamExt, stream};
use serde_json::json;

use super::Error;
use crate::agent::Agent;
use crate::compute::{
    Call, PauseInstance, RebootInstance, RebootType, RestoreInstance, ResumeInstance, SoftDeleteInstance,
    StartInstance, StopInstance, SuspendInstance, UnpauseInstance, carry_out,
};
use crate::conductor::{self, Expect};
use crate::instance::lost_builds::Lost;
use crate::instance::recovery::{self, Repair, Then};
use crate::instance::spawn::{self, ATTRIBUTES};
use crate::instance::{
    attaching, changing, destroy, evacuate, guards, interrupted, interrupted_moves, left_moves, lost_builds,
    power, reconnect, refusing,
};
use crate::virt::PowerState;

/// How many instances are picked up at the same time.
const AT_ONCE: usize = 4;

/// Picks up the instances of this host.
///
/// Gives back the instances whose builds may be in the queue still, for [`lost_builds::watch`].
///
/// # Errors
/// When the conductor cannot list them; one instance's trouble is logged and stays its own.
pub async fn recover(agent: &Arc<Agent>) -> Result<Vec<InstanceUuid>, Error> {
    let context = RequestContext::admin();
    if let Err(error) = evacuate::destroy_evacuated(agent, &context).await {
        tracing::error!(error = %Chain(&error), "what is left here of evacuated instances stays");
    }
    let instances = agent.conductor.instances_of_host(&context, &ATTRIBUTES).await?;
    let powers: std::collections::HashMap<InstanceUuid, PowerState> =
        agent.driver.instances().await?.into_iter().collect();
    let count = instances.len();
    let known: Vec<InstanceUuid> = instances.iter().filter_map(Instance::instance_uuid).collect();
    tell_schedulers(agent, &context, &instances).await;
    let unpluggable = reconnect::all(agent, &instances, &powers).await;
    attaching::settle(agent, &context, &instances).await;
    changing::settle(agent, &context, &instances).await;
    stream::iter(instances)
        .for_each_concurrent(AT_ONCE, |instance| {
            let uuid = instance.instance_uuid();
            let power = uuid.and_then(|uuid| powers.get(&uuid)).copied().unwrap_or(PowerState::NoState);
            agent.tracker.note(&instance, power);
            recover_one(agent, instance, (power, uuid.is_none_or(|uuid| !unpluggable.contains(&uuid))))
        })
        .await;
    lost_builds::settle_given_back(agent, &context).await;
    let waiting = settle_claims(agent, &context, &known).await;
    refusing::settle(agent, &context).await;
    if let Err(error) = interrupted::tidy(agent).await {
        tracing::warn!(error = %Chain(&error), "images of interrupted snapshots may be left in Docker");
    }
    settle_moves(agent, &context).await;
    if count > 0 {
        tracing::info!(count, "picked up the instances of this host");
    }
    Ok(waiting)
}

/// The moves from here, and to here, that no instance of this host leads to.
async fn settle_moves(agent: &Arc<Agent>, context: &RequestContext) {
    let settled = left_moves::settle(&Call::own(agent)).await;
    let tidied = interrupted_moves::tidy(agent, context, true).await;
    for error in [settled.err(), tidied.err()].into_iter().flatten() {
        tracing::warn!(error = %Chain(&error), "something may be left of interrupted moves");
    }
}

/// Which instances are here: what the schedulers heard of this host may be old (Nova:
/// `_update_scheduler_instance_info` in `init_host`).
async fn tell_schedulers(agent: &Agent, context: &RequestContext, instances: &[Instance]) {
    if instances.is_empty() {
        return;
    }
    let all: Vec<&Instance> = instances.iter().collect();
    if let Err(error) = agent.conductor.scheduler_has(context, &all).await {
        tracing::debug!(error = %Chain(&error), "the schedulers were not told");
    }
}

/// `pluggable`: its ports are such that a host can plug them.
async fn recover_one(agent: &Arc<Agent>, mut instance: Instance, (power, pluggable): (PowerState, bool)) {
    let mut situation = power::situation(agent, &instance, power);
    if let Some(what) = interrupted::of(&situation, &instance) {
        let uuid = instance.uuid().map(str::to_owned);
        tracing::warn!(instance_uuid = uuid, ?what, "was interrupted when the last run ended");
        if let Err(error) = interrupted::settle(&Call::own(agent), &mut instance, what).await {
            return tracing::error!(instance_uuid = uuid, error = %Chain(&error), "the instance could not be put right");
        }
        let Some(uuid) = instance.instance_uuid() else { return };
        let power = agent.driver.power_state(uuid).await.unwrap_or(power);
        situation = power::situation(agent, &instance, power);
    }
    if let Some(what) = interrupted_moves::interrupted(&situation) {
        let uuid = instance.uuid().map(str::to_owned);
        tracing::warn!(instance_uuid = uuid, ?what, "was on its way when the last run ended");
        if let (Some(uuid), Some(task)) = (instance.instance_uuid(), situation.task) {
            agent.settled.note(uuid, task);
        }
        if let Err(error) = interrupted_moves::settle(&Call::own(agent), &mut instance, what).await {
            tracing::error!(instance_uuid = uuid, error = %Chain(&error), "the move could not be settled");
        }
        return;
    }
    let mut decision = recovery::recover(&situation, agent.config.resume_guests_state_on_host_boot);
    if !pluggable {
        decision = recovery::without_network(&situation, decision);
    }
    let quiet = decision.first.is_none() && decision.then == Then::Leave;
    if !quiet {
        tracing::warn!(
            instance_uuid = instance.uuid(),
            vm_state = instance.vm_state(),
            task_state = instance.task_state(),
            ?power,
            ?decision,
            "picking up where the last run ended"
        );
    }
    let uuid = instance.uuid().map(str::to_owned);
    if let Err(error) = repair(agent, &mut instance, decision.first).await {
        return tracing::error!(instance_uuid = uuid, error = %Chain(&error), "the instance could not be put right");
    }
    if let Err(error) = finish(agent, instance, decision.then).await {
        tracing::error!(instance_uuid = uuid, error = %Chain(&error), "the instance could not be picked up");
    }
}

async fn repair(
    agent: &Agent,
    instance: &mut Instance,
    repair: Option<Repair>,
) -> Result<(), conductor::Error> {
    match repair {
        None => return Ok(()),
        Some(Repair::ClearTask) => instance.set_task(None),
        Some(Repair::ClearTaskAndActivate) => {
            instance.set_task(None);
            instance.set_state(VmState::Active);
            instance.set_power_state(PowerState::Running as i64);
        }
    }
    agent.conductor.save(&RequestContext::admin(), instance, Expect::ANY).await
}

async fn finish(agent: &Arc<Agent>, mut instance: Instance, then: Then) -> Result<(), crate::error::Error> {
    let call = Call::own(agent);
    let context = &call.context;
    match then {
        Then::Leave => Ok(()),
        Then::CompleteDeletion => {
            let acting = agent.acting(&instance).await?;
            destroy::clear(agent, context, acting.uuid(), &instance).await?;
            destroy::complete(agent, context, &mut instance).await
        }
        Then::Delete => {
            let acting = agent.acting(&instance).await?;
            let deleted = destroy::delete(agent, &acting, context, &mut instance).await;
            if deleted.is_err() {
                instance.object_mut().clear_changes();
                instance.set_state(VmState::Error);
                agent.conductor.save(context, &mut instance, Expect::ANY).await?;
            }
            deleted
        }
        Then::Fail => {
            instance.set_state(VmState::Error);
            instance.set_task(None);
            Ok(agent.conductor.save(context, &mut instance, Expect::ANY).await?)
        }
        Then::ClearTask => {
            instance.set_task(None);
            Ok(agent.conductor.save(context, &mut instance, Expect::ANY).await?)
        }
        Then::Reboot { hard, mark } => {
            if mark {
                instance.set_task(Some(TaskState::RebootPendingHard));
                agent.conductor.save(context, &mut instance, Expect::ANY).await?;
            }
            let reboot_type = if hard { RebootType::Hard } else { RebootType::Soft };
            carry_out(&call, RebootInstance { instance, reboot_type }).await
        }
        Then::Pause => carry_out(&call, PauseInstance { instance }).await,
        Then::Unpause => carry_out(&call, UnpauseInstance { instance }).await,
        Then::Suspend => carry_out(&call, SuspendInstance { instance }).await,
        Then::Resume => carry_out(&call, ResumeInstance { instance }).await,
        Then::SoftDelete => carry_out(&call, SoftDeleteInstance { instance }).await,
        Then::Restore => carry_out(&call, RestoreInstance { instance }).await,
        Then::Stop => carry_out(&call, StopInstance { instance, clean_shutdown: true }).await,
        Then::Start => carry_out(&call, StartInstance { instance }).await,
        Then::BootAgain => boot_again(agent, context, &instance).await,
    }
}

/// Nova: `resume_state_on_host_boot`. A guest that does not come back is in ERROR, where a hard reboot may help.
async fn boot_again(
    agent: &Arc<Agent>,
    context: &RequestContext,
    instance: &Instance,
) -> Result<(), crate::error::Error> {
    let acting = agent.acting(instance).await?;
    if let Err(error) = spawn::start(agent, &acting, context, false).await {
        return Err(guards::error_out(agent, context, instance, spawn::with_advice(error)).await);
    }
    agent.tracker.set_power(acting.uuid(), PowerState::Running);
    Ok(())
}

/// Instances that are not this host's, but of which something is claimed here: builds that were lost (Nova:
/// `_error_out_instances_whose_build_was_interrupted`), and instances that were to be unshelved here, or to move here. Gives back
/// those whose builds may be in the queue still.
async fn settle_claims(agent: &Agent, context: &RequestContext, known: &[InstanceUuid]) -> Vec<InstanceUuid> {
    let claimed = match claimed(agent, context, known).await {
        Ok(claimed) => claimed,
        Err(error) => {
            tracing::warn!(error = %Chain(&error), "interrupted builds were not looked for");
            return Vec::new();
        }
    };
    let mut waiting = Vec::new();
    for instance in claimed {
        let Some(uuid) = instance.instance_uuid() else { continue };
        if instance.state() == VmState::ShelvedOffloaded {
            interrupted::forget_unshelving(agent, context, instance).await;
            continue;
        }
        if left_moves::is_coming(&instance) {
            left_moves::withdraw(agent, context, instance).await;
            continue;
        }
        let settled = match lost_builds::of(&instance) {
            None => continue,
            Some(Lost::Perhaps) => {
                waiting.push(uuid);
                continue;
            }
            Some(Lost::Build) => lost_builds::fail(agent, context, instance).await,
            Some(Lost::Claim) => lost_builds::free(agent, uuid).await,
        };
        if let Err(error) = settled {
            tracing::error!(instance_uuid = %uuid, error = %Chain(&error), "an interrupted build is not settled");
        }
    }
    waiting
}

async fn claimed(
    agent: &Agent,
    context: &RequestContext,
    known: &[InstanceUuid],
) -> Result<Vec<Instance>, crate::error::Error> {
    let allocations = match agent.provider.allocations(&agent.tracker.node_uuid()).await {
        // The provider is made by the first audit.
        Err(common::openstack::Error::Api(error)) if error.status == 404 => return Ok(Vec::new()),
        other => other?,
    };
    let unknown: Vec<InstanceUuid> = allocations
        .keys()
        .filter_map(|consumer| consumer.parse().ok())
        .filter(|uuid| !known.contains(uuid))
        .collect();
    if unknown.is_empty() {
        return Ok(Vec::new());
    }
    let filters = json!({"uuid": unknown, "deleted": false});
    Ok(agent.conductor.instances_by_filters(context, filters, &[]).await?)
}
