//! Takes ports from an instance: what Nova made is deleted, what the user made is free again (Nova:
//! `deallocate_for_instance`, `_unbind_ports`).

use std::collections::BTreeSet;

use common::ids::InstanceUuid;
use common::openstack::glance::OnBehalf;
use common::openstack::neutron::{Network, Port};
use futures_util::stream::{self, StreamExt};
use serde_json::{Map, Value, json};

use super::{DNS, Ports};
use crate::network::Error;

/// Requests to Neutron at the same time for one instance.
const AT_ONCE: usize = 4;

/// Keys of a port's binding profile that Nova wrote and takes out again.
const BOUND_KEYS: [&str; 9] = [
    "pci_vendor_info",
    "pci_slot",
    "allocation",
    "arq_uuid",
    "physical_network",
    "card_serial_number",
    "vf_num",
    "pf_mac_address",
    "device_mac_address",
];

impl Ports {
    /// As [`Ports::release`], for one port of an instance, which may be gone, or another instance's by now.
    ///
    /// # Errors
    /// What Neutron says.
    pub async fn release_one(
        &self,
        uuid: InstanceUuid,
        (port, keep): (&str, bool),
        user: OnBehalf<'_>,
    ) -> Result<(), Error> {
        if !keep {
            self.neutron.delete_port(port).await?;
            return Ok(());
        }
        let found = self.neutron.ports_by("id", &[port], &[("device_id", &uuid.to_string())]).await?;
        self.release(&found, &[port.to_owned()].into(), user).await
    }

    /// Releases ports of an instance: those in `keep` are the user's again, the others are deleted.
    ///
    /// # Errors
    /// The first that Neutron did not do; the rest was done.
    pub async fn release(
        &self,
        ports: &[Port],
        keep: &BTreeSet<String>,
        user: OnBehalf<'_>,
    ) -> Result<(), Error> {
        let kept = ports.iter().filter(|port| keep.contains(&port.id));
        let networks: BTreeSet<&str> = kept.map(|port| port.network_id.as_str()).collect();
        let networks: Vec<&str> = networks.into_iter().collect();
        let (dns, networks) = match networks.is_empty() {
            true => (false, Vec::new()),
            false => tokio::try_join!(self.has_extension(DNS), async {
                Ok(self.neutron.networks_by_id(&networks, <_>::default()).await?)
            },)?,
        };
        let mut work = Vec::with_capacity(ports.len());
        for port in ports {
            let network = networks.iter().find(|network| network.id == port.network_id);
            work.push(async move {
                match keep.contains(&port.id) {
                    true => self.unbind(port, network, (dns, user)).await,
                    false => Ok(self.neutron.delete_port(&port.id).await.map(drop)?),
                }
            });
        }
        let done: Vec<Result<(), Error>> = stream::iter(work).buffer_unordered(AT_ONCE).collect().await;
        done.into_iter().collect()
    }

    /// Binds ports to no host; they stay the instance's (Nova: `_unbind_ports` with `detach` false).
    ///
    /// # Errors
    /// The first that Neutron did not do; the rest was done.
    pub async fn unbind_all(&self, ports: &[Port]) -> Result<(), Error> {
        let mut work = Vec::with_capacity(ports.len());
        for port in ports {
            work.push(self.unbind_one(port));
        }
        let done: Vec<Result<(), Error>> = stream::iter(work).buffer_unordered(AT_ONCE).collect().await;
        done.into_iter().collect()
    }

    async fn unbind_one(&self, port: &Port) -> Result<(), Error> {
        let body = json!({"binding:host_id": null, "binding:profile": profile_of_nobody(port)});
        match self.neutron.update_port(&port.id, body, <_>::default()).await {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Makes a port the user's again.
    pub(super) async fn unbind(
        &self,
        port: &Port,
        network: Option<&Network>,
        (dns, user): (bool, OnBehalf<'_>),
    ) -> Result<(), Error> {
        let mut body = json!({
            "binding:host_id": null, "device_id": "", "device_owner": "",
            "binding:profile": profile_of_nobody(port),
        });
        let domain = network.and_then(|network| network.dns_domain.as_deref()).unwrap_or_default();
        if dns && domain.is_empty() {
            body["dns_name"] = json!("");
        }
        match self.neutron.update_port(&port.id, body, <_>::default()).await {
            Err(error) if error.is_not_found() => return Ok(()),
            other => other?,
        };
        if dns
            && !domain.is_empty()
            && let Err(error) = self.neutron.update_port(&port.id, json!({"dns_name": ""}), user).await
        {
            tracing::warn!(%error, port = port.id, "the DNS name of a port could not be reset");
        }
        Ok(())
    }
}

/// What a port's binding profile holds beside what Nova wrote.
fn profile_of_nobody(port: &Port) -> Map<String, Value> {
    let mut profile = port.profile.clone().unwrap_or_default();
    profile.retain(|key, _| !BOUND_KEYS.contains(&key.as_str()));
    profile
}
