//! Fetches images before anybody boots from them (`openstack aggregate cache image`).

use std::collections::BTreeMap;

use common::error_chain::Chain;
use serde::Deserialize;

use super::{Call, Method};
use crate::error::Error;
use crate::instance::guards::Guards;
use crate::instance::snapshot::behalf;

/// The arguments.
#[derive(Deserialize)]
pub struct CacheImages {
    /// Glance image ids.
    pub image_ids: Vec<String>,
}

impl Method for CacheImages {
    const NAME: &'static str = "cache_images";
    const GUARDS: Guards = Guards::NONE;
    type Reply = BTreeMap<String, &'static str>;

    /// Never fails as a whole: each image says how it went, one after the other.
    async fn run(self, call: &Call) -> Result<Self::Reply, Error> {
        let mut states = BTreeMap::new();
        for id in self.image_ids {
            let state = match call.agent.images.cache(&id, behalf(&call.context)).await {
                Ok(true) => "cached",
                Ok(false) => "existing",
                Err(error) => {
                    tracing::warn!(image = id, error = %Chain(&error), "the image cannot be cached");
                    "error"
                }
            };
            states.insert(id, state);
        }
        Ok(states)
    }
}
