//! Host facts and options become inventories and traits; pure (Nova: `update_provider_tree`).

use std::collections::BTreeSet;

pub use common::openstack::placement::{Inventories, Inventory};

use super::{HostFacts, cpu_traits};
use crate::config::Config;

/// Trait of a provider whose compute service is disabled: the scheduler passes it over.
pub const STATUS_DISABLED: &str = "COMPUTE_STATUS_DISABLED";

/// VCPU, MEMORY_MB and DISK_GB of this host.
///
/// A class of which nothing is left after the reservation is not offered, for placement refuses `reserved` > `total`.
pub fn plan(facts: &HostFacts, config: &Config) -> Inventories {
    let reserved_gb = config.reserved_host_disk_mb.div_ceil(1024);
    [
        ("VCPU", facts.vcpus, config.reserved_host_cpus, config.cpu_allocation_ratio),
        ("MEMORY_MB", facts.memory_mb, config.reserved_host_memory_mb, config.ram_allocation_ratio),
        ("DISK_GB", facts.local_gb, reserved_gb, config.disk_allocation_ratio),
    ]
    .into_iter()
    .filter(|(_, total, reserved, _)| reserved < total)
    .map(|(class, total, reserved, allocation_ratio)| {
        let inventory =
            Inventory { total, reserved, min_unit: 1, max_unit: total, step_size: 1, allocation_ratio };
        (class.to_owned(), inventory)
    })
    .collect()
}

/// The traits of this host's provider. `disabled`: the compute service is disabled.
///
/// OWNER_NOVA and COMPUTE_NODE are what the scheduler asks for; COMPUTE_IMAGE_TYPE_RAW is asked for with
/// `[scheduler] query_placement_for_image_type_support`, for our images have `disk_format` raw.
pub fn traits(facts: &HostFacts, disabled: bool) -> BTreeSet<String> {
    let arch = match facts.arch.as_str() {
        "x86_64" => Some("HW_ARCH_X86_64"),
        "aarch64" => Some("HW_ARCH_AARCH64"),
        _ => None,
    };
    // Ports can be attached later, and have tags.
    let nics =
        ["COMPUTE_NET_ATTACH_INTERFACE", "COMPUTE_NET_ATTACH_INTERFACE_WITH_TAG", "COMPUTE_DEVICE_TAGGING"];
    ["COMPUTE_NODE", "OWNER_NOVA", "COMPUTE_IMAGE_TYPE_RAW"]
        .into_iter()
        .chain(nics)
        .chain(cpu_traits::of(&facts.cpu_flags))
        .chain(facts.hyperthreading.then_some(cpu_traits::HYPERTHREADING))
        .chain(arch)
        .chain(disabled.then_some(STATUS_DISABLED))
        .map(str::to_owned)
        .collect()
}

/// The traits that the provider shall have: `wanted`, and of `present` what is not the agent's to give.
///
/// Operators and other services put traits on providers, too (CUSTOM_…, HW_…); those of compute drivers are ours, and of
/// processors those that the agent knows.
pub(super) fn merge_traits(present: &BTreeSet<String>, wanted: &BTreeSet<String>) -> BTreeSet<String> {
    let ours = |name: &str| name.starts_with("COMPUTE_") || name == "OWNER_NOVA" || cpu_traits::is_one(name);
    let theirs = present.iter().filter(|name| !ours(name));
    wanted.iter().chain(theirs).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support;

    #[test]
    fn the_host_is_offered_less_what_is_reserved() {
        let mut config = test_support::config();
        config.reserved_host_disk_mb = 1500;
        let plan = plan(&test_support::host_facts(), &config);
        let inventory = |total, reserved, allocation_ratio| Inventory {
            total,
            reserved,
            min_unit: 1,
            max_unit: total,
            step_size: 1,
            allocation_ratio,
        };
        assert_eq!(plan["VCPU"], inventory(2, 0, 4.0));
        assert_eq!(plan["MEMORY_MB"], inventory(4096, 512, 1.0));
        assert_eq!(plan["DISK_GB"], inventory(100, 2, 1.0));
    }

    #[test]
    fn a_class_that_is_all_reserved_is_not_offered() {
        let mut config = test_support::config();
        config.reserved_host_memory_mb = 4096;
        assert!(!plan(&test_support::host_facts(), &config).contains_key("MEMORY_MB"));
    }

    #[test]
    fn the_traits_that_the_scheduler_needs_are_there() {
        let traits = traits(&test_support::host_facts(), false);
        assert!(
            traits.contains("OWNER_NOVA")
                && traits.contains("COMPUTE_NODE")
                && traits.contains("HW_ARCH_X86_64")
        );
        assert!(!traits.contains(STATUS_DISABLED));
        assert!(super::traits(&test_support::host_facts(), true).contains(STATUS_DISABLED));
    }

    #[test]
    fn traits_of_others_stay() {
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        let present = set(&[
            "CUSTOM_RACK_7",
            "COMPUTE_STATUS_DISABLED",
            "COMPUTE_ACCELERATORS",
            "OWNER_NOVA",
            "HW_CPU_X86_MPX",
            "HW_CPU_X86_SGX",
        ]);
        let wanted = set(&["COMPUTE_NODE", "OWNER_NOVA"]);
        let left = ["COMPUTE_NODE", "CUSTOM_RACK_7", "HW_CPU_X86_SGX", "OWNER_NOVA"];
        assert_eq!(merge_traits(&present, &wanted), set(&left));
    }
}
