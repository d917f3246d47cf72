//! What an instance has used so far: the counters of its container, and of its NICs on the host's side.

use common::docker::Stats;
use common::ids::InstanceUuid;

use super::spec::container_name;
use super::{Driver, Error, error, processes};

/// Counters of the devices in this network namespace, which is that of the host's side of every NIC.
const DEVICES: &str = "/proc/self/net/dev";

/// What an instance has used since its container was started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Of its container.
    pub container: Stats,
    /// Of the NICs that were asked for; one that is not plugged is missing.
    pub nics: Vec<NicStats>,
}

/// Traffic of one NIC, as its guest sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NicStats {
    /// The device on the host's side.
    pub device: String,
    /// What the guest got.
    pub received: Traffic,
    /// What it sent.
    pub sent: Traffic,
}

/// Traffic in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Packets that came or left damaged.
    pub errors: u64,
    /// Packets for which there was no room.
    pub dropped: u64,
}

impl Driver {
    /// The counters of an instance and of those of its NICs whose devices on this host are called `devices`.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no container.
    pub async fn statistics(&self, uuid: InstanceUuid, devices: &[String]) -> Result<Statistics, Error> {
        let stats = self.engine().container_stats(&container_name(uuid)).await;
        let stats = stats.map_err(|e| error::of_container("count for the container", uuid, e))?;
        let container = match (stats, self.pid(uuid).await?) {
            (Some(stats), _) => stats,
            (None, Some(pid)) => processes::count(pid).await,
            (None, None) => Stats::default(),
        };
        let table = tokio::fs::read_to_string(DEVICES).await.unwrap_or_default();
        Ok(Statistics { container, nics: devices.iter().filter_map(|name| nic(&table, name)).collect() })
    }
}

/// The line of a device in the kernel's table. What the host's side receives its guest has sent.
fn nic(table: &str, device: &str) -> Option<NicStats> {
    let numbers = table.lines().find_map(|line| {
        let (name, numbers) = line.split_once(':')?;
        (name.trim() == device).then_some(numbers)
    })?;
    let numbers: Vec<u64> = numbers.split_whitespace().map_while(|number| number.parse().ok()).collect();
    let traffic = |at: usize| {
        let [bytes, packets, errors, dropped] = *numbers.get(at..at + 4)? else { return None };
        Some(Traffic { bytes, packets, errors, dropped })
    };
    Some(NicStats { device: device.to_owned(), sent: traffic(0)?, received: traffic(8)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_s_side_receives_the_guest_has_sent() {
        let table = "Inter-|   Receive                                                |  Transmit\n\
             \u{20}face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n\
             tapabc-1: 100 2 3 4 0 0 0 0 500 6 7 8 0 0 0 0\n";
        let sent = Traffic { bytes: 100, packets: 2, errors: 3, dropped: 4 };
        let received = Traffic { bytes: 500, packets: 6, errors: 7, dropped: 8 };
        assert_eq!(nic(table, "tapabc-1"), Some(NicStats { device: "tapabc-1".into(), received, sent }));
        assert_eq!(nic(table, "tapabc"), None);
        assert_eq!(nic("tapabc: 1 2", "tapabc"), None);
    }
}
