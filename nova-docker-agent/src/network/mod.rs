//! The NICs of instances (Nova: `nova.network`, os-vif).
//!
//! ```text
//! request.rs what is asked for ──► ports.rs: Neutron ──► describe.rs: its ports as ▼      events.rs: its word to us
//! model.rs   Nova's network_info ──► plan.rs (pure): what the kernel and the switch shall be told
//!                                 └► guest.rs (pure): host name, DNS and hosts file of the guest
//! wiring.rs  plug, unplug ──► links.rs: the kernel, by netlink.rs and ethtool.rs, in the right namespace    ovs/: OVSDB
//!            silence   ──► silence.rs: the kernel, for frozen guests
//! metadata/  169.254.169.254 in every instance's namespace ──► nova-metadata
//! ```
//! Direction of imports: `wiring → {links, ovs} → plan → model`; `metadata → links`.

mod describe;
mod error;
mod ethtool;
pub mod events;
pub mod guest;
pub mod links;
pub mod metadata;
pub mod model;
mod netlink;
pub mod ovs;
pub mod plan;
mod ports;
pub mod request;
mod silence;
pub mod wiring;

pub use error::Error;
pub use events::Events;
pub use ports::{Owner, Ports};
