//! What this host has and has given, in a form to be looked at; pure.

use common::ids::InstanceUuid;
use common::objects::fields::TaskState;
use serde::Serialize;

use super::HostFacts;
use super::usage::Tracked;
use crate::config::Config;
use crate::instance::spec::Demand;

/// One resource class of this host.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Amount {
    /// Placement's name of it: `VCPU`, `MEMORY_MB`, `DISK_GB`.
    pub resource: &'static str,
    /// What the host has.
    pub capacity: u64,
    /// What the operator reserved and the instances take.
    pub used: u64,
    /// How often placement gives out the same.
    pub allocation_ratio: f64,
}

/// One instance of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceReport {
    /// Its id.
    pub uuid: InstanceUuid,
    /// What its owner calls it.
    pub name: String,
    /// Nova's vm_state.
    pub vm_state: &'static str,
    /// Nova's task_state.
    pub task_state: Option<&'static str>,
    /// Nova's power state.
    pub power_state: &'static str,
    /// Name of its flavor.
    pub flavor: String,
    /// Processors.
    pub vcpus: u64,
    /// Memory, in MiB.
    pub memory_mb: u64,
    /// Disk, in GiB.
    pub disk_gb: u64,
}

impl InstanceReport {
    pub(super) fn of(uuid: InstanceUuid, tracked: &Tracked) -> Self {
        Self {
            uuid,
            name: tracked.name.clone(),
            vm_state: tracked.vm_state.as_str(),
            task_state: tracked.task.map(TaskState::as_str),
            power_state: tracked.power.seen_in(tracked.vm_state).word(),
            flavor: tracked.flavor.clone(),
            vcpus: tracked.demand.vcpus,
            memory_mb: tracked.demand.memory_mb,
            disk_gb: tracked.demand.disk_gb,
        }
    }
}

/// Processors, memory and disk.
pub(super) fn amounts<'a>(
    facts: &HostFacts,
    config: &Config,
    instances: impl Iterator<Item = &'a Tracked> + Clone,
) -> [Amount; 3] {
    let sum = |of: fn(&Demand) -> u64| instances.clone().map(|instance| of(&instance.demand)).sum::<u64>();
    [
        Amount {
            resource: "VCPU",
            capacity: facts.vcpus,
            used: config.reserved_host_cpus + sum(|demand| demand.vcpus),
            allocation_ratio: config.cpu_allocation_ratio,
        },
        Amount {
            resource: "MEMORY_MB",
            capacity: facts.memory_mb,
            used: config.reserved_host_memory_mb + sum(|demand| demand.memory_mb),
            allocation_ratio: config.ram_allocation_ratio,
        },
        Amount {
            resource: "DISK_GB",
            capacity: facts.local_gb,
            used: config.reserved_host_disk_mb.div_ceil(1024) + sum(|demand| demand.disk_gb),
            allocation_ratio: config.disk_allocation_ratio,
        },
    ]
}
