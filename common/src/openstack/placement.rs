//! Placement: resource providers, their inventories and traits, and allocations.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::Error;
use super::http::Request;
use super::session::{EndpointFilter, Service, Session};

/// Of Ussuri (2020), so every supported cloud speaks it; error codes (1.23) and whole-tree names are in it.
const MICROVERSION: &str = "placement 1.36";

/// placement's code for "somebody changed this since you read it".
const CONCURRENT_UPDATE: &str = "placement.concurrent_update";

/// A resource provider.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ResourceProvider {
    /// ComputeNode.uuid.
    pub uuid: String,
    /// hypervisor_hostname.
    pub name: String,
    /// Counts the changes made to the provider.
    pub generation: u64,
}

/// One resource class of a provider.
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

/// Amounts by resource class, by consumer.
pub type Allocations = BTreeMap<String, BTreeMap<String, u64>>;

/// A value together with the generation of its provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// `resource_provider_generation`
    pub generation: u64,
}

/// Client of placement.
#[derive(Debug, Clone)]
pub struct Placement {
    service: Service,
}

impl Placement {
    /// A client that logs in through `session`.
    pub fn new(session: &Session, endpoint: EndpointFilter) -> Self {
        Self { service: session.service("placement", endpoint) }
    }

    /// The provider with this uuid; None when there is none.
    pub async fn provider(&self, uuid: &str) -> Result<Option<ResourceProvider>, Error> {
        absent_is_none(self.service.json(&get(&format!("/resource_providers/{uuid}"))).await)
    }

    /// Creates a root provider.
    ///
    /// # Errors
    /// 409 when another provider has the uuid or the name.
    pub async fn create_provider(&self, uuid: &str, name: &str) -> Result<ResourceProvider, Error> {
        let body = json!({ "uuid": uuid, "name": name });
        let request = Request::new(Method::POST, "/resource_providers").microversion(MICROVERSION).json(body);
        self.service.json(&request).await
    }

    /// Inventories of a provider.
    pub async fn inventories(&self, uuid: &str) -> Result<Versioned<Inventories>, Error> {
        #[derive(Deserialize)]
        struct Body {
            inventories: Inventories,
            resource_provider_generation: u64,
        }
        let body: Body = self.service.json(&get(&format!("/resource_providers/{uuid}/inventories"))).await?;
        Ok(Versioned { value: body.inventories, generation: body.resource_provider_generation })
    }

    /// Replaces all inventories of a provider that is still of this generation; returns the new generation.
    pub async fn set_inventories(&self, uuid: &str, new: &Versioned<&Inventories>) -> Result<u64, Error> {
        let path = format!("/resource_providers/{uuid}/inventories");
        let body = json!({ "resource_provider_generation": new.generation, "inventories": new.value });
        self.put_generation(&path, body).await
    }

    /// Traits of a provider.
    pub async fn traits(&self, uuid: &str) -> Result<Versioned<BTreeSet<String>>, Error> {
        #[derive(Deserialize)]
        struct Body {
            traits: BTreeSet<String>,
            resource_provider_generation: u64,
        }
        let body: Body = self.service.json(&get(&format!("/resource_providers/{uuid}/traits"))).await?;
        Ok(Versioned { value: body.traits, generation: body.resource_provider_generation })
    }

    /// Replaces all traits of a provider that is still of this generation; returns the new generation.
    pub async fn set_traits(&self, uuid: &str, new: &Versioned<&BTreeSet<String>>) -> Result<u64, Error> {
        let path = format!("/resource_providers/{uuid}/traits");
        let body = json!({ "resource_provider_generation": new.generation, "traits": new.value });
        self.put_generation(&path, body).await
    }

    /// Those of `names` that placement knows.
    pub async fn known_traits(&self, names: &BTreeSet<String>) -> Result<BTreeSet<String>, Error> {
        #[derive(Deserialize)]
        struct Body {
            traits: BTreeSet<String>,
        }
        let names = names.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        let body: Body = self.service.json(&get(&format!("/traits?name=in:{names}"))).await?;
        Ok(body.traits)
    }

    /// Makes a custom trait known (`CUSTOM_…`); one that is known already is fine.
    pub async fn create_trait(&self, name: &str) -> Result<(), Error> {
        let path = format!("/traits/{name}");
        self.service.send(&Request::new(Method::PUT, &path).microversion(MICROVERSION)).await?;
        Ok(())
    }

    /// What consumers hold of a provider.
    pub async fn allocations(&self, uuid: &str) -> Result<Allocations, Error> {
        #[derive(Deserialize)]
        struct Consumer {
            resources: BTreeMap<String, u64>,
        }
        #[derive(Deserialize)]
        struct Body {
            allocations: BTreeMap<String, Consumer>,
        }
        let body: Body = self.service.json(&get(&format!("/resource_providers/{uuid}/allocations"))).await?;
        Ok(body.allocations.into_iter().map(|(consumer, held)| (consumer, held.resources)).collect())
    }

