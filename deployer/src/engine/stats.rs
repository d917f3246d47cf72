//! What `status` asks of a container: its memory, and files inside it.

use std::io::Read;

use bollard::query_parameters::{DownloadFromContainerOptionsBuilder, StatsOptionsBuilder};
use futures_util::{StreamExt, TryStreamExt};

use super::Docker;

impl Docker {
    /// Memory in use by a container without the page cache, in bytes; `None` when Docker does not tell.
    pub(crate) async fn memory(&self, id: &str) -> Option<u64> {
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        let stats = self.api().stats(id, Some(options)).next().await?.ok()?.memory_stats?;
        let details = stats.stats.unwrap_or_default();
        // cgroup v1 and v2 call it differently.
        let cache = details.get("total_inactive_file").or_else(|| details.get("inactive_file"));
        Some(stats.usage?.saturating_sub(cache.copied().unwrap_or(0)))
    }

    /// A text file of a container; `None` when it cannot be had.
    pub(crate) async fn read_file(&self, id: &str, path: &str) -> Option<String> {
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        let chunks: Vec<_> =
            self.api().download_from_container(id, Some(options)).try_collect().await.ok()?;
        let archive = chunks.concat();
        let mut archive = tar::Archive::new(archive.as_slice());
        let mut text = String::new();
        archive.entries().ok()?.next()?.ok()?.read_to_string(&mut text).ok()?;
        Some(text)
    }
}
