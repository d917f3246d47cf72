//! Plugs NICs into namespaces and switches, and takes them out again. Every step may be repeated.
//!
//! ```text
//!   guest's namespace          the agent's own
//!   eth0 (the port's MAC) ═veth═ tap<port> ── bridge of Open vSwitch (br-int), or of the kernel (brq…)
//! ```

use std::time::Instant;

use common::error_chain::Chain;
use common::ids::{InstanceUuid, PortId};
use common::shutdown::Shutdown;

use super::ethtool;
use super::links::{self, End, Link, Links, Namespace, blocking};
use super::ovs::{self, Address, Ovs};
use super::plan::{NicPlan, Switch, tap_name};
use super::silence;

/// First word of the alias that our devices carry (`ip link show` prints it).
const ALIAS: &str = "nova-docker-agent";

/// Why a NIC is not plugged. Nothing of it is left then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `[ovs] ovsdb_connection` cannot be read.
    #[error("{0} is no address of an OVSDB server: it must be unix:PATH or tcp:HOST:PORT")]
    Address(String),
    /// The port is to be plugged into Open vSwitch, and the operator said that there is none.
    #[error(
        "port {0} belongs to Open vSwitch, which this host does not have ([ovs] ovsdb_connection is empty)"
    )]
    NoOvs(PortId),
    /// Open vSwitch.
    #[error(transparent)]
    Ovs(#[from] ovs::Error),
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] links::Error),
}

/// A NIC of ours that is plugged here, wholly or in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Plugged {
    /// The port.
    pub port: PortId,
    /// Whose it is.
    pub instance: InstanceUuid,
    /// Both the device and the switch's port are there: false when the one was lost while the other stayed, and the NIC
    /// has to be plugged again.
    pub intact: bool,
}

/// The switches of this host. Cheap to clone; all clones share one connection to Open vSwitch.
#[derive(Debug, Clone)]
pub struct Wiring {
    ovs: Option<Ovs>,
}

impl Wiring {
    /// `ovsdb_connection`: `unix:PATH` or `tcp:HOST:PORT`, connected to when the first port needs it and again
    /// whenever it was lost; empty when the host has only bridges of the kernel. Switches and devices are those of the
    /// network namespace that the agent runs in.
    ///
    /// # Errors
    /// [`Error::Address`]
    pub fn new(ovsdb_connection: &str, life: &Shutdown) -> Result<Self, Error> {
        if ovsdb_connection.is_empty() {
            return Ok(Self { ovs: None });
        }
        let address: Address =
            ovsdb_connection.parse().map_err(|()| Error::Address(ovsdb_connection.to_owned()))?;
        Ok(Self { ovs: Some(Ovs::new(address, life.clone())) })
    }

    /// Whether the database of Open vSwitch can be talked to; none on a host that has only bridges of the kernel.
    pub async fn switch(&self) -> Option<Result<(), Error>> {
        Some(self.ovs.as_ref()?.check().await.map_err(Error::from))
    }

    /// Plugs a NIC into the network namespace of process `pid`. What an earlier attempt or an earlier life of the
    /// namespace left of it is unplugged first. After an error nothing is left.
    ///
    /// # Errors
    /// Each of [`Error`]
    pub async fn plug(&self, pid: u32, plan: &NicPlan) -> Result<(), Error> {
        let begun = Instant::now();
        let switched = match (plan.switch, &self.ovs) {
            (Switch::LinuxBridge, _) => None,
            (Switch::Ovs { .. }, Some(ovs)) => Some(ovs),
            (Switch::Ovs { .. }, None) => return Err(Error::NoOvs(plan.port)),
        };
        // In a transaction of its own that the switch has finished: it would keep the old device's dead socket.
        remove(switched, &plan.tap).await?;
        let plugged = Self::plug_anew(switched, pid, plan).await;
        if let Err(error) = &plugged {
            // What never heard of the port has nothing to forget.
            let told = switched.filter(|_| !matches!(error, Error::Ovs(ovs::Error::Unreachable { .. })));
            if let Err(error) = remove(told, &plan.tap).await {
                tracing::warn!(port = %plan.port, error = %Chain(&error), "a port that was not plugged leaves traces");
            }
        }
        tracing::debug!(port = %plan.port, instance_uuid = %plan.instance, ok = plugged.is_ok(),
                        milliseconds = begun.elapsed().as_millis(), "plugged");
        plugged
    }

    async fn plug_anew(switched: Option<&Ovs>, pid: u32, plan: &NicPlan) -> Result<(), Error> {
        let of_host = plan.clone();
        let namespace = blocking(move || make_devices(pid, &of_host)).await?;
        let of_guest = plan.clone();
        let guest = blocking(move || namespace.inside(|| furnish(&of_guest)));
        // The guest does not run yet, or knows nothing of the NIC: nobody cares which side is ready first.
        let switch = async {
            match switched {
                Some(ovs) => ovs.add_port(plan).await.map_err(Error::from),
                None => Ok(()),
            }
        };
        let (guest, switch) = tokio::join!(guest, switch);
        switch.and(guest.map_err(Error::from))
    }

