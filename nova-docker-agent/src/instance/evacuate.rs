//! An instance whose host is gone is made again on this one, from its image (Nova: `rebuild_instance` with `recreate`); and
//! what a host does that comes back and finds its instances elsewhere (Nova: `_destroy_evacuated_instances`).

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::messaging::RequestContext;
use common::objects::fields::{TaskState, VmState};
use common::objects::{Instance, Migration, timestamp};
use serde_json::{Value, json};

use super::locks::Acting;
use super::moves::{self, Failure};
use super::spec::{image_of_instance, instance_spec};
use super::{group, spawn};
use crate::agent::Agent;
use crate::conductor::Expect;
use crate::error::Error;
use crate::virt::PowerState;

/// What an evacuation has beside the instance.
pub struct Evacuation<'a> {
    /// Made by nova-api.
    pub migration: Option<Migration>,
    /// The request spec.
    pub request_spec: &'a Value,
    /// What the user says of the disks of the lost host, before microversion 2.14.
    pub on_shared_storage: Option<bool>,
}

/// Makes the instance on this host. It is this host's when this returns.
///
/// # Errors
/// What hinders it; recorded in migration, allocation and instance as Nova does.
pub async fn evacuate(
    agent: &Agent,
    acting: &Acting,
    context: &RequestContext,
    (instance, mut evacuation): (&mut Instance, Evacuation<'_>),
) -> Result<(), Error> {
    let before = instance.state();
    let made = async {
        if let Err(error) = prepare(agent, acting, context, (&mut *instance, &mut evacuation)).await {
            return Err(Failure::Rollback(error));
        }
        let made = make(agent, acting, context, instance).await;
        if made.is_err()
            && let Err(error) = moves::remove(agent, acting.uuid()).await
        {
            tracing::error!(error = %Chain(&error), "what a failed evacuation has made could not be removed");
        }
        Ok(made?)
    };
    let failure = match made.await {
        Ok(()) => {
            finish(agent, context, (&*instance, evacuation.migration)).await;
            return Ok(());
        }
        Err(failure) => failure,
    };
    if let Some(mut migration) = evacuation.migration {
        migration.set_status("failed");
        if let Err(error) = agent.conductor.save_object(context, &mut migration).await {
            tracing::warn!(error = %Chain(&error), "the migration could not be marked as failed");
        }
    }
    leave(agent, acting.uuid()).await;
    if failure.error().is_being_deleted() {
        tracing::info!(error = %Chain(failure.error()), "the instance was deleted during its evacuation");
        return Ok(());
    }
    Err(moves::error_out(agent, context, (instance, before), failure).await)
}

/// What comes before anything of the instance is changed.
async fn prepare(
    agent: &Agent,
    acting: &Acting,
    context: &RequestContext,
    (instance, evacuation): (&mut Instance, &mut Evacuation<'_>),
) -> Result<(), Error> {
    let alone = group::alone(agent, evacuation.request_spec).await;
    if let Some(migration) = &mut evacuation.migration {
        moves::claim(agent, context, instance, migration).await?;
    }
    group::validate(agent, context, (&*instance, evacuation.request_spec)).await?;
    drop(alone);
    if agent.driver.power_state(acting.uuid()).await? != PowerState::NoState {
        return Err(Error::Refused {
            class: "InstanceExists",
            code: 409,
            message: format!("Instance {} already exists.", instance.name()),
        });
    }
    if evacuation.on_shared_storage == Some(true) {
        return Err(Error::Refused {
            class: "InvalidSharedStorage",
            code: 400,
            message: format!(
                "{} is not on shared storage: Invalid state of instance files on shared storage",
                agent.config.host
            ),
        });
    }
    Ok(())
}

async fn make(
    agent: &Agent,
    acting: &Acting,
    context: &RequestContext,
    instance: &mut Instance,
) -> Result<(), Error> {
    instance.set_power_state(PowerState::NoState as i64);
    instance.set_task(Some(TaskState::Rebuilding));
    let expect = Expect::one_of(&[Some(TaskState::Rebuilding)]);
    agent.conductor.save(context, instance, expect).await?;
    let network_info = moves::bind(agent, context, instance).await?;
    let (request, properties) = image_of_instance(instance);
    let spec = instance_spec(instance, properties)?;
    instance.set_task(Some(TaskState::RebuildSpawning));
    agent.conductor.save(context, instance, expect).await?;
    spawn::spawn_again(agent, acting, context, (spec, &request, &network_info)).await?;
    // Nova says whose it is by a save of its own, after this.
    instance.set_host(agent.config.host.as_str());
    instance.set_node(agent.tracker.node_name().as_str());
    instance.set_compute_id(agent.tracker.node_id());
    instance.set_migration_context(Value::Null);
    instance.set_state(VmState::Active);
    instance.set_task(None);
    instance.set_power_state(PowerState::Running as i64);
    instance.set_launched_at(timestamp().as_str());
    let expect = Expect::one_of(&[Some(TaskState::RebuildSpawning)]);
    Ok(agent.conductor.save(context, instance, expect).await?)
}

async fn finish(
    agent: &Agent,
    context: &RequestContext,
    (instance, migration): (&Instance, Option<Migration>),
) {
    agent.tracker.note(instance, PowerState::Running);
    if let Some(mut migration) = migration {
        // The old host takes this as the sign that the instance is not its own any more.
        migration.set_status("done");
        if let Err(error) = agent.conductor.save_object(context, &mut migration).await {
            tracing::error!(error = %Chain(&error), "the evacuation could not be recorded as done");
        }
    }
    if let Err(error) = agent.conductor.scheduler_has(context, &[instance]).await {
        tracing::debug!(error = %Chain(&error), "the schedulers were not told");
    }
}

/// Gives this host's share of the instance's allocation back.
pub(super) async fn leave(agent: &Agent, uuid: InstanceUuid) {
    let node = agent.tracker.node_uuid();
    if let Err(error) = agent.provider.leave(&uuid.to_string(), &node).await {
        tracing::error!(error = %Chain(&error), "this host's part of the instance's allocation was not deleted");
    }
}

/// Removes what is left here of instances that were evacuated while this host was away. To be called at start, before
/// anything is done with instances.
///
/// # Errors
/// When the conductor cannot be asked; the first instance of which something stays.
pub async fn destroy_evacuated(agent: &Agent, context: &RequestContext) -> Result<(), Error> {
    let filters = json!({
        "source_compute": agent.config.host, "status": ["accepted", "pre-migrating", "done"],
        "migration_type": "evacuation",
    });
    let mut result = Ok(());
    for migration in agent.conductor.migrations(context, filters).await? {
        let Some(uuid) = migration.instance_uuid().and_then(|uuid| uuid.parse().ok()) else { continue };
        if let Err(error) = destroy_one(agent, context, (uuid, migration)).await {
            tracing::error!(instance_uuid = %uuid, error = %Chain(&error), "what is left here of an evacuated instance stays");
            result = result.and(Err(error));
        }
    }
    result
}

async fn destroy_one(
    agent: &Agent,
    context: &RequestContext,
    (uuid, mut migration): (InstanceUuid, Migration),
) -> Result<(), Error> {
    // Not finished, or it has come back: then it is this host's.
    match agent.conductor.instance(context, uuid, &[]).await {
        Ok(instance) if instance.host() == Some(agent.config.host.as_str()) => return Ok(()),
        Err(error) if !error.is_instance_not_found() => return Err(error.into()),
        Ok(_) => leave(agent, uuid).await,
        Err(_) => {}
    }
    tracing::warn!(instance_uuid = %uuid, "was evacuated while this host was away; its container here is removed");
    moves::remove(agent, uuid).await?;
    migration.set_status("completed");
    Ok(agent.conductor.save_object(context, &mut migration).await?)
}
