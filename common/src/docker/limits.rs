//! What a container may use beside processor and memory: the traffic of its disk, and what each of its processes may have.

use bollard::models::{ResourcesUlimits, ThrottleDevice};

/// Limits of the traffic with one block device; 0 means none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskIo {
    /// The device as dockerd knows it, a whole disk (`/dev/sda`).
    pub device: String,
    /// Bytes read in a second.
    pub read_bytes_sec: i64,
    /// Bytes written in a second.
    pub write_bytes_sec: i64,
    /// Reads in a second.
    pub read_iops_sec: i64,
    /// Writes in a second.
    pub write_iops_sec: i64,
}

/// A limit of each process (`setrlimit`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ulimit {
    /// `nofile`, `nproc` …
    pub name: String,
    /// What holds; -1 means none.
    pub soft: i64,
    /// How far a process may raise it; -1 means without end.
    pub hard: i64,
}

impl DiskIo {
    pub(super) fn throttle(&self, rate: i64) -> Option<Vec<ThrottleDevice>> {
        (rate != 0).then(|| vec![ThrottleDevice { path: Some(self.device.clone()), rate: Some(rate) }])
    }
}

impl Ulimit {
    pub(super) fn body(&self) -> ResourcesUlimits {
        ResourcesUlimits { name: Some(self.name.clone()), soft: Some(self.soft), hard: Some(self.hard) }
    }
}
