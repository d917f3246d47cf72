//! Tells placement what this host has (Nova: `scheduler.client.report`).

use std::collections::{BTreeMap, BTreeSet};

use super::Inventories;

/// Why placement could not be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {}

/// Allocations of one consumer: amounts by resource class.
pub type Allocations = BTreeMap<String, BTreeMap<String, u64>>;

/// The resource provider of this host.
#[derive(Debug, Clone)]
pub struct Provider {}

impl Provider {
    /// Creates the provider and updates inventories and traits as far as they differ.
    ///
    /// `uuid`: ComputeNode.uuid; `name`: hypervisor_hostname. Traits that others gave the provider stay.
    pub async fn publish(
        &self,
        uuid: &str,
        name: &str,
        inventories: &Inventories,
        traits: &BTreeSet<String>,
    ) -> Result<(), Error> {
        let _ = (uuid, name, inventories, traits);
        Ok(())
    }

    /// Adds or removes one trait (Nova: `set_host_enabled` and COMPUTE_STATUS_DISABLED).
    pub async fn set_trait(&self, uuid: &str, name: &str, present: bool) -> Result<(), Error> {
        let _ = (uuid, name, present);
        Ok(())
    }

    /// What consumers hold of this provider, by consumer uuid.
    pub async fn allocations(&self, uuid: &str) -> Result<Allocations, Error> {
        let _ = uuid;
        Ok(Allocations::new())
    }

    /// Deletes all allocations of a consumer; none is fine (Nova: `delete_allocation_for_instance`, force).
    pub async fn delete_allocations(&self, consumer: &str) -> Result<(), Error> {
        let _ = consumer;
        Ok(())
    }
}
