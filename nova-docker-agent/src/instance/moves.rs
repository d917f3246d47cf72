//! What the steps of a resize or a cold migration have in common (SEMANTICS: Nova's `_resize_instance` and its kin).
//!
//! ```text
//! destination          source                          destination         source
//! prep_resize ──► resize_instance ─ ownership passes ─► finish_resize ──► confirm_resize
//!                  stop, commit, transfer               make, start        remove the copy
//!                                                       revert_resize ──► finish_revert_resize: start the copy
//! ```

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::messaging::RequestContext;
use common::objects::fields::VmState;
use common::objects::{Flavor, Instance, Migration};
use serde_json::{Value, json};

use super::guards::{self, Subject};
use super::locks::Acting;
use super::spec::{image_of_instance, instance_spec};
use super::{network, power, spawn};
use crate::agent::Agent;
use crate::conductor::Expect;
use crate::error::Error;
use crate::image::ImageHandle;
use crate::network::model::{self, NetworkInfo};
use crate::virt::{self, InstanceSpec};

/// Where a resize keeps what the instance was (`Instance.system_metadata`).
pub const OLD_VM_STATE: &str = "old_vm_state";

/// How a step failed.
#[derive(Debug)]
pub enum Failure {
    /// The instance is as it was before (Nova: InstanceFaultRollback).
    Rollback(Error),
    /// Nobody knows.
    Broken(Error),
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Broken(error.into())
    }
}

impl Failure {
    /// Why, alone.
    pub fn into_error(self) -> Error {
        match self {
            Self::Rollback(error) | Self::Broken(error) => error,
        }
    }

    /// Why.
    pub fn error(&self) -> &Error {
        match self {
            Self::Rollback(error) | Self::Broken(error) => error,
        }
    }
}

/// Records a failed step (Nova: `_error_out_instance_on_exception`): back to what the instance was, or ERROR.
pub async fn error_out(
    agent: &Agent,
    context: &RequestContext,
    (instance, before): (&Instance, VmState),
    failure: Failure,
) -> Error {
    let error = match failure {
        Failure::Broken(error) if !matches!(error, Error::NotImplemented(_)) => {
            return guards::error_out(agent, context, instance, error).await;
        }
        Failure::Broken(error) | Failure::Rollback(error) => error,
    };
    if let Some(subject) = Subject::of(instance) {
        let mut record = subject.bare();
        record.set_state(before);
        record.set_task(None);
        if let Err(error) = agent.conductor.save(context, &mut record, Expect::ANY).await {
            tracing::warn!(error = %Chain(&error), "the instance's state could not be put back");
        }
        agent.tracker.refresh_state(&record);
    }
    error
}

/// Marks a migration as failed (Nova: `errors_out_migration`).
pub async fn fail(agent: &Agent, context: &RequestContext, migration: &Migration) {
    let mut migration = migration.clone();
    migration.set_status("error");
    if let Err(error) = agent.conductor.save_object(context, &mut migration).await {
        tracing::warn!(error = %Chain(&error), "the migration could not be marked as failed");
    }
}

/// Gives an instance back what the migration holds for it (Nova: `_revert_allocation`).
///
/// # Errors
/// When placement does not do it.
pub async fn revert_allocation(agent: &Agent, migration: &Migration) -> Result<(), Error> {
    let (Some(from), Some(to)) = (migration.uuid(), migration.instance_uuid()) else { return Ok(()) };
    Ok(agent.provider.revert_allocations(from, to).await?)
}

/// As [`revert_allocation`], after another failure.
pub async fn try_revert_allocation(agent: &Agent, migration: &Migration) {
    if let Err(error) = revert_allocation(agent, migration).await {
        tracing::error!(error = %Chain(&error), "the allocation that the migration holds was not given back");
    }
}

/// Frees what the migration holds (Nova: `_delete_allocation_after_move`).
///
/// # Errors
/// When placement does not do it.
pub async fn delete_allocation(agent: &Agent, migration: &Migration) -> Result<(), Error> {
    let Some(consumer) = migration.uuid() else { return Ok(()) };
    Ok(agent.provider.delete_allocations(consumer).await?)
}

