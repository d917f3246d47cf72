//! The way out: container, network, allocations, record. Used by delete, by recovery at start and by clean-up tasks.

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::messaging::RequestContext;
use common::objects::fields::VmState;
use common::objects::{Instance, timestamp};

use super::locks::Acting;
use super::network;
use crate::agent::Agent;
use crate::conductor::Expect;
use crate::error::Error;
use crate::virt::PowerState;

/// Deletes an instance (Nova: `_delete_instance`): every step may be repeated after a crash.
///
/// # Errors
/// The first step that fails; the caller puts the instance into ERROR, and the user can delete again.
pub async fn delete(
    agent: &Agent,
    acting: &Acting,
    context: &RequestContext,
    instance: &mut Instance,
) -> Result<(), Error> {
    clear(agent, context, acting.uuid(), instance).await?;
    instance.set_state(VmState::Deleted);
    instance.set_task(None);
    instance.set_power_state(PowerState::NoState as i64);
    instance.set_terminated_at(timestamp().as_str());
    agent.conductor.save(context, instance, Expect::ANY).await?;
    complete(agent, context, instance).await
}

/// Takes away what is on this host and in Neutron. Ports are released even when the container stays, as in Nova.
///
/// # Errors
/// The first step that fails.
pub async fn clear(
    agent: &Agent,
    context: &RequestContext,
    uuid: InstanceUuid,
    instance: &Instance,
) -> Result<(), Error> {
    let (destroyed, cached) =
        tokio::join!(agent.driver.destroy(uuid), network::network_info(agent, context, instance));
    network::release(agent, context, uuid, (&cached?, [].into())).await?;
    Ok(destroyed?)
}

/// The part after the guest is gone (Nova: `_complete_deletion` and `Instance.destroy`).
///
/// # Errors
/// When allocations or row cannot be deleted.
pub async fn complete(agent: &Agent, context: &RequestContext, instance: &mut Instance) -> Result<(), Error> {
    let Some(uuid) = instance.instance_uuid() else { return Ok(()) };
    agent.tracker.release(uuid);
    let consumer = uuid.to_string();
    let (allocations, tokens) =
        tokio::join!(free(agent, &consumer), agent.conductor.clean_console_tokens(context, uuid),);
    allocations?;
    if let Err(error) = tokens {
        tracing::warn!(error = %Chain(&error), "console tokens could not be removed; they expire by themselves");
    }
    agent.conductor.destroy(context, instance).await?;
    if let Err(error) = agent.conductor.scheduler_lost(context, uuid).await {
        tracing::debug!(error = %Chain(&error), "the schedulers were not told");
    }
    Ok(())
}

/// As Nova: where deletes are queued, a claim that changes meanwhile is somebody else's and is not taken away.
async fn free(agent: &Agent, consumer: &str) -> Result<(), common::openstack::Error> {
    if agent.config.reclaim_instance_interval > 0 {
        agent.provider.delete_known_allocations(consumer).await
    } else {
        agent.provider.delete_allocations(consumer).await
    }
}
