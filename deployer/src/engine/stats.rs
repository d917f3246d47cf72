//! Figures for `status`: memory, and versions that images tell of themselves.

use bollard::query_parameters::StatsOptionsBuilder;
use futures_util::StreamExt;

use super::Docker;

/// Label with the version of what an image carries, when its Dockerfile gives one.
const VERSION: &str = "org.opencontainers.image.version";

impl Docker {
    /// Memory in use by a container without the page cache, in bytes; `None` when Docker does not tell.
    pub(crate) async fn memory(&self, id: &str) -> Option<u64> {
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        let stats = self.api().stats(id, Some(options)).next().await?.ok()?.memory_stats?;
        let details = stats.stats.unwrap_or_default();
        // cgroup v1 and v2 call it differently.
        let cache =
            details.get("total_inactive_file").or_else(|| details.get("inactive_file")).copied().unwrap_or(0);
        Some(stats.usage?.saturating_sub(cache))
    }

    /// The version label of an image.
    pub(crate) async fn version(&self, image: &str) -> Option<String> {
        let inspected = self.api().inspect_image(image).await.ok()?;
        inspected.config?.labels?.get(VERSION).cloned()
    }
}
