//! What this host can give and has given (Nova: resource tracker and report client).

mod cpu_traits;
pub mod inventory;
pub mod provider;
mod report;
pub mod tracker;
mod usage;

pub use common::openstack::placement::{Allocations, Inventories, Inventory};
pub use provider::Provider;
pub use report::{Amount, InstanceReport};
pub use tracker::Tracker;

pub use crate::virt::HostFacts;