    /// Deletes whatever a consumer holds, of any provider; nothing is fine.
    pub async fn delete_allocations(&self, consumer: &str) -> Result<(), Error> {
        let path = format!("/allocations/{consumer}");
        let request = Request::new(Method::DELETE, &path).microversion(MICROVERSION);
        absent_is_none(self.service.send(&request).await).map(drop)
    }

    /// Takes away what a consumer holds unless it changes meanwhile; nothing is fine (Nova:
    /// `delete_allocation_for_instance` without force).
    ///
    /// # Errors
    /// A conflict (409) when it did.
    pub async fn empty_allocations(&self, consumer: &str) -> Result<(), Error> {
        let path = format!("/allocations/{consumer}");
        let mut held: serde_json::Value = self.service.json(&get(&path)).await?;
        let empty = |held: &serde_json::Value| held.as_object().is_none_or(serde_json::Map::is_empty);
        if held.get("allocations").is_none_or(empty) {
            return Ok(());
        }
        held["allocations"] = serde_json::json!({});
        let request = Request::new(Method::PUT, &path).microversion(MICROVERSION).json(held);
        self.service.send(&request).await.map(drop)
    }

    /// Whether a consumer holds anything, of any provider.
    pub async fn holds(&self, consumer: &str) -> Result<bool, Error> {
        let held: serde_json::Value = self.service.json(&get(&format!("/allocations/{consumer}"))).await?;
        let allocations = held.get("allocations").and_then(serde_json::Value::as_object);
        Ok(allocations.is_some_and(|allocations| !allocations.is_empty()))
    }

    /// Gives what one consumer holds to another, in the place of what that one holds; nothing to give is fine (Nova:
    /// `move_allocations`).
    pub async fn move_allocations(&self, from: &str, to: &str) -> Result<(), Error> {
        let held = |consumer: &str| format!("/allocations/{consumer}");
        let source: serde_json::Value = self.service.json(&get(&held(from))).await?;
        let target: serde_json::Value = self.service.json(&get(&held(to))).await?;
        let empty = serde_json::json!({});
        let given = source.get("allocations").unwrap_or(&empty);
        if given.as_object().is_none_or(serde_json::Map::is_empty) {
            return Ok(());
        }
        let entry = |owner: &serde_json::Value, allocations: &serde_json::Value| {
            let mut entry = serde_json::json!({
                "allocations": allocations,
                "project_id": owner.get("project_id").or(source.get("project_id")),
                "user_id": owner.get("user_id").or(source.get("user_id")),
                "consumer_generation": owner.get("consumer_generation"),
            });
            // Placement knows the type of a consumer since 1.38 and then demands it.
            if let Some(kind) = source.get("consumer_type") {
                entry["consumer_type"] = owner.get("consumer_type").unwrap_or(kind).clone();
            }
            entry
        };
        let body = serde_json::json!({ from: entry(&source, &empty), to: entry(&target, given) });
        let request = Request::new(Method::POST, "/allocations").microversion(MICROVERSION).json(body);
        self.service.send(&request).await.map(drop)
    }

    /// Takes what a consumer holds of one provider from it; nothing is fine.
    pub async fn leave(&self, consumer: &str, provider: &str) -> Result<(), Error> {
        let path = format!("/allocations/{consumer}");
        let mut held: serde_json::Value = self.service.json(&get(&path)).await?;
        let allocations = held.get_mut("allocations").and_then(serde_json::Value::as_object_mut);
        let Some(allocations) = allocations else { return Ok(()) };
        if allocations.remove(provider).is_none() {
            return Ok(());
        }
        if allocations.is_empty() {
            return self.delete_allocations(consumer).await;
        }
        for given in allocations.values_mut().filter_map(serde_json::Value::as_object_mut) {
            given.remove("generation");
        }
        let request = Request::new(Method::PUT, &path).microversion(MICROVERSION).json(held);
        self.service.send(&request).await.map(drop)
    }

    async fn put_generation(&self, path: &str, body: serde_json::Value) -> Result<u64, Error> {
        #[derive(Deserialize)]
        struct Body {
            resource_provider_generation: u64,
        }
        let request = Request::new(Method::PUT, path).microversion(MICROVERSION).json(body);
        Ok(self.service.json::<Body>(&request).await?.resource_provider_generation)
    }
}

/// Whether somebody else changed the provider between our reading and our writing.
pub fn is_generation_conflict(error: &Error) -> bool {
    matches!(error, Error::Api(api) if api.status == 409 && api.code == CONCURRENT_UPDATE)
}

fn get(path: &str) -> Request<'_> {
    Request::new(Method::GET, path).microversion(MICROVERSION)
}

fn absent_is_none<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
