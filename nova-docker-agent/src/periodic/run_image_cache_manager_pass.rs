//! Removes images that no instance of this host has used for a while (Nova: `_run_image_cache_manager_pass`).

use std::collections::BTreeSet;
use std::time::Duration;

use common::messaging::RequestContext;
use common::objects::Instance;

use super::{Task, seconds};
use crate::agent::Agent;
use crate::config::Config;
use crate::error::Error;
use crate::image::LastUsed;

#[derive(Default)]
pub(super) struct RunImageCacheManagerPass {
    last_used: LastUsed,
}

impl Task for RunImageCacheManagerPass {
    const NAME: &'static str = "run_image_cache_manager_pass";

    fn period(config: &Config) -> Option<Duration> {
        seconds(config.image_cache.manager_interval).filter(|_| config.image_cache.remove_unused_base_images)
    }

    async fn run(&mut self, agent: &Agent) -> Result<(), Error> {
        let instances = agent.conductor.instances_of_host(&RequestContext::admin(), &[]).await?;
        let wanted: BTreeSet<String> =
            instances.iter().filter_map(Instance::image_ref).map(str::to_ascii_lowercase).collect();
        let minimum_age = agent.config.image_cache.remove_unused_original_minimum_age_seconds;
        let pruned = agent.images.prune(&wanted, &mut self.last_used, minimum_age).await;
        pruned.map_err(|source| crate::image::Error::Docker { image: "cache".into(), source }.into())
    }
}
