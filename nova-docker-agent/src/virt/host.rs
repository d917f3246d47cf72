//! What the machine has (Nova: `get_available_resource`).

use std::collections::BTreeSet;
use std::path::Path;

use common::docker::{Engine, Info};
use nix::sys::statvfs::statvfs;
use serde_json::json;

use super::error::{self, Error};

const GIB: u64 = 1024 * 1024 * 1024;
const MIB: u64 = 1024 * 1024;

/// The host as ComputeNode and placement want to know it.
#[derive(Debug, Clone, PartialEq)]
pub struct HostFacts {
    /// Processors that containers can use.
    pub vcpus: u64,
    /// Memory, in MiB.
    pub memory_mb: u64,
    /// Memory in use by whatever, in MiB.
    pub memory_mb_used: u64,
    /// Size of the file system below Docker's root directory, in GiB.
    pub local_gb: u64,
    /// Used there, in GiB.
    pub local_gb_used: u64,
    /// Free there, in GiB (ComputeNode.disk_available_least).
    pub disk_available_least: u64,
    /// `docker`
    pub hypervisor_type: &'static str,
    /// Docker's version as one number: 20.10.24 is 20010024.
    pub hypervisor_version: i64,
    /// The node's name in Nova.
    pub hypervisor_hostname: String,
    /// ComputeNode.cpu_info, a JSON text.
    pub cpu_info: String,
    /// Nova's name of the processor architecture (`x86_64`, `aarch64`).
    pub arch: String,
    /// What the processors can do, in the kernel's words (`flags` of `/proc/cpuinfo`).
    pub cpu_flags: BTreeSet<String>,
    /// Each core has several threads.
    pub hyperthreading: bool,
    /// Docker's version as text.
    pub docker_version: String,
}

/// Asks dockerd and the kernel. The agent has to run on dockerd's machine.
///
/// `host`: the node's name in Nova.
///
/// # Errors
/// [`Error::DockerUnavailable`] when dockerd does not answer.
pub async fn facts(engine: &Engine, host: &str) -> Result<HostFacts, Error> {
    let info = engine.info().await.map_err(|e| error::general("tell about the host", e))?;
    let disk = Disk::of(Path::new(&info.root_dir))?;
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    Ok(from(info, disk, &meminfo, &cpuinfo, host))
}

/// Puts together what was found; pure.
fn from(info: Info, disk: Disk, meminfo: &str, cpuinfo: &str, host: &str) -> HostFacts {
    let available = field(meminfo, "MemAvailable").and_then(kibibytes).unwrap_or(info.memory / 1024);
    HostFacts {
        vcpus: info.cpus,
        memory_mb: info.memory / MIB,
        memory_mb_used: (info.memory / 1024).saturating_sub(available) / 1024,
        local_gb: disk.total / GIB,
        local_gb_used: disk.total.saturating_sub(disk.free).div_ceil(GIB),
        disk_available_least: disk.available / GIB,
        hypervisor_type: "docker",
        hypervisor_version: version_number(&info.server_version),
        hypervisor_hostname: host.to_owned(),
        cpu_info: cpu_info(&info, cpuinfo),
        arch: info.architecture,
        cpu_flags: flags(cpuinfo).map(str::to_owned).collect(),
        hyperthreading: hyperthreading(cpuinfo),
        docker_version: info.server_version,
    }
}

/// Room of a file system, in bytes.
#[derive(Debug, Clone, Copy)]
struct Disk {
    total: u64,
    free: u64,
    /// Free without what is kept for root.
    available: u64,
}

impl Disk {
    /// The file system below `directory`. An agent in a container does not see Docker's directory itself, but the nearest
    /// directory above it lies on the container's own root, which Docker keeps on the same file system.
    fn of(directory: &Path) -> Result<Self, Error> {
        let nearest = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let found = statvfs(nearest).map_err(|errno| Error::Docker {
            what: "tell the size of its disk",
            message: format!("statvfs {}: {errno}", nearest.display()),
        })?;
        let block = found.fragment_size();
        Ok(Self {
            total: found.blocks() * block,
            free: found.blocks_free() * block,
            available: found.blocks_available() * block,
        })
    }
}

