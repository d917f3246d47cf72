//! Ports of Neutron become Nova's network_info (Nova: `_build_vif_model`). Four requests, however many ports.

use std::collections::BTreeSet;

use common::openstack::neutron::{self, FloatingIp, Neutron, Port};
use serde_json::{Value, json};

use super::Error;
use super::model::{NetworkInfo, Vif};

/// Nova cuts names of devices and bridges at this length (`NIC_NAME_LEN`).
const NIC_NAME_LEN: usize = 14;

/// Networks of these types live in tunnels (Nova: `L3_NETWORK_TYPES`).
const TUNNELS: [&str; 3] = ["vxlan", "gre", "geneve"];

/// What has to be known beside the ports.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    networks: Vec<neutron::Network>,
    subnets: Vec<neutron::Subnet>,
    floating_ips: Vec<FloatingIp>,
    /// Ports of Neutron's DHCP agents.
    dhcp: Vec<Port>,
}

impl Surroundings {
    /// Asks for the surroundings of these networks, and for the floating addresses of these ports.
    pub(super) async fn of(neutron: &Neutron, networks: &[&str], ports: &[&str]) -> Result<Self, Error> {
        let (networks, subnets, floating_ips, dhcp) = tokio::try_join!(
            neutron.networks_by_id(networks, <_>::default()),
            neutron.subnets_of(networks),
            neutron.floating_ips_of(ports),
            neutron.ports_by("network_id", networks, &[("device_owner", "network:dhcp")]),
        )?;
        Ok(Self { networks, subnets, floating_ips, dhcp })
    }
}

/// Describes ports in the order in which they are given. `preserved`: those that the user made.
///
/// # Errors
/// What Neutron says.
pub(super) async fn describe(
    neutron: &Neutron,
    ports: &[&Port],
    preserved: &BTreeSet<String>,
) -> Result<NetworkInfo, Error> {
    let networks: BTreeSet<&str> = ports.iter().map(|port| port.network_id.as_str()).collect();
    let networks: Vec<&str> = networks.into_iter().collect();
    let ids: Vec<&str> = ports.iter().map(|port| port.id.as_str()).collect();
    let around = Surroundings::of(neutron, &networks, &ids).await?;
    ports.iter().map(|port| vif(port, &around, preserved.contains(&port.id))).collect()
}

/// One port as Nova describes it; pure.
pub(super) fn vif(port: &Port, around: &Surroundings, preserved: bool) -> Result<Vif, Error> {
    let details = port.vif_details.clone().unwrap_or_default();
    let detail = |name: &str| details.get(name).and_then(Value::as_str);
    let kind = port.vif_type.as_deref();
    let bridge = match kind {
        Some("ovs") => Some(detail("bridge_name").unwrap_or("br-int").to_owned()),
        Some("bridge") => {
            Some(detail("bridge_name").map_or_else(|| format!("brq{}", port.network_id), str::to_owned))
        }
        _ => None,
    };
    let cut = |name: String| name.chars().take(NIC_NAME_LEN).collect::<String>();
    let network = around.networks.iter().find(|network| network.id == port.network_id);
    let (physical, tunneled) = network.map_or((None, false), segment);
    let vif = json!({
        "id": port.id,
        "address": port.mac_address,
        "network": {
            "id": port.network_id,
            "bridge": bridge.map(cut),
            "label": network.map(|network| &network.name),
            "subnets": subnets(port, around),
            "meta": {
                "injected": false,
                "tenant_id": network.map_or(&port.tenant_id, |network| &network.tenant_id),
                "mtu": network.and_then(|network| network.mtu),
                "physical_network": physical,
                "tunneled": tunneled,
            },
        },
        "type": kind,
        "details": details,
        "devname": cut(format!("tap{}", port.id)),
        "ovs_interfaceid": (kind == Some("ovs")).then_some(&port.id),
        "qbh_params": null,
        "qbg_params": null,
        "active": !port.admin_state_up || port.status == "ACTIVE",
        "vnic_type": port.vnic_type.as_deref().unwrap_or("normal"),
        "profile": port.profile.clone().unwrap_or_default(),
        "preserve_on_delete": preserved,
        "delegate_create": true,
        "meta": {},
    });
    serde_json::from_value(vif).map_err(|source| Error::Malformed { port: port.id.clone(), source })
}

