//! Neutron's records, as far as they are used.

use serde::Deserialize;
use serde_json::{Map, Value};

/// A port, as far as it is used. Fields that only admins see are absent for others.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Port {
    /// Port id.
    pub id: String,
    /// Network id.
    pub network_id: String,
    /// Project that owns it.
    #[serde(default)]
    pub tenant_id: String,
    /// The instance it belongs to; empty when it is free.
    #[serde(default)]
    pub device_id: String,
    /// `compute:<zone>` when it is an instance's.
    #[serde(default)]
    pub device_owner: String,
    /// MAC address.
    #[serde(default)]
    pub mac_address: String,
    /// Its addresses.
    #[serde(default)]
    pub fixed_ips: Vec<FixedIp>,
    /// Whether it may carry traffic.
    #[serde(default = "yes")]
    pub admin_state_up: bool,
    /// `ACTIVE`, `DOWN`, `BUILD` …
    #[serde(default)]
    pub status: String,
    /// Name in Neutron's DNS.
    #[serde(default)]
    pub dns_name: Option<String>,
    /// `binding:host_id`
    #[serde(default, rename = "binding:host_id")]
    pub host_id: Option<String>,
    /// `binding:vif_type`
    #[serde(default, rename = "binding:vif_type")]
    pub vif_type: Option<String>,
    /// `binding:vif_details`
    #[serde(default, rename = "binding:vif_details")]
    pub vif_details: Option<Map<String, Value>>,
    /// `binding:vnic_type`
    #[serde(default, rename = "binding:vnic_type")]
    pub vnic_type: Option<String>,
    /// `binding:profile`
    #[serde(default, rename = "binding:profile")]
    pub profile: Option<Map<String, Value>>,
    /// What the port wants of placement (QoS minimum bandwidth).
    #[serde(default)]
    pub resource_request: Option<Value>,
}

/// An address of a port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FixedIp {
    /// The subnet it is from.
    pub subnet_id: String,
    /// The address.
    pub ip_address: String,
}

/// A network, as far as it is used.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Network {
    /// Network id.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Project that owns it.
    #[serde(default)]
    pub tenant_id: String,
    /// Largest packet, in bytes.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Subnet ids.
    #[serde(default)]
    pub subnets: Vec<String>,
    /// Every project may use it.
    #[serde(default)]
    pub shared: bool,
    /// It leads out of the cloud.
    #[serde(default, rename = "router:external")]
    pub external: bool,
    /// Ports are filtered unless they say otherwise.
    #[serde(default)]
    pub port_security_enabled: Option<bool>,
    /// Zone of an external DNS service; empty without one.
    #[serde(default)]
    pub dns_domain: Option<String>,
    /// `provider:physical_network`; admins only.
    #[serde(default, rename = "provider:physical_network")]
    pub physical_network: Option<String>,
    /// `provider:network_type`; admins only.
    #[serde(default, rename = "provider:network_type")]
    pub network_type: Option<String>,
    /// Segments of a network that has several; admins only.
    #[serde(default)]
    pub segments: Vec<Segment>,
}

/// One of a network's segments.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Segment {
    /// `provider:physical_network`
    #[serde(default, rename = "provider:physical_network")]
    pub physical_network: Option<String>,
}

/// A subnet, as far as it is used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Subnet {
    /// Subnet id.
    pub id: String,
    /// Network id.
    pub network_id: String,
    /// Address range.
    pub cidr: String,
    /// The way out.
    #[serde(default)]
    pub gateway_ip: Option<String>,
    /// Name servers.
    #[serde(default)]
    pub dns_nameservers: Vec<String>,
    /// More routes.
    #[serde(default)]
    pub host_routes: Vec<HostRoute>,
    /// Whether somebody answers DHCP.
    #[serde(default)]
    pub enable_dhcp: bool,
    /// `slaac`, `dhcpv6-stateful` …; None for IPv4.
    #[serde(default)]
    pub ipv6_address_mode: Option<String>,
}

/// A route of a subnet.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HostRoute {
    /// Address range.
    pub destination: String,
    /// Next hop.
    pub nexthop: String,
}

/// A floating address that leads to a port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FloatingIp {
    /// The address outside.
    pub floating_ip_address: String,
    /// The address of the port.
    #[serde(default)]
    pub fixed_ip_address: Option<String>,
    /// The port.
    #[serde(default)]
    pub port_id: Option<String>,
}

/// A security group.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SecurityGroup {
    /// Its id.
    pub id: String,
    /// Its name, which need not be unique.
    #[serde(default)]
    pub name: String,
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_port_is_read_with_and_without_what_only_admins_see() {
        let bare: Port = serde_json::from_value(
            json!({"id": "p", "network_id": "n", "tenant_id": "t", "project_id": "t"}),
        )
        .unwrap();
        assert!(bare.admin_state_up && bare.vif_type.is_none() && bare.tenant_id == "t");
        let bound: Port = serde_json::from_value(json!({
            "id": "p", "network_id": "n", "tenant_id": "t", "binding:vif_type": "ovs", "binding:profile": {"a": 1},
            "binding:vif_details": {"bridge_name": "br-int"}, "fixed_ips": [{"subnet_id": "s", "ip_address": "10.0.0.3"}],
        }))
        .unwrap();
        assert_eq!(bound.vif_type.as_deref(), Some("ovs"));
        assert_eq!(bound.fixed_ips[0].ip_address, "10.0.0.3");
    }
}
