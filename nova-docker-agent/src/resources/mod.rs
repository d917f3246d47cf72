//! What this host can give and has given (Nova: resource tracker and report client).

pub mod inventory;
pub mod provider;

pub use crate::virt::HostFacts;
pub use inventory::{Inventories, Inventory};
pub use provider::Provider;
