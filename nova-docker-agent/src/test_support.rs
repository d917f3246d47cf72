//! What unit tests of several modules share.

use common::ids::InstanceUuid;

use crate::config::Config;
use crate::virt::{GuestSetup, HostFacts, InstanceSpec};

/// A configuration with every default and fixed names.
pub(crate) fn config() -> Config {
    let text = "[DEFAULT]\nhost = host1\nmy_ip = 127.0.0.1\ntransport_url = rabbit://h/\n\
                [placement]\nauth_url = http://k\nusername = u\npassword = p\nproject_name = service\n";
    Config::from_text(text).unwrap()
}

/// A small instance.
pub(crate) fn instance() -> InstanceSpec {
    InstanceSpec {
        uuid: uuid(),
        sandboxed: false,
        rescue: false,
        name: "instance-00000001".into(),
        display_name: "my server".into(),
        hostname: "my-server".into(),
        project_id: "project".into(),
        user_id: "user".into(),
        image_id: "glance-id".into(),
        vcpus: 1,
        memory_mb: 64,
        root_gb: 1,
        ephemeral_gb: 0,
        swap_mb: 0,
        extra_specs: [].into(),
        metadata: [].into(),
        ssh_key: None,
        config_drive: false,
        setup: GuestSetup::default(),
        image_properties: [].into(),
    }
}

/// Its uuid.
pub(crate) fn uuid() -> InstanceUuid {
    "2d206834-23ab-4b5d-a236-4608f438a9e2".parse().unwrap()
}

/// A small host.
pub(crate) fn host_facts() -> HostFacts {
    HostFacts {
        vcpus: 2,
        memory_mb: 4096,
        memory_mb_used: 1024,
        local_gb: 100,
        local_gb_used: 40,
        disk_available_least: 55,
        hypervisor_type: "docker",
        hypervisor_version: 20_010_024,
        hypervisor_hostname: "host1".into(),
        cpu_info: "{}".into(),
        arch: "x86_64".into(),
        cpu_flags: [].into(),
        hyperthreading: false,
        docker_version: "20.10.24".into(),
    }
}
