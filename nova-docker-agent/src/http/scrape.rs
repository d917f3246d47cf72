//! Numbers that are looked up when Prometheus asks for them.

use std::fs;

use super::{Management, connections};
use crate::metrics::{PeerLabel, ResourceLabel, VmStateLabel};

/// Sets all of [`crate::metrics::Scraped`].
pub(super) async fn set(management: &Management) {
    let scraped = &management.metrics.scraped;
    for connection in connections::all(management).await {
        // What was not needed up to now is neither up nor down.
        if let Some(up) = connection.up {
            scraped.connections.get_or_create(&PeerLabel { peer: connection.peer }).set(i64::from(up));
        }
    }
    scraped.heartbeat.set(management.health.last_heartbeat());
    scraped.resident_memory.set(i64::try_from(resident_memory()).unwrap_or(i64::MAX));
    scraped
        .open_files
        .set(fs::read_dir("/proc/self/fd").map_or(0, |files| i64::try_from(files.count()).unwrap_or(0)));
    let Some(agent) = management.agent() else { return };
    scraped.consoles.set(i64::try_from(agent.consoles.count()).unwrap_or(i64::MAX));
    let counts = agent.tracker.counts();
    scraped.instances.clear();
    for (vm_state, count) in counts {
        scraped.instances.get_or_create(&VmStateLabel { vm_state }).set(count);
    }
    for amount in agent.tracker.amounts() {
        let label = ResourceLabel { resource: amount.resource };
        scraped.capacity.get_or_create(&label).set(i64::try_from(amount.capacity).unwrap_or(i64::MAX));
        scraped.used.get_or_create(&label).set(i64::try_from(amount.used).unwrap_or(i64::MAX));
    }
}

/// Memory of this process, in bytes (`VmRSS` of `/proc/self/status`); 0 when the kernel does not tell.
pub(super) fn resident_memory() -> u64 {
    resident(&fs::read_to_string("/proc/self/status").unwrap_or_default()).unwrap_or_default()
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_the_memory() {
        assert_eq!(resident("VmPeak:\t 9 kB\nVmRSS:\t    8704 kB\n"), Some(8704 * 1024));
        assert_eq!(resident("VmPeak:\t 9 kB\n"), None);
        assert!(resident_memory() > 0);
    }
}
