//! Fetches images before anybody boots from them (`openstack aggregate cache image`).

use std::collections::BTreeMap;

use common::error_chain::Chain;
use serde::Deserialize;

use super::{Call, Method};
use crate::error::Error;
use crate::image::{ImageRequest, OnBehalf};
use crate::instance::guards::Guards;

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
        let images = &call.agent.images;
        let behalf =
            OnBehalf { user_token: call.context.auth_token(), request_id: Some(call.context.request_id()) };
        let mut states = BTreeMap::new();
        for id in self.image_ids {
            let state = if images.cached(&id).is_some() {
                "existing"
            } else {
                // Any image may be named here; those that are no containers turn out so when they are looked at.
                let request = ImageRequest {
                    id: id.clone(),
                    container_format: "docker".into(),
                    disk_format: "raw".into(),
                    ..ImageRequest::default()
                };
                match images.ensure(&request, behalf).await {
                    Ok(_) => "cached",
                    Err(error) => {
                        tracing::warn!(image = id, error = %Chain(&error), "the image cannot be cached");
                        "error"
                    }
                }
            };
            states.insert(id, state);
        }
        Ok(states)
    }
}
