//! What a container has used up so far.

use bollard::models::{ContainerBlkioStatEntry, ContainerStatsResponse};
use bollard::query_parameters::StatsOptionsBuilder;
use futures_util::StreamExt;

use super::{Engine, Error};

/// The counters of a container's cgroup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Processor time, in nanoseconds.
    pub cpu_time: u64,
    /// Memory that it uses, in bytes, without what the kernel only keeps because it has room.
    pub memory_used: u64,
    /// Disk traffic of all devices together.
    pub disk: DiskStats,
}

/// Traffic with disks; zero where the kernel does not count it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// Bytes read.
    pub read_bytes: u64,
    /// Read requests; none when nobody counts them.
    pub read_requests: Option<u64>,
    /// Bytes written.
    pub write_bytes: u64,
    /// Write requests; none when nobody counts them.
    pub write_requests: Option<u64>,
}

impl Engine {
    /// One look at the counters of a container (`docker stats --no-stream`, without its wait for a second look). None
    /// when dockerd cannot count: it fails for a container in the namespace of one whose network is disabled (up to 29 at
    /// least), and then answers zeros at the time zero.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn container_stats(&self, name: &str) -> Result<Option<Stats>, Error> {
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        let mut answers = std::pin::pin!(self.docker().stats(name, Some(options)));
        match answers.next().await {
            Some(found) => Ok(Stats::of(found.map_err(|e| self.error(e))?)),
            None => Err(Error::Other("dockerd answered nothing".into())),
        }
    }
}

impl Stats {
    fn of(found: ContainerStatsResponse) -> Option<Self> {
        // Whatever runs has taken some time.
        let cpu_time =
            found.cpu_stats.and_then(|stats| stats.cpu_usage?.total_usage).filter(|time| *time > 0)?;
        let memory = found.memory_stats.unwrap_or_default();
        let more = memory.stats.unwrap_or_default();
        // As the docker client counts: cgroup v1 calls it total_inactive_file, v2 inactive_file.
        let cache = more.get("total_inactive_file").or(more.get("inactive_file")).copied().unwrap_or(0);
        let usage = memory.usage.unwrap_or_default();
        let blkio = found.blkio_stats.unwrap_or_default();
        let bytes = blkio.io_service_bytes_recursive.unwrap_or_default();
        let requests = blkio.io_serviced_recursive.unwrap_or_default();
        Some(Self {
            cpu_time,
            memory_used: usage.saturating_sub(cache),
            disk: DiskStats {
                read_bytes: sum(&bytes, "read"),
                read_requests: Some(sum(&requests, "read")),
                write_bytes: sum(&bytes, "write"),
                write_requests: Some(sum(&requests, "write")),
            },
        })
    }
}

/// All devices; dockerd writes `Read` for cgroup v1 and `read` for v2.
fn sum(entries: &[ContainerBlkioStatEntry], operation: &str) -> u64 {
    let of_it = entries
        .iter()
        .filter(|entry| entry.op.as_deref().is_some_and(|op| op.eq_ignore_ascii_case(operation)));
    of_it.filter_map(|entry| entry.value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_both_kinds_of_cgroups_are_read() {
        let v1 = r#"{"cpu_stats": {"cpu_usage": {"total_usage": 30}},
            "memory_stats": {"usage": 1000, "limit": 4096, "stats": {"total_inactive_file": 400}},
            "blkio_stats": {"io_service_bytes_recursive": [
                {"major": 8, "minor": 0, "op": "Read", "value": 5}, {"major": 9, "minor": 0, "op": "Read", "value": 6},
                {"major": 8, "minor": 0, "op": "Total", "value": 99}], "io_serviced_recursive": null}}"#;
        let stats = Stats::of(serde_json::from_str(v1).unwrap());
        let disk = DiskStats {
            read_bytes: 11,
            read_requests: Some(0),
            write_requests: Some(0),
            ..DiskStats::default()
        };
        assert_eq!(stats, Some(Stats { cpu_time: 30, memory_used: 600, disk }));
        let v2 = r#"{"cpu_stats": {"cpu_usage": {"total_usage": 30}},
            "memory_stats": {"usage": 1000, "limit": 4096, "stats": {"inactive_file": 1}},
            "blkio_stats": {"io_service_bytes_recursive": [{"major": 8, "minor": 0, "op": "write", "value": 7}]}}"#;
        let stats = Stats::of(serde_json::from_str(v2).unwrap()).unwrap();
        assert_eq!((stats.memory_used, stats.disk.write_bytes), (999, 7));
    }

    #[test]
    fn zeros_are_no_counters() {
        let failed = r#"{"read": "0001-01-01T00:00:00Z", "cpu_stats": {"cpu_usage": {"total_usage": 0}}, "memory_stats": {}}"#;
        assert_eq!(Stats::of(serde_json::from_str(failed).unwrap()), None);
    }
}
