//! Tells placement what this host has (Nova: `scheduler.client.report`).
//!
//! Everything is read first and written only where it differs: a restart of the agent writes nothing. Somebody may change
//! the provider between our reading and our writing; then both are done again, here and nowhere else.

use std::collections::BTreeSet;

pub use common::openstack::Error;
use common::openstack::placement::{
    Allocations, Placement, ResourceProvider, Versioned, is_generation_conflict,
};
use common::retry;

use super::Inventories;
use super::inventory::{STATUS_DISABLED, merge_traits};

/// The resource provider of this host.
#[derive(Debug, Clone)]
pub struct Provider {
    placement: Placement,
}

impl Provider {
    /// A provider that is written through `placement`.
    pub fn new(placement: Placement) -> Self {
        Self { placement }
    }

    /// Creates the provider, and updates inventories and traits as far as they differ.
    ///
    /// `uuid`: ComputeNode.uuid; `name`: hypervisor_hostname. Traits that others gave the provider stay.
    ///
    /// # Errors
    /// When placement does not answer or refuses; 409 for a name that another provider has.
    pub async fn publish(
        &self,
        uuid: &str,
        name: &str,
        inventories: &Inventories,
        traits: &BTreeSet<String>,
    ) -> Result<(), Error> {
        self.ensure(uuid, name).await?;
        again_on_conflict(|| self.publish_inventories(uuid, inventories)).await?;
        let merged = |present: &BTreeSet<String>| merge_traits(present, traits);
        again_on_conflict(|| self.publish_traits(uuid, &merged)).await
    }

    /// Puts COMPUTE_STATUS_DISABLED on the provider or takes it away (Nova: `update_compute_provider_status`).
    ///
    /// # Errors
    /// When placement does not answer or refuses.
    pub async fn set_disabled(&self, uuid: &str, disabled: bool) -> Result<(), Error> {
        let change = |present: &BTreeSet<String>| {
            let mut traits = present.clone();
            if disabled {
                traits.insert(STATUS_DISABLED.to_owned())
            } else {
                traits.remove(STATUS_DISABLED)
            };
            traits
        };
        again_on_conflict(|| self.publish_traits(uuid, &change)).await
    }

    /// What consumers hold of this provider: amounts by resource class, by consumer uuid.
    ///
    /// # Errors
    /// When placement does not answer; 404 before the first [`Provider::publish`].
    pub async fn allocations(&self, uuid: &str) -> Result<Allocations, Error> {
        self.placement.allocations(uuid).await
    }

    /// Deletes all that a consumer holds; nothing is fine (Nova: `delete_allocation_for_instance` with force).
    ///
    /// # Errors
    /// When placement does not answer or refuses.
    pub async fn delete_allocations(&self, consumer: &str) -> Result<(), Error> {
        self.placement.delete_allocations(consumer).await
    }

    /// As [`Provider::delete_allocations`], but not what changes between our looking and our deleting (Nova: without
    /// force).
    ///
    /// # Errors
    /// When placement does not answer or refuses, as it does then.
    pub async fn delete_known_allocations(&self, consumer: &str) -> Result<(), Error> {
        self.placement.empty_allocations(consumer).await
    }

    /// Gives an instance back what a migration that will not happen holds for it (Nova: `revert_allocation_for_migration`).
    ///
    /// # Errors
    /// When placement does not answer or refuses.
    pub async fn revert_allocations(&self, migration: &str, instance: &str) -> Result<(), Error> {
        self.placement.move_allocations(migration, instance).await
    }

    /// Whether a consumer holds anything, of any provider.
    ///
    /// # Errors
    /// When placement does not answer or refuses.
    pub async fn holds(&self, consumer: &str) -> Result<bool, Error> {
        self.placement.holds(consumer).await
    }

    /// Takes what a consumer holds of one provider from it, and leaves it the rest (Nova:
    /// `remove_provider_tree_from_instance_allocation`).
    ///
    /// # Errors
    /// When placement does not answer or refuses.
    pub async fn leave(&self, consumer: &str, uuid: &str) -> Result<(), Error> {
        again_on_conflict(|| self.placement.leave(consumer, uuid)).await
    }

    async fn ensure(&self, uuid: &str, name: &str) -> Result<ResourceProvider, Error> {
        if let Some(found) = self.placement.provider(uuid).await? {
            return Ok(found);
        }
        let created = self.placement.create_provider(uuid, name).await?;
        tracing::info!(provider = uuid, name, "made a resource provider");
        Ok(created)
    }

    async fn publish_inventories(&self, uuid: &str, wanted: &Inventories) -> Result<(), Error> {
        let present = self.placement.inventories(uuid).await?;
        if present.value == *wanted {
            tracing::debug!(provider = uuid, "inventories are up to date");
            return Ok(());
        }
        let new = Versioned { value: wanted, generation: present.generation };
        self.placement.set_inventories(uuid, &new).await?;
        tracing::info!(provider = uuid, inventories = ?wanted, "published inventories");
        Ok(())
    }

    async fn publish_traits(
        &self,
        uuid: &str,
        wanted: &(impl Fn(&BTreeSet<String>) -> BTreeSet<String> + Sync),
    ) -> Result<(), Error> {
        let present = self.placement.traits(uuid).await?;
        let mut wanted = wanted(&present.value);
        if present.value == wanted {
            return Ok(());
        }
        self.keep_known(&present.value, &mut wanted).await?;
        if present.value == wanted {
            return Ok(());
        }
        let new = Versioned { value: &wanted, generation: present.generation };
        self.placement.set_traits(uuid, &new).await?;
        tracing::info!(provider = uuid, traits = ?wanted, "published traits");
        Ok(())
    }

    /// Makes missing custom traits known; standard ones that this placement is too old for are left out.
    async fn keep_known(
        &self,
        present: &BTreeSet<String>,
        wanted: &mut BTreeSet<String>,
    ) -> Result<(), Error> {
        let new: BTreeSet<String> = wanted.difference(present).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        let known = self.placement.known_traits(&new).await?;
        for name in new.difference(&known) {
            if name.starts_with("CUSTOM_") {
                self.placement.create_trait(name).await?;
            } else {
                tracing::debug!(name, "placement does not know this trait");
                wanted.remove(name);
            }
        }
        Ok(())
    }
}

/// Does `change` again, reading included, as long as others win the race.
async fn again_on_conflict<F, Done>(change: F) -> Result<(), Error>
where
    F: Fn() -> Done,
    Done: Future<Output = Result<(), Error>>,
{
    for wait in retry::conflict() {
        match change().await {
            Err(error) if is_generation_conflict(&error) => tokio::time::sleep(wait).await,
            done => return done,
        }
    }
    change().await
}
