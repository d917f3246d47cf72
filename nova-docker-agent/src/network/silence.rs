//! NICs of a guest that stands still. Its processes are frozen, but its namespace is the kernel's, which would go on to answer
//! pings, ARP and TCP for it; a virtual machine that is paused says nothing.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use nix::errno::Errno;

use super::links::Error;
use super::netlink::Netlink;

/// The queueing discipline that drops all that is sent (net/sched/sch_blackhole.c).
const BLACKHOLE: &str = "blackhole";

/// Lets nothing out of a device of this thread's namespace, or everything again. Addresses, routes and the link's state stay
/// as they are, and the switch on the other side sees nothing: Neutron calls the port of a paused server ACTIVE, too. May be
/// repeated.
pub(super) fn set(index: u32, silent: bool) -> Result<(), Error> {
    let act = || {
        let mut message = TcMessage::with_index(index.cast_signed());
        message.header.parent = TcHandle::ROOT;
        let mut socket = Netlink::route()?;
        if silent {
            message.attributes.push(TcAttribute::Kind(BLACKHOLE.into()));
            return socket.act(Message::NewQueueDiscipline(message), NLM_F_CREATE | NLM_F_REPLACE);
        }
        match socket.act(Message::DelQueueDiscipline(message), 0) {
            // The kernel's own one cannot be taken away: it was not silent.
            Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => Ok(()),
            other => other,
        }
    };
    let what = if silent { "silence a device" } else { "let a device speak" };
    act().map_err(|source| Error::new(what, source))
}
