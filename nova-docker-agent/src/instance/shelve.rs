//! A shelved instance leaves its host: what it has is an image in glance and its ports (Nova: `_shelve_offload_instance`).

use common::error_chain::Chain;
use common::messaging::RequestContext;
use common::objects::Instance;
use common::objects::fields::{TaskState, VmState};

use super::locks::Acting;
use super::network;
use super::power;
use super::snapshot;
use super::spec::stop_seconds;
use crate::agent::Agent;
use crate::conductor::Expect;
use crate::error::Error;
use crate::virt::PowerState;

/// Keys in `system_metadata` of a shelved instance.
pub const SHELVED_AT: &str = "shelved_at";
/// The image in glance.
pub const SHELVED_IMAGE_ID: &str = "shelved_image_id";
/// Where it was.
pub const SHELVED_HOST: &str = "shelved_host";

/// Takes away what the instance has on this host, and its allocation; the ports stay its own, bound nowhere. Every step
/// may be repeated.
///
/// # Errors
/// The first step that fails.
pub async fn offload(
    agent: &Agent,
    acting: &Acting,
    context: &RequestContext,
    (instance, clean): (&mut Instance, bool),
) -> Result<(), Error> {
    let uuid = acting.uuid();
    let seconds = stop_seconds(instance, clean, agent.config.shutdown_timeout);
    power::turn_off(agent, acting, seconds).await?;
    network::unbind(agent, uuid).await?;
    agent.driver.destroy(uuid).await?;
    // Before anybody can see that it is offloaded and have it scheduled again.
    agent.provider.delete_allocations(&uuid.to_string()).await?;
    instance.set_power_state(PowerState::Shutdown as i64);
    instance.set_state(VmState::ShelvedOffloaded);
    instance.set_task(None);
    let expect = Expect::one_of(&[Some(TaskState::Shelving), Some(TaskState::ShelvingOffloading)]);
    agent.conductor.save(context, instance, expect).await?;
    leave_host(agent, context, instance).await
}

/// The instance belongs to no host any more.
///
/// # Errors
/// What the conductor says.
pub async fn leave_host(
    agent: &Agent,
    context: &RequestContext,
    instance: &mut Instance,
) -> Result<(), Error> {
    let Some(uuid) = instance.instance_uuid() else { return Ok(()) };
    agent.tracker.release(uuid);
    instance.set_host(None);
    instance.set_node(None);
    instance.set_compute_id(None);
    instance.set_launched_on(None);
    instance.set_availability_zone(None);
    agent.conductor.save(context, instance, Expect::ANY).await?;
    if let Err(error) = agent.conductor.scheduler_lost(context, uuid).await {
        tracing::debug!(error = %Chain(&error), "the schedulers were not told");
    }
    Ok(())
}

/// Forgets that the instance was shelved, in the object that the caller saves, and deletes the image it was kept in.
pub async fn forget(agent: &Agent, context: &RequestContext, instance: &mut Instance) {
    let mut metadata = instance.system_metadata();
    let shelved = [SHELVED_AT, SHELVED_IMAGE_ID, SHELVED_HOST].map(|key| metadata.remove(key));
    if let Some(image) = &shelved[1] {
        snapshot::remove(agent, context, image).await;
    }
    if shelved.iter().any(Option::is_some) {
        instance.set_system_metadata(metadata);
    }
}
