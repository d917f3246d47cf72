//! Devices, addresses and routes of the kernel: what a plan says, in the namespace where it is to be.
//!
//! Everything here blocks for the microseconds that the kernel takes, and works on the namespace of its thread.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use ipnet::IpNet;
use netlink_packet_core::{DefaultNla, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use nix::errno::Errno;

use super::netlink::{Netlink, attributes, nest};
use super::plan::{Mac, Route};

/// Why the kernel did not do it.
#[derive(Debug, thiserror::Error)]
#[error("the kernel does not {what}")]
pub struct Error {
    /// What was to be done ("make the device tap0").
    what: String,
    /// Its answer.
    #[source]
    source: io::Error,
}

impl Error {
    pub(super) fn new(what: impl Into<String>, source: io::Error) -> Self {
        Self { what: what.into(), source }
    }
}

/// Does kernel work where it stops no task.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| Err(Error::new("come to be asked", io::Error::other(panic))))
}

/// A network namespace, kept alive while this is.
#[derive(Debug)]
pub(super) struct Namespace(File);

impl Namespace {
    /// The namespace of a process.
    pub(super) fn of(pid: u32) -> Result<Self, Error> {
        let path = format!("/proc/{pid}/ns/net");
        let failed = |source| Error::new(format!("give access to the network namespace {path}"), source);
        let opened = Self(File::open(&path).map_err(failed)?);
        // A guest on the host's own network would get its addresses there.
        let own = std::fs::metadata("/proc/thread-self/ns/net").map_err(failed)?;
        let its = opened.0.metadata().map_err(failed)?;
        if (own.dev(), own.ino()) == (its.dev(), its.ino()) {
            return Err(failed(io::Error::other("it is the agent's own")));
        }
        Ok(opened)
    }

    /// A new namespace with nothing in it. It has no name: when this is dropped and all who are inside are gone, it ends.
    pub(super) fn new() -> Result<Self, Error> {
        let made = on_a_thread(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).map_err(io::Error::from)?;
            File::open("/proc/thread-self/ns/net")
        });
        made.map(Self).map_err(|source| Error::new("make a network namespace", source))
    }

    /// Does `work` inside, on a thread of its own.
    pub(super) fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
        let done = on_a_thread(|| {
            nix::sched::setns(&self.0, nix::sched::CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        });
        done.map_err(|source| Error::new("let the agent into a network namespace", source))?
    }
}

/// Runs `work` on a new thread, whose namespace ends with it.
fn on_a_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".into()).stack_size(256 * 1024);
        let thread = thread.spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace failed")))
    })
}

/// A device as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    /// What its maker wrote on it (`ip link set … alias`).
    pub(super) alias: String,
}

/// One end of a pair of devices that does not exist yet.
pub(super) struct End<'a> {
    pub(super) name: &'a str,
    /// The kernel's choice when absent.
    pub(super) mac: Option<Mac>,
}

/// Devices, addresses and routes of one namespace: that of the thread which opened it.
pub(super) struct Links(Netlink);

impl Links {
    pub(super) fn open() -> Result<Self, Error> {
        Netlink::route().map(Self).map_err(|source| Error::new("open a netlink socket", source))
    }

    fn act(&mut self, what: impl Fn() -> String, message: Message, flags: u16) -> Result<(), Error> {
        self.0.act(message, flags).map_err(|source| Error::new(what(), source))
    }