/// The subnets of which the port has addresses, in the order of the addresses.
fn subnets(port: &Port, around: &Surroundings) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    let of_port = port.fixed_ips.iter().filter(|ip| seen.insert(&ip.subnet_id));
    let known = of_port.filter_map(|ip| around.subnets.iter().find(|subnet| subnet.id == ip.subnet_id));
    known.map(|subnet| describe_subnet(subnet, port, around)).collect()
}

fn describe_subnet(subnet: &neutron::Subnet, port: &Port, around: &Surroundings) -> Value {
    let mut meta = json!({"enable_dhcp": subnet.enable_dhcp});
    if let Some(mode) = &subnet.ipv6_address_mode {
        meta["ipv6_address_mode"] = json!(mode);
    }
    let served = around.dhcp.iter().flat_map(|port| &port.fixed_ips).find(|ip| ip.subnet_id == subnet.id);
    if let Some(server) = served {
        meta["dhcp_server"] = json!(server.ip_address);
    }
    let ips = port.fixed_ips.iter().filter(|ip| ip.subnet_id == subnet.id).map(|ip| {
        let leads_here = |floating: &&FloatingIp| {
            floating.port_id.as_ref() == Some(&port.id)
                && floating.fixed_ip_address.as_ref() == Some(&ip.ip_address)
        };
        let floating = around.floating_ips.iter().filter(leads_here);
        let floating: Vec<Value> =
            floating.map(|ip| address(Some(&ip.floating_ip_address), "floating")).collect();
        let mut fixed = address(Some(&ip.ip_address), "fixed");
        fixed["floating_ips"] = json!(floating);
        fixed
    });
    let routes = subnet.host_routes.iter().map(|route| {
        json!({"cidr": route.destination, "gateway": address(Some(&route.nexthop), "gateway"),
               "interface": null, "meta": {}})
    });
    json!({
        "cidr": subnet.cidr,
        "dns": subnet.dns_nameservers.iter().map(|dns| address(Some(dns), "dns")).collect::<Vec<_>>(),
        "gateway": address(subnet.gateway_ip.as_deref(), "gateway"),
        "ips": ips.collect::<Vec<_>>(),
        "routes": routes.collect::<Vec<_>>(),
        "version": version(&subnet.cidr),
        "meta": meta,
    })
}

/// An address as Nova writes it; the gateway of a subnet without one has neither address nor version.
fn address(address: Option<&str>, kind: &str) -> Value {
    json!({"address": address, "type": kind, "version": address.map(version), "meta": {}})
}

fn version(text: &str) -> u8 {
    if text.contains(':') { 6 } else { 4 }
}

