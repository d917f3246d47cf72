//! An instance's ports from end to end: in Neutron, in Nova's database, on the host.
//!
//! Who changes the info cache holds the instance's lock in `Agent::caches` from reading to saving (Nova:
//! `refresh_cache-<uuid>`), so that no change is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::error_chain::Chain;
use common::ids::{InstanceUuid, PortId};
use common::messaging::RequestContext;
use common::objects::Instance;
use common::openstack::glance::OnBehalf;
use common::openstack::neutron::Port;

use super::locks::Acting;
use super::{changing, follow, tags};
use crate::agent::Agent;
use crate::error::Error;
use crate::network::events::{Unplugged, Watch};
use crate::network::model::{self, NetworkInfo, Vif};
use crate::network::request::{Ask, Wanted};
use crate::network::{self, Owner};

/// How often Neutron is asked again to release ports when it cannot be reached, and after how long the first time
/// (Nova: `_try_deallocate_network`).
const RETRIES: u32 = 3;
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// How soon Neutron is asked whether a port is active after the switch is ready; each further time half as much later.
/// Usually it takes 0.2 to 0.5 s, beside which the container starts.
const FIRST_LOOK: Duration = Duration::from_millis(100);

/// What a build wants of its network.
#[derive(Debug)]
pub struct Connection {
    /// The ports.
    pub ask: Ask,
    /// Names or ids of security groups.
    pub groups: Vec<String>,
    /// Who serves what the ports want of placement.
    pub providers: BTreeMap<String, String>,
}

/// Whose ports, and on whose behalf.
pub fn owner<'a>(context: &'a RequestContext, instance: &'a Instance, uuid: InstanceUuid) -> Owner<'a> {
    Owner {
        uuid,
        project_id: instance.project_id().unwrap_or_default(),
        hostname: instance.hostname().unwrap_or_default(),
        zone: instance.availability_zone(),
        user: behalf(context),
        is_admin: context.is_admin(),
    }
}

fn behalf(context: &RequestContext) -> OnBehalf<'_> {
    OnBehalf { user_token: context.auth_token(), request_id: Some(context.request_id()) }
}

/// Makes and binds the ports of a build.
///
/// # Errors
/// Nova's own; nothing is left then.
pub async fn allocate(
    agent: &Agent,
    context: &RequestContext,
    instance: &Instance,
    connection: &Connection,
) -> Result<NetworkInfo, Error> {
    let Some(uuid) = instance.instance_uuid() else { return Ok(NetworkInfo::new()) };
    let owner = owner(context, instance, uuid);
    let kept = instance.system_metadata().remove("network_allocated");
    if kept.is_some_and(|kept| kept.eq_ignore_ascii_case("true")) {
        // Another host built it in vain and left the ports to us.
        let mut ports = agent.ports.of_instance(uuid).await?;
        agent.ports.bind_here(&owner, &mut ports).await?;
        let theirs = connection.ask.given().map(str::to_owned).collect();
        return Ok(agent.ports.describe(&ports.iter().collect::<Vec<_>>(), &theirs).await?);
    }
    let how = (connection.groups.as_slice(), &connection.providers);
    let note = || match connection.ask.given().next() {
        Some(_) => Ok(agent.attaching.begin(uuid, connection.ask.given(), None)?),
        None => Ok(()),
    };
    agent.ports.allocate(&owner, &connection.ask, how, note).await
}

/// Binds the ports that an instance has to this host, and notes what they are now (Nova:
/// `setup_instance_network_on_host`, `get_instance_nw_info`).
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
    let before = network_info(agent, context, instance).await?;
    let mut ports = ports_of(agent, uuid).await?;
    if ports.is_empty() {
        return Ok(NetworkInfo::new());
    }
    agent.ports.bind_here(&owner(context, instance, uuid), &mut ports).await?;
    // In the order in which the guest knows them.
    let place = |port: &Port| before.iter().position(|vif| vif.id.to_string() == port.id);
    ports.sort_by_key(|port| place(port).unwrap_or(usize::MAX));
    let preserved = before.iter().filter(|vif| vif.preserve_on_delete).map(|vif| vif.id.to_string());
    let now = agent.ports.describe(&ports.iter().collect::<Vec<_>>(), &preserved.collect()).await?;
    agent.conductor.save_info_cache(context, uuid, &model::write(&now)).await?;
    Ok(now)
}