    /// Makes a pair of devices: `near` in this namespace, `far` in another.
    pub(super) fn add_veth(
        &mut self,
        near: &End<'_>,
        far: (&End<'_>, &Namespace),
        mtu: u32,
    ) -> Result<(), Error> {
        let (end, namespace) = far;
        let mut peer = of_end(end, mtu);
        peer.attributes.push(LinkAttribute::NetNsFd(namespace.0.as_raw_fd()));
        let mut message = of_end(near, mtu);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        let what = || format!("make the devices {} and {}", near.name, end.name);
        self.act(what, Message::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Makes a bridge if there is none of that name; as with os-vif it has no IPv6 address.
    pub(super) fn ensure_bridge(&mut self, name: &str) -> Result<u32, Error> {
        if let Some(found) = self.find(name)? {
            return Ok(found.index);
        }
        let mut message = of_name(name);
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
        let made = self.0.act(Message::NewLink(message), NLM_F_CREATE | NLM_F_EXCL);
        // Another instance may have made it meanwhile.
        if let Err(source) = made.or_else(fine_if(Errno::EEXIST as i32)) {
            return Err(Error::new(format!("make the bridge {name}"), source));
        }
        let index = self.index(name)?;
        self.configure(index, &[])?;
        self.up(index)?;
        Ok(index)
    }

    /// Deletes a device and its other end; false when there was none.
    pub(super) fn delete(&mut self, name: &str) -> Result<bool, Error> {
        match self.0.act(Message::DelLink(of_name(name)), 0) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => Ok(false),
            Err(source) => Err(Error::new(format!("delete the device {name}"), source)),
        }
    }

    /// All devices.
    pub(super) fn list(&mut self) -> Result<Vec<Link>, Error> {
        let answers = self.0.dump(Message::GetLink(LinkMessage::default()));
        let answers = answers.map_err(|source| Error::new("list its devices", source))?;
        Ok(answers.iter().filter_map(|answer| link(answer)).collect())
    }

    /// The device of that name.
    pub(super) fn find(&mut self, name: &str) -> Result<Option<Link>, Error> {
        Ok(self.list()?.into_iter().find(|link| link.name == name))
    }

    /// Number of the device of that name.
    pub(super) fn index(&mut self, name: &str) -> Result<u32, Error> {
        let absent = || Error::new(format!("have the device {name}"), io::ErrorKind::NotFound.into());
        Ok(self.find(name)?.ok_or_else(absent)?.index)
    }

    /// Renames a device that is down.
    pub(super) fn rename(&mut self, index: u32, name: &str) -> Result<(), Error> {
        let mut message = of_index(index);
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.act(|| format!("name a device {name}"), Message::SetLink(message), 0)
    }

    /// Writes on a device what it is.
    pub(super) fn describe(&mut self, index: u32, alias: &str) -> Result<(), Error> {
        let mut message = of_index(index);
        message.attributes.push(LinkAttribute::IfAlias(alias.to_owned()));
        self.act(|| "write on a device what it is".into(), Message::SetLink(message), 0)
    }

    /// Brings a device up.
    pub(super) fn up(&mut self, index: u32) -> Result<(), Error> {
        let mut message = of_index(index);
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.act(|| "bring a device up".into(), Message::SetLink(message), 0)
    }

    /// Plugs a device into a bridge.
    pub(super) fn enslave(&mut self, index: u32, bridge: u32) -> Result<(), Error> {
        let mut message = of_index(index);
        message.attributes.push(LinkAttribute::Controller(bridge));
        self.act(|| "plug a device into a bridge".into(), Message::SetLink(message), 0)
    }

    /// Keeps this namespace's own IP stack away from a device that is there for a switch: it answers no ARP, takes and
    /// forwards no packet that comes in there, and has no IPv6 address on it. Without this a guest whose frames are
    /// addressed to the device itself would reach what listens here, and past it, whatever its security groups say.
    pub(super) fn mute(&mut self, index: u32) -> Result<(), Error> {
        use inet::{ARP_IGNORE, FORWARDING, RP_FILTER};
        // No route leads to the device, so the strict filter on sources drops all.
        self.configure(index, &[(FORWARDING, 0), (RP_FILTER, 1), (ARP_IGNORE, 8)])
    }

    /// Sets `net.ipv4.conf.<device>` values, and that the kernel gives the device no IPv6 address.
    pub(super) fn configure(&mut self, index: u32, values: &[(u16, u32)]) -> Result<(), Error> {
        let values: Vec<DefaultNla> =
            values.iter().map(|(kind, value)| DefaultNla::new(*kind, value.to_ne_bytes().into())).collect();
        let v4 = nest(inet::AF_INET, &[nest(inet::IFLA_INET_CONF, &values)]);
        let no_address = DefaultNla::new(inet::IFLA_INET6_ADDR_GEN_MODE, vec![inet::ADDR_GEN_MODE_NONE]);
        let what = || "set up how a device treats packets".to_owned();
        let set = |families: &[DefaultNla]| {
            let mut message = of_index(index);
            message.attributes.push(LinkAttribute::Other(nest(inet::IFLA_AF_SPEC, families)));
            Message::SetLink(message)
        };
        if !values.is_empty() {
            self.act(what, set(&[v4]), 0)?;
        }
        // A kernel without IPv6 has nothing to set.
        let v6 = self.0.act(set(&[nest(inet::AF_INET6, &[no_address])]), 0);
        v6.or_else(fine_if(Errno::EAFNOSUPPORT as i32)).map_err(|source| Error::new(what(), source))
    }

    /// Adds an address. An IPv6 one can be used at once: Neutron has seen to it that nobody else has it.
    pub(super) fn add_address(&mut self, index: u32, address: IpNet) -> Result<(), Error> {
        let mut message = AddressMessage::default();
        message.header.family = family(address.addr());
        message.header.prefix_len = address.prefix_len();
        message.header.scope = AddressScope::Universe;
        message.header.index = index;
        message.attributes.push(AddressAttribute::Address(address.addr()));
        message.attributes.push(AddressAttribute::Local(address.addr()));
        match address {
            IpNet::V4(address) if address.prefix_len() < 31 => {
                message.attributes.push(AddressAttribute::Broadcast(address.broadcast()));
            }
            IpNet::V4(_) => {}
            IpNet::V6(_) => message.header.flags = AddressHeaderFlags::Nodad,
        }
        let what = || format!("set the address {address}");
        self.act(what, Message::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Adds a route behind those that are there already. `source`: the address that packets there get.
    pub(super) fn add_route(&mut self, index: u32, route: &Route) -> Result<(), Error> {
        let mut message = of_route(index, route);
        if route.to.prefix_len() == 0 && route.to.addr().is_ipv6() {
            // Goes before what routers announce, whose metric is 1024.
            message.attributes.push(RouteAttribute::Priority(512));
        }
        let added = self.0.act(Message::NewRoute(message), NLM_F_CREATE | NLM_F_APPEND);
        added.or_else(fine_if(Errno::EEXIST as i32)).map_err(|source| {
            let via = route.via.map(|via| format!(" via {via}")).unwrap_or_default();
            Error::new(format!("set the route to {}{via}", route.to), source)
        })
    }

    /// Adds a route to one address on the link, before all others to it.
    pub(super) fn add_first_route(
        &mut self,
        index: u32,
        to: Ipv4Addr,
        source: Option<Ipv4Addr>,
    ) -> Result<(), Error> {
        let mut message = of_route(index, &Route { to: IpNet::from(IpAddr::from(to)), via: None });
        message
            .attributes
            .extend(source.map(|source| RouteAttribute::PrefSource(RouteAddress::Inet(source))));
        self.act(|| format!("set the route to {to}"), Message::NewRoute(message), NLM_F_CREATE)
    }
}

/// Turns IPv6 on for a device of this thread's namespace, where Docker has turned it off.
pub(super) fn enable_ipv6(device: &str) -> Result<(), Error> {
    // Which namespace this file speaks of is decided by the thread that opens it.
    let path = format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6");
    let enable = || match std::fs::read_to_string(&path)?.trim() {
        "0" => Ok(()),
        _ => std::fs::write(&path, "0"),
    };
    enable().map_err(|source| Error::new(format!("turn on IPv6 for {device} ({path})"), source))
}

/// Sees to it that the strict filter on sources of single devices (`rp_filter` 1) is not loosened for all of this thread's
/// namespace, which begins with the host's setting (systemd's is 2).
pub(super) fn check_sources_strictly() {
    const PATH: &str = "/proc/sys/net/ipv4/conf/all/rp_filter";
    let strict = || match std::fs::read_to_string(PATH)?.trim() {
        "0" | "1" => Ok(()),
        _ => std::fs::write(PATH, "1"),
    };
    if let Err(error) = strict() {
        // TCP's handshake still keeps a guest from asking as another one: it does not see the answers.
        tracing::warn!(%error, "the sources of requests for metadata are checked loosely: cannot write {PATH}");
    }
}

fn of_name(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

fn of_index(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

fn of_end(end: &End<'_>, mtu: u32) -> LinkMessage {
    let mut message = of_name(end.name);
    message.attributes.push(LinkAttribute::Mtu(mtu));
    message.attributes.extend(end.mac.map(|mac| LinkAttribute::Address(mac.0.into())));
    message
}

fn of_route(index: u32, route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(route.to.addr());
    message.header.destination_prefix_length = route.to.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.kind = RouteType::Unicast;
    message.header.scope = if route.via.is_some() { RouteScope::Universe } else { RouteScope::Link };
    if route.to.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(route.to.addr().into()));
    }
    message.attributes.extend(route.via.map(|via| RouteAttribute::Gateway(via.into())));
    message.attributes.push(RouteAttribute::Oif(index));
    message
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// Reads one message of a dump of devices: `struct ifinfomsg`, then attributes.
fn link(message: &[u8]) -> Option<Link> {
    const IFINFOMSG: usize = 16;
    let index = u32::from_ne_bytes(message.get(4..8)?.try_into().ok()?);
    let attributes = attributes(message.get(IFINFOMSG..)?);
    let text = |kind| {
        let (_, value) = attributes.iter().find(|(found, _)| *found == kind)?;
        Some(String::from_utf8_lossy(value).trim_end_matches('\0').to_owned())
    };
    Some(Link { index, name: text(inet::IFLA_IFNAME)?, alias: text(inet::IFLA_IFALIAS).unwrap_or_default() })
}

fn fine_if(errno: i32) -> impl Fn(io::Error) -> io::Result<()> {
    move |error| if error.raw_os_error() == Some(errno) { Ok(()) } else { Err(error) }
}

/// Numbers of the kernel's headers (linux/if_link.h, linux/ip.h).
pub(super) mod inet {
    pub(super) const IFLA_IFNAME: u16 = 3;
    pub(super) const IFLA_IFALIAS: u16 = 20;
    pub(super) const IFLA_AF_SPEC: u16 = 26;
    pub(super) const AF_INET: u16 = 2;
    pub(super) const AF_INET6: u16 = 10;
    pub(super) const IFLA_INET_CONF: u16 = 1;
    pub(super) const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
    pub(super) const ADDR_GEN_MODE_NONE: u8 = 1;
    /// `forwarding`
    pub(in crate::network) const FORWARDING: u16 = 1;
    /// `rp_filter`
    pub(in crate::network) const RP_FILTER: u16 = 8;
    /// `arp_ignore`
    pub(in crate::network) const ARP_IGNORE: u16 = 19;
}
