//! `nova.objects.compute_node`: a hypervisor and what it has left.

object! {
    /// A row of `openstack hypervisor list`. Its uuid is the resource provider's.
    ComputeNode = "ComputeNode" "1.19" {
        int id;
        text uuid, set_uuid;
        int service_id, set_service_id;
        text host, set_host;
        text host_ip, set_host_ip;
        text hypervisor_hostname, set_hypervisor_hostname;
        text hypervisor_type, set_hypervisor_type;
        int hypervisor_version, set_hypervisor_version;
        int vcpus, set_vcpus;
        int vcpus_used, set_vcpus_used;
        int memory_mb, set_memory_mb;
        int memory_mb_used, set_memory_mb_used;
        int free_ram_mb, set_free_ram_mb;
        int local_gb, set_local_gb;
        int local_gb_used, set_local_gb_used;
        int free_disk_gb, set_free_disk_gb;
        int disk_available_least, set_disk_available_least;
        int current_workload, set_current_workload;
        int running_vms, set_running_vms;
        text cpu_info, set_cpu_info;
        text metrics, set_metrics;
        dict stats, set_stats;
        float cpu_allocation_ratio, set_cpu_allocation_ratio;
        float ram_allocation_ratio, set_ram_allocation_ratio;
        float disk_allocation_ratio, set_disk_allocation_ratio;
        any supported_hv_specs, set_supported_hv_specs;
    }
}

object! {
    /// A kind of guest that a node can run.
    HvSpec = "HVSpec" "1.2" {
        text arch, set_arch;
        text hv_type, set_hv_type;
        text vm_mode, set_vm_mode;
    }
}
