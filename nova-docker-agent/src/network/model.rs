//! Nova's `network_info`: what Neutron knows of an instance's ports, in the shape of `nova.network.model`.
//!
//! Fields that are unknown here survive a round trip through the info cache.

use std::net::IpAddr;

use common::ids::PortId;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One port (`nova.network.model.VIF`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vif {
    /// The port.
    pub id: PortId,
    /// MAC address.
    #[serde(default)]
    pub address: String,
    /// Its network.
    pub network: Network,
    /// `binding:vif_type` (`ovs`, `bridge`, `unbound`, `binding_failed` …).
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    /// `binding:vif_details`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub details: Map<String, Value>,
    /// Name of the device on the host (`tap` and 11 characters of the port).
    #[serde(default)]
    pub devname: Option<String>,
    /// Name of the port in Open vSwitch: the port's id.
    #[serde(default)]
    pub ovs_interfaceid: Option<String>,
    /// Whether Neutron calls the port ACTIVE.
    #[serde(default)]
    pub active: bool,
    /// `binding:vnic_type`.
    #[serde(default)]
    pub vnic_type: Option<String>,
    /// `binding:profile`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub profile: Map<String, Value>,
    /// The port was there before the instance and outlives it.
    #[serde(default)]
    pub preserve_on_delete: bool,
    /// `meta`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub meta: Map<String, Value>,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A network (`nova.network.model.Network`).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Network {
    /// Uuid.
    #[serde(default)]
    pub id: String,
    /// The bridge to plug into (`br-int`, `brq…`).
    #[serde(default)]
    pub bridge: Option<String>,
    /// Name.
    #[serde(default)]
    pub label: Option<String>,
    /// Subnets of which the port has addresses.
    #[serde(default)]
    pub subnets: Vec<Subnet>,
    /// `mtu`, `tenant_id`, `injected`, `physical_network`, `tunneled` …
    #[serde(default, deserialize_with = "null_is_default")]
    pub meta: Map<String, Value>,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A subnet with the port's addresses in it (`nova.network.model.Subnet`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subnet {
    /// Its addresses.
    pub cidr: IpNet,
    /// Name servers.
    #[serde(default)]
    pub dns: Vec<Ip>,
    /// Gateway; an [`Ip`] without an address when there is none.
    #[serde(default)]
    pub gateway: Option<Ip>,
    /// The port's addresses.
    #[serde(default)]
    pub ips: Vec<FixedIp>,
    /// `host_routes`.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// 4 or 6.
    #[serde(default)]
    pub version: Option<u8>,
    /// `dhcp_server`, `ipv6_address_mode`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub meta: Map<String, Value>,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// An address (`nova.network.model.IP`).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Ip {
    /// The address.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// Everything else: `type`, `version`, `meta`.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// An address of the port (`nova.network.model.FixedIP`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FixedIp {
    /// The address.
    pub address: IpAddr,
    /// Floating addresses that lead to it.
    #[serde(default)]
    pub floating_ips: Vec<Ip>,
    /// Everything else: `type`, `version`, `meta`.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A route (`nova.network.model.Route`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub cidr: IpNet,
    /// Through whom.
    #[serde(default)]
    pub gateway: Option<Ip>,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Nova writes `null` where it knows nothing.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// All ports of an instance, in the order of its NICs.
pub type NetworkInfo = Vec<Vif>;

impl Vif {
    /// The port's own addresses.
    pub fn fixed_ips(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.network.subnets.iter().flat_map(|subnet| &subnet.ips).map(|ip| ip.address)
    }
}

/// Reads the text of an info cache; text that cannot be read counts as none and is logged, for Neutron knows it all.
pub fn read(text: Option<&str>) -> NetworkInfo {
    let Some(text) = text else { return NetworkInfo::new() };
    serde_json::from_str(text).unwrap_or_else(|error| {
        tracing::warn!(%error, "the network information of an instance cannot be read");
        NetworkInfo::new()
    })
}

/// The text for an info cache.
pub fn write(network_info: &NetworkInfo) -> String {
    serde_json::to_string(network_info).unwrap_or_else(|_| "[]".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_and_a_broken_cache_are_no_ports() {
        assert_eq!(read(None), []);
        assert_eq!(read(Some("[]")), []);
        assert_eq!(read(Some("{")), []);
        assert_eq!(write(&Vec::new()), "[]");
    }
}
