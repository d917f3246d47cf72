//! What instances take from a host, added up; pure (Nova: `resource_tracker._update_usage` and `compute.stats`).

use std::collections::BTreeMap;

use common::objects::fields::{TaskState, VmState};
use common::objects::{ComputeNode, Instance, Versioned};
use serde_json::{Value, json};

use super::HostFacts;
use super::report::amounts;
use crate::config::Config;
use crate::instance::spec::Demand;
use crate::virt::PowerState;

/// One instance of this host.
#[derive(Clone, Debug)]
pub(crate) struct Tracked {
    /// `Instance.display_name`
    pub(crate) name: String,
    /// Name of its flavor.
    pub(crate) flavor: String,
    /// What it takes.
    pub(crate) demand: Demand,
    /// What it is.
    pub(crate) vm_state: VmState,
    /// What is being done to it.
    pub(crate) task: Option<TaskState>,
    /// `Instance.os_type`
    pub(crate) os_type: Option<String>,
    /// `Instance.project_id`
    pub(crate) project_id: String,
    /// What the hypervisor said last.
    pub(crate) power: PowerState,
}

impl Tracked {
    /// As the record says; `power` as the hypervisor says.
    pub(crate) fn of(instance: &Instance, power: PowerState) -> Self {
        let flavor = instance.flavor();
        let flavor = flavor.as_ref().and_then(|flavor| flavor.name()).unwrap_or_default().to_owned();
        Self {
            name: instance.display_name().unwrap_or_default().to_owned(),
            flavor,
            demand: Demand::of(instance),
            vm_state: instance.state(),
            task: instance.task(),
            os_type: instance.os_type().map(str::to_owned),
            project_id: instance.project_id().unwrap_or_default().to_owned(),
            power,
        }
    }
}

/// Nova's `ComputeNode.stats`: counts by state, project and so on, as text.
pub(crate) fn stats<'a>(
    instances: impl Iterator<Item = &'a Tracked>,
    failed_builds: u64,
) -> BTreeMap<String, String> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut count = |key: String| *counts.entry(key).or_default() += 1;
    let mut busy = 0_u64;
    for instance in instances {
        let task = instance.task.map_or("None", TaskState::as_str);
        count("num_instances".into());
        count(format!("num_vm_{}", instance.vm_state.as_str()));
        count(format!("num_task_{task}"));
        count(format!("num_os_type_{}", instance.os_type.as_deref().unwrap_or("None")));
        count(format!("num_proj_{}", instance.project_id));
        busy += u64::from(keeps_disks_busy(instance));
    }
    counts.insert("failed_builds".into(), failed_builds);
    counts.insert("io_workload".into(), busy);
    counts.into_iter().map(|(key, count)| (key, count.to_string())).collect()
}

/// Nova: `Stats.io_workload`.
fn keeps_disks_busy(instance: &Tracked) -> bool {
    use TaskState as T;
    instance.vm_state == VmState::Building
        || matches!(
            instance.task,
            Some(
                T::ResizeMigrating
                    | T::Rebuilding
                    | T::ResizePrep
                    | T::ImageSnapshot
                    | T::ImageBackup
                    | T::Rescuing
                    | T::Unshelving
            )
        )
}

/// Writes facts and usage into the hypervisor record; only fields that differ are changed.
pub(crate) fn describe<'a>(
    node: &mut ComputeNode,
    facts: &HostFacts,
    config: &Config,
    instances: impl Iterator<Item = &'a Tracked> + Clone,
    failed_builds: u64,
) {
    let [vcpus_used, memory_used, disk_used] =
        amounts(facts, config, instances.clone()).map(|amount| amount.used);
    let working = instances.clone().filter(|instance| instance.task.is_some()).count();
    let fields: [(&str, Value); 22] = [
        ("host", json!(config.host)),
        ("host_ip", json!(config.my_ip)),
        ("hypervisor_hostname", json!(facts.hypervisor_hostname)),
        ("hypervisor_type", json!(facts.hypervisor_type)),
        ("hypervisor_version", json!(facts.hypervisor_version)),
        ("cpu_info", json!(facts.cpu_info)),
        ("vcpus", json!(facts.vcpus)),
        ("vcpus_used", json!(vcpus_used)),
        ("memory_mb", json!(facts.memory_mb)),
        ("memory_mb_used", json!(memory_used)),
        ("free_ram_mb", json!(left(facts.memory_mb, memory_used))),
        ("local_gb", json!(facts.local_gb)),
        ("local_gb_used", json!(disk_used)),
        // Without this one the scheduler ignores the host.
        ("free_disk_gb", json!(left(facts.local_gb, disk_used))),
        ("disk_available_least", json!(facts.disk_available_least)),
        ("current_workload", json!(working)),
        ("running_vms", json!(instances.clone().count())),
        ("metrics", json!("[]")),
        ("stats", json!(stats(instances, failed_builds))),
        ("cpu_allocation_ratio", json!(config.cpu_allocation_ratio)),
        ("ram_allocation_ratio", json!(config.ram_allocation_ratio)),
        ("disk_allocation_ratio", json!(config.disk_allocation_ratio)),
    ];
    for (field, value) in fields {
        if node.object().get(field) != Some(&value) {
            node.object_mut().set(field, value);
        }
    }
}

/// What is left; less than nothing when ratios above 1 give out more than there is.
fn left(total: u64, used: u64) -> i64 {
    let whole = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
    whole(total) - whole(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracked(vm_state: VmState, task: Option<TaskState>) -> Tracked {
        Tracked {
            name: "web-1".into(),
            flavor: "c1".into(),
            demand: Demand { vcpus: 2, memory_mb: 64, disk_gb: 1 },
            vm_state,
            task,
            os_type: None,
            project_id: "p1".into(),
            power: PowerState::Running,
        }
    }

    #[test]
    fn stats_are_those_recorded_from_nova_compute() {
        let building = [tracked(VmState::Building, None)];
        let expected = [
            ("failed_builds", "0"),
            ("io_workload", "1"),
            ("num_instances", "1"),
            ("num_os_type_None", "1"),
            ("num_proj_p1", "1"),
            ("num_task_None", "1"),
            ("num_vm_building", "1"),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(stats(building.iter(), 0), BTreeMap::from(expected));
    }

    #[test]
    fn an_empty_host_still_counts_its_failures() {
        assert_eq!(stats([].iter(), 3)["failed_builds"], "3");
    }

    #[test]
    fn more_may_be_given_out_than_there_is() {
        assert_eq!(left(100, 150), -50);
    }
}