/// Claims this host for an instance that is to come (Nova: `ResourceTracker._move_claim`): the migration gets its
/// destination, the instance the context of the move.
///
/// # Errors
/// [`Error::Refused`] when no host of this size can hold it; what the conductor says.
pub async fn claim(
    agent: &Agent,
    context: &RequestContext,
    instance: &mut Instance,
    migration: &mut Migration,
) -> Result<(), Error> {
    let mut wanted = instance.clone();
    if let Some(flavor) = instance.new_flavor() {
        wanted.adopt_flavor(&flavor);
    }
    agent.tracker.test(&wanted)?;
    migration.set_dest_compute(agent.config.host.as_str());
    migration.set_dest_node(agent.tracker.node_name().as_str());
    migration.set_dest_compute_id(agent.tracker.node_id());
    migration.set_dest_host(agent.config.my_ip.as_str());
    migration.set_status("pre-migrating");
    agent.conductor.save_object(context, migration).await?;
    instance.set_migration_context(migration_context(instance, migration));
    agent.conductor.save(context, instance, Expect::ANY).await?;
    Ok(())
}

/// `nova.objects.MigrationContext`. Containers have neither NUMA cells nor PCI devices: what was stays.
fn migration_context(instance: &Instance, migration: &Migration) -> Value {
    let object = |name: &str, version: &str, data: Value| {
        let changes: Vec<String> =
            data.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
        json!({
            "nova_object.name": name, "nova_object.namespace": "nova", "nova_object.version": version,
            "nova_object.data": data, "nova_object.changes": changes,
        })
    };
    let uuid = instance.uuid();
    let devices = object("PciDeviceList", "1.3", json!({"objects": []}));
    let requests = object("InstancePCIRequests", "1.1", json!({"instance_uuid": uuid, "requests": []}));
    let context = json!({
        "instance_uuid": uuid, "migration_id": migration.id(),
        "new_numa_topology": null, "old_numa_topology": null,
        "new_pci_devices": devices, "old_pci_devices": devices,
        "new_pci_requests": requests, "old_pci_requests": requests,
        "new_resources": null, "old_resources": null,
    });
    object("MigrationContext", "1.2", context)
}

/// What the instance was before the resize; running if nobody has noted it.
pub fn was(instance: &Instance) -> VmState {
    instance.system_metadata().get(OLD_VM_STATE).map_or(VmState::Active, |word| VmState::read(word))
}

/// Forgets what a resize has kept (Nova: `_delete_stashed_flavor_info`).
pub async fn forget_stash(agent: &Agent, context: &RequestContext, instance: &mut Instance) {
    let flavor = instance.flavor();
    instance.set_flavors(flavor.as_ref(), None, None);
    let mut metadata = instance.system_metadata();
    // Without the rest of it nothing may be saved: metadata are replaced as a whole.
    if metadata.remove(OLD_VM_STATE).is_some() {
        instance.set_system_metadata(metadata);
    }
    match agent.conductor.save(context, instance, Expect::ANY).await {
        Err(error) if !error.is_instance_not_found() => {
            tracing::warn!(error = %Chain(&error), "what the resize has kept could not be forgotten");
        }
        _ => {}
    }
}

/// Binds the instance's ports to this host, and notes them as they are then (Nova: `migrate_instance_finish` and
/// `get_instance_nw_info`).
///
/// # Errors
/// What Neutron or the conductor say.
pub async fn bind(
    agent: &Agent,
    context: &RequestContext,
    instance: &Instance,
) -> Result<NetworkInfo, Error> {
    let Some(uuid) = instance.instance_uuid() else { return Ok(NetworkInfo::new()) };
    let _alone = agent.caches.act(uuid).await;
    let cached = network::cached(agent, context, uuid).await?;
    if cached.is_empty() {
        return Ok(cached);
    }
    let owner = network::owner(context, instance, uuid);
    let mut ports = agent.ports.of_instance(uuid).await?;
    agent.ports.bind_here(&owner, &mut ports).await?;
    let preserved = cached.iter().filter(|vif| vif.preserve_on_delete).map(|vif| vif.id.to_string());
    let fresh = agent.ports.describe(&ports.iter().collect::<Vec<_>>(), &preserved.collect()).await?;
    let merged = network::merged(&cached, fresh);
    agent.conductor.save_info_cache(context, uuid, &model::write(&merged)).await?;
    Ok(merged)
}

