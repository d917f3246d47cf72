//! The ports of instances in Neutron (Nova: `nova.network.neutron`).
//!
//! ```text
//! allocate.rs  makes and binds, side by side; a set is made as a whole or not at all
//! release.rs   deletes what we made, gives back what the user made
//! rules.rs     who may have what, and what Neutron's refusals mean (pure)
//! ```
//! Whether the user may use a network or a group is asked with the user's token; ports are made, bound and deleted as
//! the service, which alone may say `binding:host_id`.

mod allocate;
mod release;
mod rules;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::ids::InstanceUuid;
use common::openstack::glance::OnBehalf;
use common::openstack::neutron::{Neutron, Port};
use serde_json::{Value, json};

use super::model::NetworkInfo;
use super::{Error, describe};

/// Neutron's extension by which ports have names in DNS.
pub(super) const DNS: &str = "dns-integration";

/// Whose ports they are, and who asks for them.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// The instance.
    pub uuid: InstanceUuid,
    /// Its project.
    pub project_id: &'a str,
    /// Its name, for DNS.
    pub hostname: &'a str,
    /// Its availability zone.
    pub zone: Option<&'a str>,
    /// The user.
    pub user: OnBehalf<'a>,
    /// Nova's policy counts the user as an administrator.
    pub is_admin: bool,
}

/// Neutron, as the agent uses it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ports {
    neutron: Neutron,
    host: String,
    /// `[neutron] extension_sync_interval`
    keep_extensions: Duration,
    extensions: Arc<Mutex<Option<Extensions>>>,
}

/// Aliases of Neutron's extensions, and when it was asked.
#[derive(Debug, Clone)]
struct Extensions {
    asked: Instant,
    aliases: BTreeSet<String>,
}

impl Ports {
    /// Ports of this `host`. `keep_extensions`: how long Neutron's list of extensions may be believed.
    pub fn new(neutron: Neutron, host: &str, keep_extensions: Duration) -> Self {
        Self { neutron, host: host.to_owned(), keep_extensions, extensions: Arc::default() }
    }

    /// The ports that Neutron knows of an instance.
    ///
    /// # Errors
    /// What Neutron says.
    pub async fn of_instance(&self, uuid: InstanceUuid) -> Result<Vec<Port>, Error> {
        Ok(self.neutron.ports(&[("device_id", &uuid.to_string())]).await?)
    }

    /// The ports of several instances.
    ///
    /// # Errors
    /// What Neutron says.
    pub async fn of_instances(&self, uuids: &[InstanceUuid]) -> Result<Vec<Port>, Error> {
        let uuids: Vec<String> = uuids.iter().map(InstanceUuid::to_string).collect();
        let uuids: Vec<&str> = uuids.iter().map(String::as_str).collect();
        Ok(self.neutron.ports_by("device_id", &uuids, &[]).await?)
    }

    /// Whether Neutron says of each of these ports that traffic flows.
    ///
    /// # Errors
    /// What Neutron says.
    pub async fn are_active(&self, ids: &[&str]) -> Result<bool, Error> {
        let fields = [("fields", "id"), ("fields", "network_id"), ("fields", "status")];
        let found = self.neutron.ports_by("id", ids, &fields).await?;
        Ok(found.len() == ids.len() && found.iter().all(|port| port.status == "ACTIVE"))
    }

    /// Describes ports as Nova keeps them, by a number of requests that does not depend on theirs.
    ///
    /// # Errors
    /// What Neutron says.
    pub async fn describe(
        &self,
        ports: &[&Port],
        preserved: &BTreeSet<String>,
    ) -> Result<NetworkInfo, Error> {
        describe::describe(&self.neutron, ports, preserved).await
    }

    /// Binds ports of an instance to this host that are bound elsewhere, or not well (Nova:
    /// `setup_instance_network_on_host`). True when there was something to do.
    ///
    /// # Errors
    /// What Neutron says.
    pub async fn bind_here(&self, owner: &Owner<'_>, ports: &mut [Port]) -> Result<bool, Error> {
        let mut changed = false;
        for port in ports {
            let well = !matches!(port.vif_type.as_deref(), Some("unbound" | "binding_failed"));
            if port.host_id.as_deref() == Some(self.host.as_str()) && well {
                continue;
            }
            let mut body = json!({"binding:host_id": self.host, "device_owner": device_owner(owner)});
            let mut profile = port.profile.clone().unwrap_or_default();
            if profile.remove("migrating_to").is_some() {
                body["binding:profile"] = Value::Object(profile);
            }
            *port = self.neutron.update_port(&port.id, body, <_>::default()).await?;
            changed = true;
        }
        Ok(changed)
    }

    /// Gives an instance one more address of a network it is in (Nova: `add_fixed_ip_to_instance`).
    ///
    /// # Errors
    /// [`Error::NetworkNotFoundForInstance`] when it is not in it, or no subnet has an address left.
    pub async fn add_fixed_ip(&self, uuid: InstanceUuid, network: &str) -> Result<(), Error> {
        let device = uuid.to_string();
        let (query, networks) = ([("device_id", device.as_str()), ("network_id", network)], [network]);
        let (ports, subnets) =
            tokio::try_join!(self.neutron.ports(&query), self.neutron.subnets_of(&networks))?;
        for port in &ports {
            for subnet in &subnets {
                let mut addresses = fixed_ips(port, None);
                addresses.push(json!({"subnet_id": subnet.id}));
                let body = json!({"fixed_ips": addresses});
                match self.neutron.update_port(&port.id, body, <_>::default()).await {
                    Ok(_) => return Ok(()),
                    Err(error) => tracing::debug!(%error, subnet = subnet.id, "no address of this subnet"),
                }
            }
        }
        Err(Error::NetworkNotFoundForInstance(uuid))
    }

    /// Takes an address from an instance (Nova: `remove_fixed_ip_from_instance`).
    ///
    /// # Errors
    /// [`Error::FixedIpNotFound`] when it does not have it.
    pub async fn remove_fixed_ip(&self, uuid: InstanceUuid, address: &str) -> Result<(), Error> {
        let ports = self.of_instance(uuid).await?;
        let port = ports.iter().find(|port| port.fixed_ips.iter().any(|ip| ip.ip_address == address));
        let port =
            port.ok_or_else(|| Error::FixedIpNotFound { address: address.to_owned(), instance: uuid })?;
        let body = json!({"fixed_ips": fixed_ips(port, Some(address))});
        self.neutron.update_port(&port.id, body, <_>::default()).await?;
        Ok(())
    }

    pub(super) async fn has_extension(&self, alias: &str) -> Result<bool, Error> {
        {
            let held = self.extensions.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = held.as_ref().filter(|known| known.asked.elapsed() < self.keep_extensions) {
                return Ok(known.aliases.contains(alias));
            }
        }
        let aliases: BTreeSet<String> = self.neutron.extensions().await?.into_iter().collect();
        let has = aliases.contains(alias);
        let fresh = Extensions { asked: Instant::now(), aliases };
        *self.extensions.lock().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
        Ok(has)
    }
}

fn device_owner(owner: &Owner<'_>) -> String {
    // Python writes None where there is no zone.
    format!("compute:{}", owner.zone.unwrap_or("None"))
}

fn fixed_ips(port: &Port, without: Option<&str>) -> Vec<Value> {
    let kept = port.fixed_ips.iter().filter(|ip| Some(ip.ip_address.as_str()) != without);
    kept.map(|ip| json!({"subnet_id": ip.subnet_id, "ip_address": ip.ip_address})).collect()
}