/// Takes the network of an instance from this host; its ports stay its own, bound nowhere (Nova: `unbind_ports`).
///
/// # Errors
/// The first step that fails. The host is cleaned even when Neutron does not answer.
pub async fn unbind(agent: &Agent, uuid: InstanceUuid) -> Result<(), Error> {
    let _alone = agent.caches.act(uuid).await;
    let ports = ports_of(agent, uuid).await;
    let plugged: Vec<PortId> = match &ports {
        Ok(ports) => ports.iter().filter_map(|port| port.id.parse().ok()).collect(),
        Err(_) => agent.nics.plugged_of(uuid).await.unwrap_or_default(),
    };
    let removed = agent.nics.remove(uuid, &plugged).await;
    agent.ports.unbind_all(&ports?).await?;
    removed
}

/// Notes new ports in Nova's database: a row for each, in their order, and the info cache behind those it has.
///
/// # Errors
/// What the conductor says.
pub async fn record(
    agent: &Agent,
    context: &RequestContext,
    uuid: InstanceUuid,
    (cached, new, wanted): (&NetworkInfo, &[Vif], &[Wanted]),
) -> Result<(), Error> {
    let rows = async {
        // One after the other: their order is that of the NICs for whoever rebuilds the cache.
        for (index, vif) in new.iter().enumerate() {
            let tag = wanted.get(index).and_then(|wanted| wanted.tag.as_deref());
            agent.conductor.create_virtual_interface(context, uuid, (vif.id, &vif.address, tag)).await?;
        }
        Ok(())
    };
    let all: NetworkInfo = cached.iter().chain(new).cloned().collect();
    let text = model::write(&all);
    let cache = async { Ok(agent.conductor.save_info_cache(context, uuid, &text).await?) };
    let tagged: Vec<(&str, &str)> = new
        .iter()
        .zip(wanted)
        .filter_map(|(vif, wanted)| Some((vif.address.as_str(), wanted.tag.as_deref()?)))
        .collect();
    tokio::try_join!(rows, cache, tags::add(agent, context, uuid, (&tagged, cached.is_empty())))?;
    agent.attaching.end_getting(uuid);
    Ok(())
}

/// Waits until Neutron has reported the ports as plugged, as long as Nova would.
///
/// Neutron sends its reports in batches, up to two seconds apart (`send_events_interval`). So it is also asked, from the
/// moment on when the switch is ready.
///
/// # Errors
/// [`network::Error::NotPlugged`] when a port is not and that is fatal; [`Error::Cancelled`].
pub async fn wait_plugged(
    agent: &Agent,
    acting: &Acting,
    (watch, waiting): (&mut Watch, &[PortId]),
) -> Result<(), Error> {
    let seconds = agent.config.vif_plugging_timeout;
    if waiting.is_empty() || seconds == 0 {
        return Ok(());
    }
    let ports: BTreeSet<String> = waiting.iter().map(PortId::to_string).collect();
    let waited = tokio::select! {
        biased;
        () = acting.cancelled() => return Err(Error::Cancelled),
        waited = watch.plugged(ports, Duration::from_secs(seconds)) => waited,
        () = active(agent, waiting) => Ok(()),
    };
    let Err(unplugged) = waited else { return Ok(()) };
    let why = match unplugged {
        Unplugged::Failed(port) => format!("Neutron could not make port {port} active, or it was deleted"),
        Unplugged::Silence(ports) => {
            let ports = ports.into_iter().collect::<Vec<_>>().join(", ");
            format!("Neutron did not report port {ports} as plugged within {seconds} seconds")
        }
    };
    if agent.config.vif_plugging_is_fatal {
        return Err(network::Error::NotPlugged(why).into());
    }
    tracing::warn!(why, "the instance goes on without");
    Ok(())
}