    /// Unplugs the NIC of `port`; one that is not plugged is fine.
    ///
    /// # Errors
    /// When the kernel or Open vSwitch does not do it. The rest was unplugged all the same.
    pub async fn unplug(&self, port: PortId) -> Result<(), Error> {
        let tap = tap_name(port);
        let of_bridge = {
            let tap = tap.clone();
            blocking(move || Ok(Links::open()?.find(&tap)?.is_some_and(|link| link.alias.ends_with(BRIDGE))))
                .await?
        };
        // A host with bridges alone may have nobody who answers for Open vSwitch.
        remove(self.ovs.as_ref().filter(|_| !of_bridge), &tap).await
    }

    /// Keeps the NICs of ours that are in the network namespace of process `pid` silent, or lets them speak again: see
    /// [`super::silence`]. A NIC that is plugged anew speaks.
    ///
    /// # Errors
    /// When the namespace is gone, or the kernel refuses.
    pub async fn silence(&self, pid: u32, silent: bool) -> Result<(), Error> {
        let set = move || {
            let devices = Links::open()?.list()?;
            let mut ours = devices.iter().filter(|device| device.alias.starts_with(ALIAS));
            ours.try_for_each(|device| silence::set(device.index, silent))
        };
        Ok(blocking(move || Namespace::of(pid)?.inside(set)).await?)
    }

    /// Resolves when OVN has installed the flows of `port` (`ovn-installed`). Only ML2/OVN tells: give it a deadline.
    ///
    /// # Errors
    /// When Open vSwitch does not answer, or has no such port.
    pub async fn ready(&self, port: PortId) -> Result<(), Error> {
        let ovs = self.ovs.as_ref().ok_or(Error::NoOvs(port))?;
        Ok(ovs.installed(&tap_name(port)).await?)
    }

    /// What is plugged here of ours, for clean-up at start.
    ///
    /// # Errors
    /// When the kernel or Open vSwitch does not answer.
    pub async fn ports(&self) -> Result<Vec<Plugged>, Error> {
        let links = blocking(|| Links::open()?.list()).await?;
        let of_kernel: Vec<(Plugged, bool)> = links.iter().filter_map(plugged).collect();
        let of_switch = match &self.ovs {
            Some(ovs) => ovs.ports().await?,
            None => Vec::new(),
        };
        Ok(both(&of_kernel, &of_switch))
    }
}

/// Joins what the kernel has (true for a device in one of its own bridges) and what the switch has.
fn both(of_kernel: &[(Plugged, bool)], of_switch: &[Plugged]) -> Vec<Plugged> {
    let in_switch = |port| of_switch.iter().any(|other| other.port == port && other.intact);
    let has_device = |port| of_kernel.iter().any(|(other, _)| other.port == port);
    let devices = of_kernel
        .iter()
        .map(|(plugged, of_bridge)| Plugged { intact: *of_bridge || in_switch(plugged.port), ..*plugged });
    let ports = of_switch.iter().filter(|other| !has_device(other.port));
    devices.chain(ports.map(|plugged| Plugged { intact: false, ..*plugged })).collect()
}

/// Last word of the alias of a tap in a bridge of the kernel.
const BRIDGE: &str = "bridge";

fn alias(plan: &NicPlan) -> String {
    let kind = match plan.switch {
        Switch::Ovs { .. } => "ovs",
        Switch::LinuxBridge => BRIDGE,
    };
    format!("{ALIAS} {} {} {kind}", plan.port, plan.instance)
}

/// Reads what [`alias`] wrote; true for a tap in a bridge of the kernel.
fn plugged(link: &Link) -> Option<(Plugged, bool)> {
    let mut words = link.alias.strip_prefix(ALIAS)?.split_whitespace();
    let (port, instance) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some((Plugged { port, instance, intact: true }, words.next() == Some(BRIDGE)))
}

/// Takes a tap out of the switch, then away. Goes on after an error, and returns the first.
async fn remove(switched: Option<&Ovs>, tap: &str) -> Result<(), Error> {
    let switch = match switched {
        Some(ovs) => ovs.delete_port(tap).await.map(drop),
        None => Ok(()),
    };
    let tap = tap.to_owned();
    let kernel = blocking(move || Links::open()?.delete(&tap)).await;
    switch?;
    kernel?;
    Ok(())
}

