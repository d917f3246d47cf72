//! Host facts and options become inventories and traits; pure (Nova: `update_provider_tree`).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::HostFacts;
use crate::config::Config;

/// One resource class of a provider, as placement writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// What there is.
    pub total: u64,
    /// Kept from instances.
    pub reserved: u64,
    /// Smallest amount of one allocation.
    pub min_unit: u64,
    /// Largest amount of one allocation.
    pub max_unit: u64,
    /// Amounts are multiples of this.
    pub step_size: u64,
    /// How often the total may be given out.
    pub allocation_ratio: f64,
}

/// Inventories by resource class.
pub type Inventories = BTreeMap<String, Inventory>;

/// VCPU, MEMORY_MB and DISK_GB of this host.
pub fn plan(facts: &HostFacts, config: &Config) -> Inventories {
    let _ = (facts, config);
    Inventories::new()
}

/// The traits of this host's provider. `disabled`: the service is disabled, so COMPUTE_STATUS_DISABLED is among them.
pub fn traits(facts: &HostFacts, disabled: bool) -> BTreeSet<String> {
    let _ = (facts, disabled);
    BTreeSet::new()
}