/// Resolves when Neutron, when asked, calls all of these ports active. It is asked less and less often.
async fn active(agent: &Agent, ports: &[PortId]) {
    agent.nics.ready(ports).await;
    let ids: Vec<String> = ports.iter().map(PortId::to_string).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let mut pause = FIRST_LOOK;
    loop {
        tokio::time::sleep(pause).await;
        match agent.ports.are_active(&ids).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => {
                tracing::debug!(error = %Chain(&error), "Neutron does not say whether the ports are active")
            }
        }
        pause += pause / 2;
    }
}

/// The ports of an instance as it came, or as the database has them when it came without.
///
/// # Errors
/// What the conductor says.
pub async fn network_info(
    agent: &Agent,
    context: &RequestContext,
    instance: &Instance,
) -> Result<NetworkInfo, Error> {
    match (instance.info_cache(), instance.instance_uuid()) {
        (Some(cache), _) => Ok(model::read(cache.network_info())),
        (None, Some(uuid)) => cached(agent, context, uuid).await,
        (None, None) => Ok(NetworkInfo::new()),
    }
}

/// The ports as the database has them; none when the instance is gone.
///
/// # Errors
/// What the conductor says.
pub async fn cached(
    agent: &Agent,
    context: &RequestContext,
    uuid: InstanceUuid,
) -> Result<NetworkInfo, Error> {
    match agent.conductor.info_cache(context, uuid).await {
        Err(error) if error.is_instance_not_found() => Ok(NetworkInfo::new()),
        other => Ok(model::read(other?.network_info())),
    }
}

/// Takes the network of an instance away: on the host after its container is gone, in Neutron, in the database.
///
/// `given`: ports that the user made, beside those that the cache knows.
///
/// # Errors
/// The first step that fails. Ports are released even when the host could not be cleaned.
pub async fn release(
    agent: &Agent,
    context: &RequestContext,
    uuid: InstanceUuid,
    (cached, given): (&NetworkInfo, BTreeSet<String>),
) -> Result<(), Error> {
    let _alone = agent.caches.act(uuid).await;
    let ports = ports_of(agent, uuid).await;
    let mut plugged: BTreeSet<PortId> = cached.iter().map(|vif| vif.id).collect();
    match &ports {
        Ok(ports) => plugged.extend(ports.iter().filter_map(|port| port.id.parse::<PortId>().ok())),
        // Without Neutron the switch knows what is to be unplugged.
        Err(_) => plugged.extend(agent.nics.plugged_of(uuid).await.unwrap_or_default()),
    }
    let plugged: Vec<PortId> = plugged.into_iter().collect();
    let removed = agent.nics.remove(uuid, &plugged).await;
    let ports = ports?;
    if !ports.is_empty() {
        let theirs = cached.iter().filter(|vif| vif.preserve_on_delete).map(|vif| vif.id.to_string());
        let keep: BTreeSet<String> = theirs.chain(given).chain(agent.attaching.given(uuid)).collect();
        again(|| agent.ports.release(&ports, &keep, behalf(context))).await?;
    }
    agent.attaching.end(uuid);
    if !ports.is_empty() || !cached.is_empty() {
        let (rows, cache) = tokio::join!(
            agent.conductor.delete_virtual_interfaces(context, uuid),
            agent.conductor.save_info_cache(context, uuid, "[]"),
        );
        for error in
            [rows.err(), cache.err()].into_iter().flatten().filter(|error| !error.is_instance_not_found())
        {
            tracing::warn!(error = %Chain(&error), "the database still names ports of the instance");
        }
    }
    removed
}

