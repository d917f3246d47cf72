//! A small synchronous netlink socket (rtnetlink(7), and one message of ethtool's).
//!
//! Synchronous because a network namespace is a property of the thread: the socket belongs to the namespace in which
//! its thread was when it was opened, and all its work is a few messages of microseconds.

use std::io;

use netlink_packet_core::{
    DefaultNla, Emitable, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::{NETLINK_GENERIC, NETLINK_ROUTE};
use netlink_sys::{Socket, SocketAddr};

/// Length of a netlink header, and of a generic netlink header after it.
const HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;

/// Message types of the core (netlink(7)).
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// genetlink: its own family, and how to ask it for the number of another (linux/genetlink.h).
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// Marks an attribute that holds attributes.
const NLA_F_NESTED: u16 = 0x8000;

/// A socket in the namespace of the thread that opens it.
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// For devices, addresses and routes.
    pub(super) fn route() -> io::Result<Self> {
        Self::open(NETLINK_ROUTE)
    }

    /// For generic netlink.
    pub(super) fn generic() -> io::Result<Self> {
        Self::open(NETLINK_GENERIC)
    }

    fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Has the kernel do something. `flags`: `NLM_F_CREATE` and the like.
    pub(super) fn act(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.ask(message, NLM_F_ACK | flags).map(drop)
    }

    /// All of the kernel's answer to a dump: messages without their netlink headers.
    pub(super) fn dump(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<Vec<u8>>> {
        self.ask(message, NLM_F_DUMP)
    }

    fn ask(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<Vec<u8>>> {
        let mut payload = vec![0; Emitable::buffer_len(&message)];
        message.emit(&mut payload);
        self.exchange(message.message_type(), flags, &payload)
    }

    /// The number of a generic netlink family.
    pub(super) fn family(&mut self, name: &str) -> io::Result<u16> {
        let mut text = name.as_bytes().to_vec();
        text.push(0);
        let ask = generic(CTRL_CMD_GETFAMILY, 1, &[DefaultNla::new(CTRL_ATTR_FAMILY_NAME, text)]);
        let answers = self.exchange(GENL_ID_CTRL, NLM_F_ACK, &ask)?;
        let id = answers.iter().find_map(|answer| {
            let attributes = attributes(answer.get(GENERIC_HEADER..)?);
            attributes
                .into_iter()
                .find(|(kind, _)| *kind == CTRL_ATTR_FAMILY_ID)?
                .1
                .try_into()
                .ok()
                .map(u16::from_ne_bytes)
        });
        id.ok_or_else(|| io::Error::other(format!("the kernel has no netlink family {name}")))
    }

    /// Has a generic netlink family do something.
    pub(super) fn command(
        &mut self,
        family: u16,
        (command, version): (u8, u8),
        attributes: &[DefaultNla],
    ) -> io::Result<()> {
        self.exchange(family, NLM_F_ACK, &generic(command, version, attributes)).map(drop)
    }

    /// Sends one message and collects whole answers until the kernel says that it is through, or why it is not.
    fn exchange(&mut self, kind: u16, flags: u16, payload: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.length = u32::try_from(HEADER + payload.len()).map_err(io::Error::other)?;
        header.message_type = kind;
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut bytes = vec![0; HEADER];
        header.emit(&mut bytes);
        bytes.extend_from_slice(payload);
        self.socket.send(&bytes, 0)?;

        let mut answers = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            let mut rest = datagram.as_slice();
            while let Some((message, after)) = first_message(rest) {
                rest = after;
                let field = |at: usize| {
                    message.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes)
                };
                if field(8) != Some(self.sequence.cast_signed()) {
                    continue;
                }
                match u16::from_ne_bytes([message[4], message[5]]) {
                    NLMSG_ERROR | NLMSG_DONE => match field(HEADER).unwrap_or(0) {
                        0 => return Ok(answers),
                        code => return Err(io::Error::from_raw_os_error(-code)),
                    },
                    _ => answers.push(message[HEADER..].to_vec()),
                }
            }
        }
    }
}

/// Cuts the first message off; messages begin at multiples of four bytes.
fn first_message(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
    let length = usize::try_from(length).ok().filter(|length| *length >= HEADER)?;
    let message = bytes.get(..length)?;
    Some((message, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// Kinds and values of the attributes in `bytes`, as far as they can be read.
pub(super) fn attributes(bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let found = NlasIterator::new(bytes).map_while(Result::ok);
    found
        .filter_map(|found| Some((found.kind(), found.into_inner().get(4..usize::from(found.length()))?)))
        .collect()
}

fn generic(command: u8, version: u8, attributes: &[DefaultNla]) -> Vec<u8> {
    let mut bytes = vec![command, version, 0, 0];
    bytes.extend(emitted(attributes));
    bytes
}

/// An attribute that holds `attributes`.
pub(super) fn nest(kind: u16, attributes: &[DefaultNla]) -> DefaultNla {
    DefaultNla::new(kind | NLA_F_NESTED, emitted(attributes))
}

fn emitted(attributes: &[DefaultNla]) -> Vec<u8> {
    let mut bytes = vec![0; attributes.buffer_len()];
    attributes.emit(&mut bytes);
    bytes
}
