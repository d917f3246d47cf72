//! Decides what the kernel and the switch shall be told of one NIC. Pure; golden-tested.

use std::fmt;
use std::net::IpAddr;

use common::ids::{InstanceUuid, PortId};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::Value;

use super::model::{Subnet, Vif};

/// Bytes, when Neutron does not tell.
const USUAL_MTU: u32 = 1500;

/// Why a port cannot become a NIC.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Neutron could not bind the port (Nova: `PortBindingFailed`).
    #[error("Binding failed for port {port}, please check neutron logs for more information.")]
    BindingFailed {
        /// The port.
        port: PortId,
    },
    /// Nobody asked Neutron to bind the port to this host, so it says nothing of how to plug it.
    #[error("port {port} is not bound to this host (vif_type {kind}): it cannot be plugged")]
    Unbound {
        /// The port.
        port: PortId,
        /// `binding:vif_type`, or `none`.
        kind: String,
    },
    /// Neutron wants a way of plugging that a container cannot have, or that this agent does not know.
    #[error("port {port} cannot be plugged: {reason}")]
    Unsupported {
        /// The port.
        port: PortId,
        /// Why, as a clause.
        reason: String,
    },
    /// What Neutron says of the port makes no sense.
    #[error("what Neutron says of port {port} cannot be used: {problem}")]
    Malformed {
        /// The port.
        port: PortId,
        /// What is wrong.
        problem: String,
    },
}

/// A MAC address; written in lower case with colons.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Everything about one NIC; plugging it needs no other input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NicPlan {
    /// The port.
    pub port: PortId,
    /// Whose it is.
    pub instance: InstanceUuid,
    /// Device on the host's side (`tap` and 11 characters of the port).
    pub tap: String,
    /// The guest's device; the next free `ethN` if it has one of that name already.
    pub name: String,
    /// Its MAC address.
    pub mac: Mac,
    /// Bytes.
    pub mtu: u32,
    /// Addresses, each with the length of its subnet's prefix.
    pub addresses: Vec<IpNet>,
    /// Routes, in the order in which they can be set.
    pub routes: Vec<Route>,
    /// The switch or bridge to plug into.
    pub bridge: String,
    /// Of which kind that is.
    pub switch: Switch,
}

/// A route of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where to; `0.0.0.0/0` for the default route.
    pub to: IpNet,
    /// Through whom; on the link itself when absent.
    pub via: Option<IpAddr>,
}

/// What the host's side of a NIC is plugged into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// Open vSwitch.
    Ovs {
        /// Its datapath is in user space (`datapath_type` netdev): it cannot fill in checksums that a NIC left out.
        netdev: bool,
    },
    /// A bridge of the kernel, made if it is absent (os-vif's `linux_bridge`).
    LinuxBridge,
}

/// Every NIC of `instance`, in the order of its network_info.
///
/// # Errors
/// As [`nic_plan`], for the first port that cannot be plugged.
pub fn nic_plans(instance: InstanceUuid, network_info: &[Vif]) -> Result<Vec<NicPlan>, Error> {
    network_info
        .iter()
        .enumerate()
        .map(|(index, vif)| nic_plan(instance, vif, index, &network_info[..index]))
        .collect()
}

/// The NIC of one port: the `index`th of its instance, whose NICs before it are `earlier`. (Of several NICs with a
/// gateway only the first gets the default route, as in cloud-init.)
///
/// # Errors
/// Each of [`Error`]: the port cannot be plugged, and to try again without asking Neutron is useless.
pub fn nic_plan(instance: InstanceUuid, vif: &Vif, index: usize, earlier: &[Vif]) -> Result<NicPlan, Error> {
    let (bridge, switch) = switch(vif)?;
    Ok(NicPlan {
        port: vif.id,
        instance,
        tap: tap_name(vif.id),
        name: format!("eth{index}"),
        mac: mac(vif)?,
        mtu: mtu(vif),
        addresses: addresses(vif)?,
        routes: routes(vif, earlier),
        bridge,
        switch,
    })
}

/// Name of the host's side of a port, as Nova and Neutron's agents know it: 14 characters of the kernel's 15.
pub fn tap_name(port: PortId) -> String {
    let id = port.to_string();
    format!("tap{}", &id[..11])
}

