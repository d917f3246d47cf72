//! What the machine has (Nova: `get_available_resource`).

use common::docker::Engine;

use super::Error;

/// The host as ComputeNode and placement want to know it.
#[derive(Debug, Clone, PartialEq)]
pub struct HostFacts {
    /// Processors that dockerd sees.
    pub vcpus: u64,
    /// Memory, in MiB.
    pub memory_mb: u64,
    /// Memory in use on the whole host, in MiB.
    pub memory_mb_used: u64,
    /// Size of the file system below Docker's root directory, in GiB.
    pub local_gb: u64,
    /// Used there, in GiB.
    pub local_gb_used: u64,
    /// Free there for unprivileged writers, in GiB (ComputeNode.disk_available_least).
    pub disk_available_least: u64,
    /// `docker`
    pub hypervisor_type: &'static str,
    /// Docker's version as one number: 20.10.24 is 20010024.
    pub hypervisor_version: i64,
    /// The node's name in Nova.
    pub hypervisor_hostname: String,
    /// JSON for ComputeNode.cpu_info.
    pub cpu_info: String,
    /// Nova's name of the processor architecture (`x86_64`, `aarch64`).
    pub arch: String,
    /// Whether `flavor.root_gb` can be enforced (overlay2 on XFS with project quotas and the like).
    pub disk_quota: bool,
    /// `docker` server version as text.
    pub docker_version: String,
}

/// Asks dockerd and the kernel.
///
/// `host`: the node's name in Nova.
///
/// # Errors
/// [`Error::DockerUnavailable`] when dockerd does not answer.
pub async fn facts(engine: &Engine, host: &str) -> Result<HostFacts, Error> {
    let _ = (engine, host);
    Err(Error::InvalidSpec("not asked yet".into()))
}