/// The physical network, and whether it is a tunnel; of several segments the first that is physical.
fn segment(network: &neutron::Network) -> (Option<&str>, bool) {
    let physical = network.segments.iter().find_map(|segment| segment.physical_network.as_deref());
    match physical {
        Some(physical) => (Some(physical), false),
        None => {
            let tunneled = network.network_type.as_deref().is_some_and(|kind| TUNNELS.contains(&kind));
            (network.physical_network.as_deref(), tunneled)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: &str = "0aee7b3e-6f4d-4a3b-9c1e-1f2d3c4b5a69";

    fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn port() -> Port {
        read(json!({
            "id": PORT, "network_id": "n", "tenant_id": "t", "mac_address": "fa:16:3e:00:00:01", "status": "DOWN",
            "admin_state_up": true, "binding:vif_type": "ovs", "binding:vnic_type": "normal", "binding:profile": {},
            "binding:vif_details": {"bridge_name": "br-int", "datapath_type": "netdev"},
            "fixed_ips": [{"subnet_id": "s4", "ip_address": "10.0.0.7"}, {"subnet_id": "s6", "ip_address": "fd00::7"}],
        }))
    }

    fn around() -> Surroundings {
        Surroundings {
            networks: vec![read(json!({"id": "n", "name": "private", "tenant_id": "t", "mtu": 1442,
                "provider:network_type": "geneve", "provider:physical_network": null}))],
            subnets: vec![
                read(json!({"id": "s6", "network_id": "n", "cidr": "fd00::/64", "gateway_ip": null,
                    "enable_dhcp": true, "ipv6_address_mode": "slaac"})),
                read(json!({"id": "s4", "network_id": "n", "cidr": "10.0.0.0/24", "gateway_ip": "10.0.0.1",
                    "dns_nameservers": ["10.20.0.1"], "enable_dhcp": true,
                    "host_routes": [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.3"}]})),
            ],
            floating_ips: vec![read(
                json!({"floating_ip_address": "10.20.0.9", "fixed_ip_address": "10.0.0.7",
                "port_id": PORT}),
            )],
            dhcp: vec![read(json!({"id": "d", "network_id": "n",
                "fixed_ips": [{"subnet_id": "s4", "ip_address": "10.0.0.2"}]}))],
        }
    }

    #[test]
    fn a_port_is_described_as_nova_describes_it() {
        let ip =
            |address: &str, kind: &str| json!({"address": address, "type": kind, "version": 4, "meta": {}});
        let mut fixed = ip("10.0.0.7", "fixed");
        fixed["floating_ips"] = json!([ip("10.20.0.9", "floating")]);
        let expected = json!({
            "id": PORT, "address": "fa:16:3e:00:00:01", "type": "ovs", "devname": "tap0aee7b3e-6f",
            "ovs_interfaceid": PORT, "qbh_params": null, "qbg_params": null, "active": false, "vnic_type": "normal",
            "profile": {}, "preserve_on_delete": true, "delegate_create": true, "meta": {},
            "details": {"bridge_name": "br-int", "datapath_type": "netdev"},
            "network": {
                "id": "n", "bridge": "br-int", "label": "private",
                "meta": {"injected": false, "tenant_id": "t", "mtu": 1442, "physical_network": null, "tunneled": true},
                "subnets": [
                    {"cidr": "10.0.0.0/24", "dns": [ip("10.20.0.1", "dns")], "gateway": ip("10.0.0.1", "gateway"),
                     "ips": [fixed], "version": 4, "meta": {"enable_dhcp": true, "dhcp_server": "10.0.0.2"},
                     "routes": [{"cidr": "10.9.0.0/16", "gateway": ip("10.0.0.3", "gateway"), "interface": null,
                                 "meta": {}}]},
                    {"cidr": "fd00::/64", "dns": [], "routes": [], "version": 6,
                     "gateway": {"address": null, "type": "gateway", "version": null, "meta": {}},
                     "ips": [{"address": "fd00::7", "type": "fixed", "version": 6, "meta": {}, "floating_ips": []}],
                     "meta": {"enable_dhcp": true, "ipv6_address_mode": "slaac"}},
                ],
            },
        });
        let vif = vif(&port(), &around(), true).unwrap();
        assert_eq!(serde_json::to_value(vif).unwrap(), expected);
    }

    #[test]
    fn a_port_that_is_switched_off_is_not_waited_for() {
        let off = Port { admin_state_up: false, ..port() };
        assert!(vif(&off, &around(), false).unwrap().active);
        let plugged = Port { status: "ACTIVE".into(), ..port() };
        assert!(vif(&plugged, &around(), false).unwrap().active);
    }

    #[test]
    fn of_several_segments_the_physical_one_counts() {
        let network = read(json!({"id": "n", "segments": [{"provider:physical_network": null},
            {"provider:physical_network": "physnet1"}]}));
        assert_eq!(segment(&network), (Some("physnet1"), false));
    }

    #[test]
    fn a_bridge_without_a_name_is_neutron_s() {
        let bridged = Port { vif_type: Some("bridge".into()), vif_details: None, ..port() };
        let bridged = Port { network_id: "7d1f0f0e-9a1b-4d0e".into(), ..bridged };
        let vif = vif(&bridged, &around(), false).unwrap();
        assert_eq!(vif.network.bridge.as_deref(), Some("brq7d1f0f0e-9a"));
        assert_eq!(vif.ovs_interfaceid, None);
    }
}