/// The ports that Neutron knows of an instance; a cloud without Neutron has none.
async fn ports_of(agent: &Agent, uuid: InstanceUuid) -> Result<Vec<Port>, Error> {
    match again(|| agent.ports.of_instance(uuid)).await {
        Err(network::Error::Neutron(common::openstack::Error::NoEndpoint { .. })) => Ok(Vec::new()),
        other => Ok(other?),
    }
}

/// Tries again while Neutron cannot be reached, as Nova does.
async fn again<T, F: Future<Output = Result<T, network::Error>>>(
    work: impl Fn() -> F,
) -> Result<T, network::Error> {
    for attempt in 1..=RETRIES {
        match work().await {
            Err(error) if error.is_unreachable() => {
                tracing::warn!(error = %Chain(&error), attempt, "Neutron does not answer; asks again");
                tokio::time::sleep(RETRY_AFTER * attempt).await;
            }
            other => return other,
        }
    }
    work().await
}

/// Brings one port in the info cache up to date, and its NIC with it (Nova: `get_instance_nw_info` with
/// `refresh_vif_id`). A port that is not in Neutron any more stays in the cache until it is detached.
///
/// # Errors
/// What Neutron or the conductor say.
pub async fn refresh(
    agent: &Agent,
    context: &RequestContext,
    uuid: InstanceUuid,
    port: Option<&str>,
) -> Result<(), Error> {
    changing::noted(agent, uuid, Box::pin(bring_up_to_date(agent, context, uuid, port))).await
}

async fn bring_up_to_date(
    agent: &Agent,
    context: &RequestContext,
    uuid: InstanceUuid,
    port: Option<&str>,
) -> Result<(), Error> {
    let (before, now) = {
        let _alone = agent.caches.act(uuid).await;
        let (cached, ports) = tokio::try_join!(cached(agent, context, uuid), async {
            Ok(agent.ports.of_instance(uuid).await?)
        })?;
        if cached.is_empty() {
            return Ok(());
        }
        let known = |id: &str| cached.iter().any(|vif| vif.id.to_string() == id);
        // Without a port all that are known; a port that was named may be new.
        let concerned: Vec<_> = ports
            .iter()
            .filter(|candidate| port.map_or_else(|| known(&candidate.id), |port| candidate.id == port))
            .collect();
        let preserved = cached.iter().filter(|vif| vif.preserve_on_delete).map(|vif| vif.id.to_string());
        let preserved = preserved.chain(agent.attaching.given(uuid)).collect();
        let fresh = agent.ports.describe(&concerned, &preserved).await?;
        let merged = merged(&cached, fresh);
        if merged == cached {
            return Ok(());
        }
        agent.conductor.save_info_cache(context, uuid, &model::write(&merged)).await?;
        (cached, merged)
    };
    follow::follow(agent, context, uuid, (&before, &now)).await
}

/// The cache with the fresh ports in the places of the old ones; new ones at the end.
pub fn merged(cached: &NetworkInfo, fresh: NetworkInfo) -> NetworkInfo {
    let mut merged = cached.clone();
    for vif in fresh {
        match merged.iter_mut().find(|old| old.id == vif.id) {
            Some(old) => *old = vif,
            None => merged.push(vif),
        }
    }
    merged
}

/// Releases one port and its place in the database. `rest`: the ports that stay. The caller holds the cache's lock.
///
/// # Errors
/// What Neutron or the conductor say.
pub async fn release_one(
    agent: &Agent,
    context: &RequestContext,
    uuid: InstanceUuid,
    (rest, vif): (&NetworkInfo, &Vif),
) -> Result<(), Error> {
    let id = vif.id.to_string();
    agent.ports.release_one(uuid, (&id, vif.preserve_on_delete), behalf(context)).await?;
    let text = model::write(rest);
    tokio::try_join!(
        agent.conductor.destroy_virtual_interface(context, vif.id),
        agent.conductor.save_info_cache(context, uuid, &text),
    )?;
    Ok(())
}