/// Makes the container of an instance that has come here, from the disk it came with, and starts it if it ran.
///
/// # Errors
/// What hypervisor, kernel and switch say, and what [`network::wait_plugged`] says.
pub async fn land(
    agent: &Agent,
    acting: &Acting,
    (instance, disk): (&Instance, &ImageHandle),
    (network_info, power_on): (&NetworkInfo, bool),
) -> Result<(), Error> {
    let (_, properties) = image_of_instance(instance);
    let sandboxed = !network_info.is_empty();
    let spec = InstanceSpec { sandboxed, ..instance_spec(instance, properties)? };
    let mut watch = agent.events.watch(acting.uuid());
    agent.driver.make(&spec, disk).await?;
    agent.driver.fill_ephemeral(acting.uuid()).await?;
    if sandboxed {
        agent.nics.prepare(&spec, network_info, true).await?;
        let waiting: Vec<_> = network_info.iter().filter(|vif| !vif.active).map(|vif| vif.id).collect();
        network::wait_plugged(agent, acting, (&mut watch, &waiting)).await?;
    }
    if !power_on {
        return power::turn_off(agent, acting, 0).await;
    }
    agent.driver.start_new(&spec).await?;
    if !sandboxed {
        agent.nics.remember(&spec, network_info);
        agent.nics.started(spec.uuid).await;
    }
    Ok(())
}

/// Refuses a resize on this host to a flavor whose disks the container cannot get without being made again; another host makes
/// it again.
///
/// # Errors
/// Nova's `UnableToMigrateToSelf`.
pub async fn stays_possible(agent: &Agent, instance: &Instance, flavor: &Flavor) -> Result<(), Error> {
    let mut wanted = instance.clone();
    wanted.adopt_flavor(flavor);
    let (old, new) = (instance_spec(instance, [].into())?, instance_spec(&wanted, [].into())?);
    match virt::in_place(&old, &new, agent.driver.limits_disks().await?) {
        None => Ok(()),
        Some(what) => Err(Error::Refused {
            class: "UnableToMigrateToSelf",
            code: 400,
            message: format!(
                "Unable to migrate instance ({}) to current host ({}): {what} cannot be changed there.",
                instance.uuid().unwrap_or_default(),
                agent.config.host
            ),
        }),
    }
}

/// Gives the container of an instance that stays here the limits of its flavor.
///
/// # Errors
/// What the hypervisor says.
pub async fn set_limits(agent: &Agent, instance: &Instance) -> Result<(), Error> {
    let (_, properties) = image_of_instance(instance);
    Ok(agent.driver.set_limits(&instance_spec(instance, properties)?).await?)
}

/// Takes an instance that is stopped off this host's network: another host may answer for its addresses.
///
/// # Errors
/// What kernel or switch say.
pub async fn unplug(agent: &Agent, uuid: InstanceUuid) -> Result<(), Error> {
    for port in agent.nics.plugged_of(uuid).await? {
        agent.nics.detach(uuid, port).await?;
    }
    Ok(())
}

/// Starts the copy of an instance that this host has kept.
///
/// # Errors
/// As [`spawn::start`].
pub async fn start_again(
    agent: &Agent,
    acting: &Acting,
    context: &RequestContext,
    (instance, network_info): (&Instance, &NetworkInfo),
) -> Result<(), Error> {
    let uuid = acting.uuid();
    if !agent.nics.sandboxed().await?.contains(&uuid) {
        let (_, properties) = image_of_instance(instance);
        agent.nics.remember(&instance_spec(instance, properties)?, network_info);
    }
    spawn::start(agent, acting, context, true).await
}

/// Removes all of an instance from this host that lives on another one now. What is not there is fine.
///
/// # Errors
/// The first step that fails; the others were taken all the same.
pub async fn remove(agent: &Agent, uuid: InstanceUuid) -> Result<(), Error> {
    let plugged = agent.nics.plugged_of(uuid).await.unwrap_or_else(|error| {
        // Where no instance has ports there may be no switch.
        tracing::warn!(instance_uuid = %uuid, error = %Chain(&error), "a NIC that it has is taken out at the next start");
        Vec::new()
    });
    let destroyed = agent.driver.destroy(uuid).await;
    let removed = agent.nics.remove(uuid, &plugged).await;
    destroyed?;
    removed
}