/// Makes both devices, the guest's in its namespace, and readies the host's.
fn make_devices(pid: u32, plan: &NicPlan) -> Result<Namespace, links::Error> {
    let namespace = Namespace::of(pid)?;
    let mut links = Links::open()?;
    let far = End { name: &unnamed(plan), mac: Some(plan.mac) };
    links.add_veth(&End { name: &plan.tap, mac: None }, (&far, &namespace), plan.mtu)?;
    let tap = links.index(&plan.tap)?;
    links.describe(tap, &alias(plan))?;
    links.mute(tap)?;
    if plan.switch == Switch::LinuxBridge {
        let bridge = links.ensure_bridge(&plan.bridge)?;
        links.enslave(tap, bridge)?;
    }
    links.up(tap)?;
    Ok(namespace)
}

/// Name of the guest's device before it has one: no other port's can be the same.
fn unnamed(plan: &NicPlan) -> String {
    plan.tap.replacen("tap", "nic", 1)
}

/// Gives the device in the guest's namespace, which is the thread's, its name, addresses and routes.
fn furnish(plan: &NicPlan) -> Result<(), links::Error> {
    let mut links = Links::open()?;
    let nic = links.index(&unnamed(plan))?;
    let (mut devices, alias) = (links.list()?, alias(plan));
    // The port's NIC of before: its other end may be in a namespace that the kernel has not given up yet.
    for old in devices.extract_if(.., |device| device.alias == alias) {
        links.delete(&old.name)?;
    }
    let name = free_name(&plan.name, &devices);
    links.describe(nic, &alias)?;
    links.rename(nic, &name)?;
    if plan.switch == (Switch::Ovs { netdev: true }) {
        ethtool::checksums_in_software(&name)?;
    }
    let loopback = links.index("lo")?;
    links.up(loopback)?;
    if plan.addresses.iter().any(|address| address.addr().is_ipv6()) {
        links::enable_ipv6("lo")?;
        links::enable_ipv6(&name)?;
    }
    links.up(nic)?;
    for address in &plan.addresses {
        links.add_address(nic, *address)?;
    }
    for route in &plan.routes {
        links.add_route(nic, route)?;
    }
    Ok(())
}

/// The name that is wanted, or the first `ethN` that no device has (after a NIC in the middle was detached).
fn free_name(wanted: &str, devices: &[Link]) -> String {
    let is_free = |name: &String| devices.iter().all(|device| device.name != *name);
    let others = (0..=devices.len()).map(|number| format!("eth{number}"));
    std::iter::once(wanted.to_owned()).chain(others).find(is_free).unwrap_or_else(|| wanted.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str, alias: &str) -> Link {
        Link { index: 1, name: name.into(), alias: alias.into() }
    }

    #[test]
    fn a_taken_name_gives_way_to_the_first_free_one() {
        let devices: Vec<Link> = ["lo", "eth0", "eth2"].iter().map(|name| link(name, "")).collect();
        assert_eq!(free_name("eth3", &devices), "eth3");
        assert_eq!(free_name("eth2", &devices), "eth1");
        let full: Vec<Link> = (0..30).map(|number| link(&format!("eth{number}"), "")).collect();
        assert_eq!(free_name("eth3", &full), "eth30");
    }

    #[test]
    fn our_devices_are_known_by_their_alias() {
        let (port, instance) =
            ("9a4e1a1b-1c2d-4e5f-8a9b-0c1d2e3f4a5b", "2d206834-23ab-4b5d-a236-4608f438a9e2");
        let tap = |kind: &str| link("tap9a4e1a1b-1c", &format!("nova-docker-agent {port} {instance} {kind}"));
        let found =
            Plugged { port: port.parse().unwrap(), instance: instance.parse().unwrap(), intact: true };
        assert_eq!(plugged(&tap("ovs")), Some((found, false)));
        assert_eq!(plugged(&tap("bridge")), Some((found, true)));
        assert_eq!(plugged(&link("tap0", "")), None);
        assert_eq!(plugged(&link("tap0", "nova-docker-agent x y ovs")), None);

        let broken = Plugged { intact: false, ..found };
        assert_eq!(both(&[(found, true)], &[]), [found]);
        assert_eq!(both(&[(found, false)], &[found]), [found]);
        assert_eq!(both(&[(found, false)], &[broken]), [broken], "the switch cannot use the device");
        assert_eq!(both(&[(found, false)], &[]), [broken], "the switch forgot it");
        assert_eq!(both(&[], &[found]), [broken], "the device went with its namespace");
    }

    #[test]
    fn the_switch_s_address_is_checked_early() {
        let life = Shutdown::new();
        assert!(Wiring::new("", &life).is_ok());
        let error = Wiring::new("/run/db.sock", &life).unwrap_err().to_string();
        assert_eq!(
            error,
            "/run/db.sock is no address of an OVSDB server: it must be unix:PATH or tcp:HOST:PORT"
        );
    }
}
