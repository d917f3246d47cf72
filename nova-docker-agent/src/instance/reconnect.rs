//! The networks of the instances when the agent starts: what is plugged stays, what is missing is plugged, what belongs
//! to nobody any more is taken out. After a restart of Docker sandboxes are down; each comes back before its container.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::objects::Instance;
use common::objects::fields::VmState;
use futures_util::{StreamExt, stream};

use super::spec::{image_of_instance, instance_spec};
use crate::agent::Agent;
use crate::error::Error;
use crate::network::model;
use crate::network::wiring::Plugged;
use crate::virt::{InstanceSpec, PowerState};

/// How many instances are done at the same time.
const AT_ONCE: usize = 4;

/// Goes through all instances of this host. One instance's trouble is logged and stays its own. Gives those back whose ports
/// no host can plug as Neutron has them.
pub async fn all(
    agent: &Agent,
    instances: &[Instance],
    powers: &HashMap<InstanceUuid, PowerState>,
) -> BTreeSet<InstanceUuid> {
    let unpluggable = Mutex::new(BTreeSet::new());
    let sandboxed: BTreeSet<InstanceUuid> = match agent.nics.sandboxed().await {
        Ok(sandboxed) => sandboxed.into_iter().collect(),
        Err(error) => {
            tracing::error!(error = %Chain(&error), "the sandboxes could not be listed");
            return BTreeSet::new();
        }
    };
    let plugged = plugged(agent, instances, &sandboxed).await;
    stream::iter(instances)
        .for_each_concurrent(AT_ONCE, |instance| {
            let (sandboxed, plugged, unpluggable) = (&sandboxed, &plugged, &unpluggable);
            async move {
                let Some(uuid) = instance.instance_uuid() else { return };
                let power = powers.get(&uuid).copied().unwrap_or(PowerState::NoState);
                let Err(error) = one(agent, (instance, power), (sandboxed, plugged)).await else { return };
                tracing::error!(instance_uuid = %uuid, error = %Chain(&error), "its network is not as it should be");
                if matches!(&error, Error::Network(error) if error.is_unpluggable()) {
                    unpluggable.lock().unwrap_or_else(PoisonError::into_inner).insert(uuid);
                }
            }
        })
        .await;
    let known: BTreeSet<InstanceUuid> =
        instances.iter().filter_map(Instance::instance_uuid).chain(powers.keys().copied()).collect();
    take_out(agent, &plugged, |uuid| known.contains(&uuid) || sandboxed.contains(&uuid)).await;
    unpluggable.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// What the switch has of ours. That it does not answer is only bad when an instance has ports.
async fn plugged(agent: &Agent, instances: &[Instance], sandboxed: &BTreeSet<InstanceUuid>) -> Vec<Plugged> {
    let connected = |instance: &Instance| !network_info(instance).is_empty();
    match agent.nics.plugged().await {
        Ok(plugged) => plugged,
        Err(error) if sandboxed.is_empty() && !instances.iter().any(connected) => {
            tracing::debug!(error = %Chain(&error), "no switch answers, and none is needed");
            Vec::new()
        }
        Err(error) => {
            tracing::error!(error = %Chain(&error), "the switch does not tell what is plugged");
            Vec::new()
        }
    }
}

/// A stopped instance is off the network: what is plugged of it was left by an agent that ended while it stopped it.
fn rests(instance: &Instance, power: PowerState) -> bool {
    power.is_down() && matches!(instance.state(), VmState::Stopped | VmState::SoftDeleted | VmState::Shelved)
}

async fn one(
    agent: &Agent,
    (instance, power): (&Instance, PowerState),
    (sandboxed, plugged): (&BTreeSet<InstanceUuid>, &[Plugged]),
) -> Result<(), Error> {
    let (_, properties) = image_of_instance(instance);
    let spec = instance_spec(instance, properties)?;
    let network_info = network_info(instance);
    if sandboxed.contains(&spec.uuid) && rests(instance, power) {
        return agent.nics.rest(spec.uuid).await;
    }
    if sandboxed.contains(&spec.uuid) {
        // One that is down comes back when its container is to start.
        let spec = InstanceSpec { sandboxed: true, ..spec };
        agent.nics.adopt(&spec, &network_info, plugged).await?;
        return Ok(());
    }
    agent.nics.remember(&spec, &network_info);
    let missing = network_info
        .iter()
        .any(|vif| !plugged.iter().any(|plugged| plugged.port == vif.id && plugged.intact));
    agent.nics.restarted(spec.uuid, missing).await;
    Ok(())
}

/// Takes out the NICs of instances that are not here.
async fn take_out(agent: &Agent, plugged: &[Plugged], is_here: impl Fn(InstanceUuid) -> bool) {
    for Plugged { port, instance, .. } in plugged.iter().filter(|plugged| !is_here(plugged.instance)) {
        tracing::warn!(instance_uuid = %instance, %port, "takes out the NIC of an instance that is not here any more");
        if let Err(error) = agent.nics.detach(*instance, *port).await {
            tracing::error!(%port, error = %Chain(&error), "the NIC stays");
        }
    }
}

fn network_info(instance: &Instance) -> model::NetworkInfo {
    model::read(instance.info_cache().as_ref().and_then(|cache| cache.network_info()))
}
