//! Compares what Nova knows of all ports of this host with Neutron. Nova does one instance each time; here all are done
//! by a number of requests that does not grow with them, and only what differs costs more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::messaging::RequestContext;
use common::objects::Instance;
use common::objects::fields::{TaskState, VmState};
use common::openstack::neutron::Port;
use futures_util::future::join_all;

use super::Task;
use crate::agent::Agent;
use crate::config::Config;
use crate::error::Error;
use crate::instance::changing;
use crate::instance::follow::follow;
use crate::instance::network::{cached, owner};
use crate::network::model::{self, NetworkInfo};

pub(super) struct HealInstanceInfoCache;

impl Task for HealInstanceInfoCache {
    const NAME: &'static str = "heal_instance_info_cache";

    /// Unlike for other tasks of Nova's, 0 means never.
    fn period(config: &Config) -> Option<Duration> {
        let seconds = u64::try_from(config.heal_instance_info_cache_interval).ok();
        seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs)
    }

    async fn run(&mut self, agent: &Agent) -> Result<(), Error> {
        heal(agent).await
    }
}

async fn heal(agent: &Agent) -> Result<(), Error> {
    let context = RequestContext::admin();
    let instances = agent.conductor.instances_of_host(&context, &["info_cache", "system_metadata"]).await?;
    let settled = instances.into_iter().filter(|instance| {
        instance.state() != VmState::Building && instance.task() != Some(TaskState::Deleting)
    });
    let settled: BTreeMap<InstanceUuid, Instance> =
        settled.filter_map(|instance| Some((instance.instance_uuid()?, instance))).collect();
    let uuids: Vec<InstanceUuid> = settled.keys().copied().collect();
    let mut ports = agent.ports.of_instances(&uuids).await?;
    for (uuid, instance) in &settled {
        if instance.task().is_none() {
            let mut of_it: Vec<Port> =
                ports.extract_if(.., |port| port.device_id == uuid.to_string()).collect();
            if let Err(error) = agent.ports.bind_here(&owner(&context, instance, *uuid), &mut of_it).await {
                tracing::warn!(instance_uuid = %uuid, error = %Chain(&error), "its ports could not be bound here");
            }
            ports.extend(of_it);
        }
    }
    let preserved: BTreeSet<String> = settled
        .values()
        .flat_map(known)
        .filter(|vif| vif.preserve_on_delete)
        .map(|vif| vif.id.to_string())
        .chain(uuids.iter().flat_map(|uuid| agent.attaching.given(*uuid)))
        .collect();
    let described = agent.ports.describe(&ports.iter().collect::<Vec<_>>(), &preserved).await?;
    let mut by_instance: BTreeMap<&str, NetworkInfo> = BTreeMap::new();
    for (port, vif) in ports.iter().zip(described) {
        by_instance.entry(&port.device_id).or_default().push(vif);
    }
    let differing = settled.iter().filter_map(|(uuid, instance)| {
        let now = by_instance.remove(uuid.to_string().as_str()).unwrap_or_default();
        let known = known(instance);
        (!same(&known, &now)).then_some((*uuid, known, now))
    });
    // One that is busy keeps no other waiting.
    let corrected = differing.map(|(uuid, known, now)| put_right(agent, &context, uuid, (known, now)));
    join_all(corrected.collect::<Vec<_>>()).await;
    Ok(())
}

fn known(instance: &Instance) -> NetworkInfo {
    model::read(instance.info_cache().as_ref().and_then(|cache| cache.network_info()))
}

async fn put_right(
    agent: &Agent,
    context: &RequestContext,
    uuid: InstanceUuid,
    (known, now): (NetworkInfo, NetworkInfo),
) {
    let corrected = changing::noted(agent, uuid, correct(agent, context, uuid, (&known, now)));
    if let Err(error) = corrected.await {
        tracing::warn!(instance_uuid = %uuid, error = %Chain(&error), "its info cache could not be put right");
    }
}

/// The same ports in any order.
fn same(one: &NetworkInfo, other: &NetworkInfo) -> bool {
    one.len() == other.len() && one.iter().all(|vif| other.contains(vif))
}

/// Saves what Neutron knows, in the order of the rows in Nova's database; NICs and guest follow.
async fn correct(
    agent: &Agent,
    context: &RequestContext,
    uuid: InstanceUuid,
    (known, now): (&NetworkInfo, NetworkInfo),
) -> Result<(), Error> {
    let (before, now) = {
        let _alone = agent.caches.act(uuid).await;
        let before = cached(agent, context, uuid).await?;
        // Somebody was faster, or what Neutron said is old.
        if before != *known || same(&before, &now) {
            return Ok(());
        }
        let rows = agent.conductor.virtual_interfaces(context, uuid).await?;
        let ordered = in_order(now, &rows.iter().filter_map(|row| row.uuid()).collect::<Vec<_>>());
        tracing::info!(instance_uuid = %uuid, ports = ordered.len(), "the info cache was wrong; put right");
        agent.conductor.save_info_cache(context, uuid, &model::write(&ordered)).await?;
        (before, ordered)
    };
    follow(agent, context, uuid, (&before, &now)).await
}

/// Ports in the order of their rows; those without a row are new, and last.
fn in_order(mut ports: NetworkInfo, rows: &[&str]) -> NetworkInfo {
    ports.sort_by_key(|vif| {
        let id = vif.id.to_string();
        rows.iter().position(|row| *row == id).unwrap_or(rows.len())
    });
    ports
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ports(ids: &[u8]) -> NetworkInfo {
        let vif =
            |id: &u8| json!({"id": format!("00000000-0000-4000-8000-0000000000{id:02x}"), "network": {}});
        serde_json::from_value(ids.iter().map(vif).collect()).unwrap()
    }

    #[test]
    fn the_order_is_that_of_the_rows_and_new_ports_are_last() {
        let rows = ["00000000-0000-4000-8000-000000000003", "00000000-0000-4000-8000-000000000001"];
        assert_eq!(in_order(ports(&[1, 2, 3]), &rows), ports(&[3, 1, 2]));
    }

    #[test]
    fn order_alone_is_no_difference() {
        assert!(same(&ports(&[1, 2]), &ports(&[2, 1])));
        assert!(!same(&ports(&[1, 2]), &ports(&[1])));
    }
}