/// Where the port is plugged into, by `binding:vif_type`.
fn switch(vif: &Vif) -> Result<(String, Switch), Error> {
    let port = vif.id;
    let unsupported = |reason: String| Error::Unsupported { port, reason };
    let detail = |name: &str| vif.details.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let kind = vif.kind.as_deref().unwrap_or("none");
    if let Some(vnic) = vif.vnic_type.as_deref().filter(|vnic| *vnic != "normal") {
        return Err(unsupported(format!("its vnic_type is {vnic}, but a container takes only normal")));
    }
    match kind {
        "ovs" if vif.details.get("ovs_hybrid_plug") == Some(&Value::Bool(true)) => Err(unsupported(
            "its network wants hybrid plugging: give Neutron's agent on this host firewall_driver = openvswitch".into(),
        )),
        "ovs" => {
            let bridge = detail("bridge_name").or(vif.network.bridge.as_deref()).unwrap_or("br-int");
            Ok((bridge.to_owned(), Switch::Ovs { netdev: detail("datapath_type") == Some("netdev") }))
        }
        "bridge" => {
            let named = detail("bridge_name").or(vif.network.bridge.as_deref()).map(str::to_owned);
            let usual = || format!("brq{}", vif.network.id.chars().take(11).collect::<String>());
            Ok((named.unwrap_or_else(usual), Switch::LinuxBridge))
        }
        "binding_failed" => Err(Error::BindingFailed { port }),
        "unbound" | "none" => Err(Error::Unbound { port, kind: kind.to_owned() }),
        other => Err(unsupported(format!("its vif_type is {other}, but this host plugs only ovs and bridge"))),
    }
}

fn mac(vif: &Vif) -> Result<Mac, Error> {
    let bytes: Option<Vec<u8>> = vif
        .address
        .split(':')
        .map(|part| u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2))
        .collect();
    bytes.and_then(|bytes| bytes.try_into().ok()).map(Mac).ok_or_else(|| Error::Malformed {
        port: vif.id,
        problem: format!("its MAC address is {:?}", vif.address),
    })
}

fn mtu(vif: &Vif) -> u32 {
    let told = vif.network.meta.get("mtu").and_then(Value::as_u64).and_then(|mtu| u32::try_from(mtu).ok());
    told.filter(|mtu| *mtu > 0).unwrap_or(USUAL_MTU)
}

/// All addresses that Neutron fixed, those of SLAAC subnets, too: they are what the port's security lets pass, and the
/// guest has them at once. (The kernel listens to routers all the same, for subnets whose gateway only they know.)
fn addresses(vif: &Vif) -> Result<Vec<IpNet>, Error> {
    let mut addresses = Vec::new();
    for subnet in &vif.network.subnets {
        for ip in &subnet.ips {
            let address = IpNet::new(ip.address, subnet.cidr.prefix_len()).ok();
            let of_subnet = address.filter(|_| subnet.cidr.contains(&ip.address));
            addresses.push(of_subnet.ok_or_else(|| Error::Malformed {
                port: vif.id,
                problem: format!("its address {} is not one of subnet {}", ip.address, subnet.cidr),
            })?);
        }
    }
    Ok(addresses)
}

/// Host routes of the subnets and the default routes that no earlier NIC has.
fn routes(vif: &Vif, earlier: &[Vif]) -> Vec<Route> {
    let mut routes = Vec::new();
    // Without an address the kernel has no route to a gateway.
    for subnet in vif.network.subnets.iter().filter(|subnet| !subnet.ips.is_empty()) {
        let is_v6 = |subnet: &Subnet| subnet.cidr.addr().is_ipv6();
        let is_first = earlier
            .iter()
            .chain([vif])
            .flat_map(|vif| &vif.network.subnets)
            .find(|other| is_v6(other) == is_v6(subnet) && default_gateway(other).is_some())
            .is_some_and(|first| std::ptr::eq(first, subnet));
        let defaults =
            default_gateway(subnet).filter(|_| is_first).map(|via| (default_route(via), Some(via)));
        let host = subnet.routes.iter().filter(|route| route.cidr.prefix_len() > 0).map(|route| {
            let via = route.gateway.as_ref().and_then(|gateway| gateway.address);
            (route.cidr.trunc(), via.filter(|via| !via.is_unspecified()))
        });
        for (to, via) in host.chain(defaults) {
            // A gateway outside the subnet is on the link all the same, if it is anywhere.
            if let Some(via) = via.filter(|via| !subnet.cidr.contains(via) && !is_link_local(*via)) {
                routes.push(Route { to: IpNet::from(via), via: None });
            }
            routes.push(Route { to, via });
        }
    }
    let mut seen = Vec::new();
    routes.retain(|route| {
        !seen.contains(route) && {
            seen.push(route.clone());
            true
        }
    });
    routes
}

/// A default route among the host routes goes before the gateway, as with DHCP (RFC 3442).
fn default_gateway(subnet: &Subnet) -> Option<IpAddr> {
    let of_routes =
        subnet.routes.iter().find(|route| route.cidr.prefix_len() == 0).map(|route| &route.gateway);
    of_routes.unwrap_or(&subnet.gateway).as_ref()?.address
}

fn default_route(via: IpAddr) -> IpNet {
    match via {
        IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
        IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

#[cfg(test)]
mod tests;