/// Whether the storage driver may limit the size of a container's root disk. To try it out where it is certain to be
/// refused would not be harmless: dockerd then makes a container and removes it, and says so in its events.
pub(super) fn can_limit_disks(info: &Info) -> bool {
    match info.storage_driver.as_str() {
        "overlay2" => {
            info.storage_status.iter().any(|(key, value)| key == "Backing Filesystem" && value == "xfs")
        }
        "btrfs" | "zfs" | "devicemapper" => true,
        _ => false,
    }
}

/// `20.10.24+dfsg1` is 20010024 (Nova: `versionutils.convert_version_to_int`).
fn version_number(version: &str) -> i64 {
    let core = version.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
    let mut parts = core.split('.').map(|part| part.parse::<i64>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0).min(999);
    (next() * 1000 + next()) * 1000 + next()
}

/// The JSON that Nova's drivers put into ComputeNode.cpu_info.
fn cpu_info(info: &Info, cpuinfo: &str) -> String {
    let text = |name| field(cpuinfo, name).unwrap_or_default();
    let mut features: Vec<&str> = flags(cpuinfo).collect();
    features.sort_unstable();
    json!({
        "arch": info.architecture,
        "vendor": text("vendor_id"),
        "model": text("model name"),
        "topology": { "sockets": 1, "cores": info.cpus, "threads": 1 },
        "features": features,
    })
    .to_string()
}

fn flags(cpuinfo: &str) -> impl Iterator<Item = &str> {
    field(cpuinfo, "flags").unwrap_or_default().split_whitespace()
}

/// More threads than cores in a socket.
fn hyperthreading(cpuinfo: &str) -> bool {
    let number = |name| field(cpuinfo, name).and_then(|value| value.parse::<u32>().ok());
    number("siblings").zip(number("cpu cores")).is_some_and(|(threads, cores)| threads > cores)
}

/// The value of the first `name: value` line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then_some(value.trim())
    })
}

/// `1234 kB`
fn kibibytes(value: &str) -> Option<u64> {
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> Info {
        Info {
            server_version: "20.10.24+dfsg1".into(),
            cpus: 2,
            memory: 4 * GIB,
            root_dir: "/var/lib/docker".into(),
            architecture: "x86_64".into(),
            storage_driver: "overlay2".into(),
            storage_status: vec![],
            runtimes: vec![],
            memory_limit: true,
        }
    }

    #[test]
    fn what_was_found_is_put_into_nova_s_units() {
        let disk = Disk { total: 100 * GIB, free: 60 * GIB + 1, available: 55 * GIB };
        let meminfo = "MemTotal: 4194304 kB\nMemAvailable:  3145728 kB\n";
        let cpuinfo = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Xeon\nflags\t\t: sse fpu\n\
                       siblings\t: 4\ncpu cores\t: 2\n";
        let facts = from(info(), disk, meminfo, cpuinfo, "host1");
        assert_eq!((facts.vcpus, facts.memory_mb, facts.memory_mb_used), (2, 4096, 1024));
        assert_eq!((facts.local_gb, facts.local_gb_used, facts.disk_available_least), (100, 40, 55));
        assert_eq!(facts.hypervisor_version, 20_010_024);
        let cpu: serde_json::Value = serde_json::from_str(&facts.cpu_info).unwrap();
        assert_eq!(cpu["features"], json!(["fpu", "sse"]));
        assert_eq!(cpu["vendor"], "GenuineIntel");
        assert!(facts.hyperthreading && facts.cpu_flags.contains("sse") && facts.cpu_flags.len() == 2);
    }

    #[test]
    fn only_some_storage_drivers_limit_disks() {
        let info = |driver: &str, fs: &str| Info {
            storage_driver: driver.into(),
            storage_status: vec![("Backing Filesystem".into(), fs.into())],
            ..info()
        };
        assert!(can_limit_disks(&info("overlay2", "xfs")) && can_limit_disks(&info("btrfs", "")));
        assert!(!can_limit_disks(&info("overlay2", "extfs")) && !can_limit_disks(&info("overlayfs", "xfs")));
    }

    #[test]
    fn versions_become_numbers() {
        for (version, number) in
            [("28.2.2", 28_002_002), ("19.03.15", 19_003_015), ("dev", 0), ("29", 29_000_000)]
        {
            assert_eq!(version_number(version), number, "{version}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_seen_is_looked_up_above() {
        let disk = Disk::of(Path::new("/no/such/directory")).unwrap();
        assert!(disk.total > 0 && disk.available <= disk.free);
    }
}
