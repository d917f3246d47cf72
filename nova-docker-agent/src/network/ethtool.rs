//! One message of the kernel's ethtool family (linux/ethtool_netlink.h).

use netlink_packet_core::DefaultNla;

use super::links::Error;
use super::netlink::{Netlink, nest};

const VERSION: u8 = 1;
const MSG_FEATURES_SET: u8 = 12;
const A_HEADER_DEV_NAME: u16 = 2;
const A_HEADER_FLAGS: u16 = 3;
const FLAG_OMIT_REPLY: u32 = 2;
const A_FEATURES_HEADER: u16 = 1;
const A_FEATURES_WANTED: u16 = 3;
const A_BITSET_BITS: u16 = 3;
const A_BITSET_BIT: u16 = 1;
const A_BITSET_BIT_NAME: u16 = 2;

/// Has senders on this namespace's device fill in all checksums (`ethtool -K <device> tx off`): a switch in user space
/// passes frames on as they come, and TCP would drop those whose checksum was left to a NIC.
pub(super) fn checksums_in_software(device: &str) -> Result<(), Error> {
    let text = |kind, text: &str| DefaultNla::new(kind, text.bytes().chain([0]).collect());
    // A bit that is named without its value flag is to be off.
    let bits: Vec<DefaultNla> = ["tx-checksum-ip-generic", "tx-checksum-sctp"]
        .iter()
        .map(|name| nest(A_BITSET_BIT, &[text(A_BITSET_BIT_NAME, name)]))
        .collect();
    let omit = DefaultNla::new(A_HEADER_FLAGS, FLAG_OMIT_REPLY.to_ne_bytes().into());
    let header = nest(A_FEATURES_HEADER, &[text(A_HEADER_DEV_NAME, device), omit]);
    let wanted = nest(A_FEATURES_WANTED, &[nest(A_BITSET_BITS, &bits)]);
    let set = || {
        let mut socket = Netlink::generic()?;
        let family = socket.family("ethtool")?;
        socket.command(family, (MSG_FEATURES_SET, VERSION), &[header, wanted])
    };
    set().map_err(|source| Error::new(format!("turn off the checksum offload of {device}"), source))
}
