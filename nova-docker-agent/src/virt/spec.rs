//! Decides what the container of an instance looks like. Pure; golden-tested.

use std::collections::BTreeMap;

use common::docker::{ContainerSpec, Limits, LogConfig, Restart};
use common::ids::InstanceUuid;

use super::grants::Grants;
use super::sandbox::SANDBOX_LABEL;
use super::wishes::Wishes;
use super::{
    Error, InstanceSpec, config_drive, cpu, disk_io, ephemeral, grants, guest_files, rescue, sandbox_name,
    wishes,
};
use crate::config::Config;
use crate::image::ImageHandle;
use crate::network::guest;

/// What the names of our labels begin with.
pub(super) const LABEL_PREFIX: &str = "nova.";

/// Label with the instance's uuid.
pub(super) const UUID_LABEL: &str = "nova.instance_uuid";

/// Label with the compute service's host: several agents may share one dockerd.
pub(super) const HOST_LABEL: &str = "nova.host";

/// dockerd refuses less memory than this.
const LEAST_MEMORY_MB: u64 = 6;

/// Name of the container of an instance.
pub fn container_name(uuid: InstanceUuid) -> String {
    format!("nova-{uuid}")
}

/// What Docker's storage can do.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Storage<'a> {
    /// Limit the size of root disks.
    pub(super) quota: bool,
    /// The device with all of them, if it is known.
    pub(super) device: Option<&'a str>,
}

/// The container of `instance`, run from `image`, on a host whose Docker has this `storage`.
///
/// # Errors
/// [`Error::InvalidSpec`] for a flavor, [`Error::ImageUnacceptable`] for an image that cannot become a container.
pub(super) fn container(
    instance: &InstanceSpec,
    image: &ImageHandle,
    config: &Config,
    storage: Storage<'_>,
) -> Result<ContainerSpec, Error> {
    let (wishes, grants) = described(instance, config)?;
    says_what_to_run(instance, image, &wishes)?;
    let mut storage_opt = BTreeMap::new();
    if storage.quota && instance.root_gb > 0 {
        storage_opt.insert("size".to_owned(), format!("{}G", instance.root_gb));
    }
    Ok(ContainerSpec {
        name: container_name(instance.uuid),
        image: image.docker_id.clone(),
        labels: labels(instance, config),
        // With a sandbox the name is the sandbox's, and dockerd refuses one here.
        hostname: Some(guest::usable(&instance.hostname))
            .filter(|name| !name.is_empty() && !instance.sandboxed),
        user: wishes.user,
        env: environment(wishes.env),
        entrypoint: wishes.entrypoint,
        command: wishes.command,
        working_dir: wishes.working_dir,
        tty: wishes.tty,
        init: wishes.init,
        stop_signal: wishes.stop_signal,
        healthcheck: wishes.healthcheck,
        limits: limits(instance, config, &grants)?,
        disk_io: disk_io::limits(&instance.extra_specs, storage.device)?,
        ulimits: grants.ulimits,
        shm_size: grants.shm_size,
        cap_add: grants.cap_add,
        cap_drop: wishes.cap_drop,
        security_opt: security_opt(config, wishes.no_new_privileges),
        network: match instance.sandboxed {
            true => format!("container:{}", sandbox_name(instance.uuid)),
            false => "none".into(),
        },
        network_disabled: !instance.sandboxed,
        binds: binds(instance, config),
        tmpfs: grants.tmpfs,
        storage_opt,
        // The agent decides what happens when an instance ends, not dockerd.
        restart: Restart::No,
        log: log(config),
        runtime: config.docker.runtime.clone(),
        ..ContainerSpec::default()
    })
}

/// By this name of the product cloud-init knows that it is in a cloud of OpenStack's, so that it asks for metadata: a virtual
/// machine has it in its firmware (Nova: `nova.version.product_string`), a container in the environment of its first process.
const PRODUCT: (&str, &str) = ("product_name", "OpenStack Nova");

fn environment(mut wanted: Vec<String>) -> Vec<String> {
    let (name, value) = PRODUCT;
    if !wanted.iter().any(|other| other.split_once('=').is_some_and(|(other, _)| other == name)) {
        wanted.push(format!("{name}={value}"));
    }
    wanted
}

pub(super) fn labels(instance: &InstanceSpec, config: &Config) -> BTreeMap<String, String> {
    [
        (UUID_LABEL, instance.uuid.to_string()),
        (HOST_LABEL, config.host.clone()),
        ("nova.instance_name", instance.name.clone()),
        ("nova.display_name", instance.display_name.clone()),
        ("nova.project_id", instance.project_id.clone()),
        ("nova.user_id", instance.user_id.clone()),
        ("nova.image_id", instance.image_id.clone()),
        (SANDBOX_LABEL, "false".to_owned()),
    ]
    .map(|(label, value)| (label.to_owned(), value))
    .into()
}

/// What users wish for the container and what the operator grants to it.
///
/// # Errors
/// [`Error::InvalidSpec`] names what cannot be followed.
pub(super) fn described(instance: &InstanceSpec, config: &Config) -> Result<(Wishes, Grants), Error> {
    let wishes = wishes::read(instance, &config.docker)?;
    Ok((wishes, grants::read(&instance.extra_specs, &config.docker)?))
}

/// An image without a command needs one from its description.
fn says_what_to_run(instance: &InstanceSpec, image: &ImageHandle, wishes: &Wishes) -> Result<(), Error> {
    let entrypoint = wishes.entrypoint.as_ref().is_some_and(|words| !words.is_empty());
    if image.has_command || wishes.command.is_some() || entrypoint {
        return Ok(());
    }
    let reason = "it says nothing to run: no entry point, no command, no docker_command".into();
    Err(Error::ImageUnacceptable { image: instance.image_id.clone(), reason })
}

fn security_opt(config: &Config, no_new_privileges: bool) -> Vec<String> {
    let wish = no_new_privileges.then(|| "no-new-privileges".to_owned());
    config.docker.security_opt.iter().cloned().chain(wish).collect()
}

fn binds(instance: &InstanceSpec, config: &Config) -> Vec<String> {
    let drive = config_drive::wanted(instance, config).then(|| config_drive::bind(config, instance.uuid));
    let rescue = instance.rescue.then(|| rescue::bind(instance.uuid));
    let disk = ephemeral::bind(instance);
    guest_files::binds(config, instance.uuid).into_iter().chain(drive).chain(rescue).chain(disk).collect()
}

/// What the container of `instance` may take of the host.
///
/// # Errors
/// As [`container`].
pub(super) fn limits_of(instance: &InstanceSpec, config: &Config) -> Result<Limits, Error> {
    let (_, grants) = described(instance, config)?;
    limits(instance, config, &grants)
}

fn limits(instance: &InstanceSpec, config: &Config, grants: &Grants) -> Result<Limits, Error> {
    if instance.memory_mb < LEAST_MEMORY_MB {
        return Err(Error::InvalidSpec(format!(
            "the flavor has {} MiB of memory, but a container needs {LEAST_MEMORY_MB} MiB at least",
            instance.memory_mb
        )));
    }
    let bytes = |megabytes: u64| i64::try_from(megabytes.saturating_mul(1024 * 1024)).unwrap_or(i64::MAX);
    let memory = bytes(instance.memory_mb);
    let cpu = cpu::limits(instance.vcpus, &instance.extra_specs)?;
    Ok(Limits {
        cpu_shares: cpu.shares,
        cpu_period: cpu.period,
        cpu_quota: cpu.quota,
        memory,
        // Memory and swap together.
        memory_swap: memory.saturating_add(bytes(instance.swap_mb)),
        pids: grants.pids_limit.unwrap_or(config.docker.pids_limit),
    })
}

fn log(config: &Config) -> LogConfig {
    let options = [("max-size", format!("{}m", config.docker.log_max_size_mb)), ("max-file", "2".into())];
    LogConfig {
        driver: "json-file".into(),
        options: options.map(|(key, value)| (key.to_owned(), value)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support;

    fn image() -> ImageHandle {
        ImageHandle { image_id: "glance-id".into(), docker_id: "sha256:abc".into(), has_command: true }
    }

    const STORAGE: Storage<'_> = Storage { quota: true, device: Some("/dev/vda") };

    fn spec(change: impl FnOnce(&mut InstanceSpec)) -> Result<ContainerSpec, Error> {
        let mut instance = test_support::instance();
        change(&mut instance);
        container(&instance, &image(), &test_support::config(), STORAGE)
    }

    #[test]
    fn a_plain_instance() {
        insta::assert_debug_snapshot!(spec(|_| {}).unwrap());
    }

    #[test]
    fn a_flavor_and_an_image_with_wishes() {
        let wishful = spec(|instance| {
            instance.vcpus = 2;
            instance.root_gb = 0;
            instance.ephemeral_gb = 5;
            instance.swap_mb = 32;
            instance.hostname = format!("{}-tail", "h".repeat(62));
            let map = |pairs: &[(&str, &str)]| {
                pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
            };
            instance.extra_specs = map(&[
                ("quota:cpu_quota", "50000"),
                ("quota:cpu_shares", "10"),
                ("quota:disk_write_bytes_sec", "1048576"),
                ("docker:pids_limit", "64"),
                ("docker:shm_size_mb", "128"),
                ("docker:tmpfs", "/run=16"),
                ("docker:ulimit_nofile", "1024"),
            ]);
            instance.image_properties = map(&[
                ("docker_init", "True"),
                ("os_command_line", "sleep '1 0'"),
                ("docker_user", "www-data"),
                ("docker_no_new_privileges", "on"),
                ("docker_cap_drop", "NET_RAW"),
            ]);
            instance.config_drive = true;
            instance.metadata = map(&[("docker_env_GREETING", "hello world"), ("docker_workdir", "/srv")]);
        });
        insta::assert_debug_snapshot!(wishful.unwrap());
    }

    #[test]
    fn an_instance_with_ports_lives_in_its_sandbox() {
        let spec = spec(|instance| instance.sandboxed = true).unwrap();
        assert_eq!(spec.network, "container:nova-2d206834-23ab-4b5d-a236-4608f438a9e2-net");
        assert_eq!(spec.hostname, None);
    }

    #[test]
    fn without_quotas_the_disk_has_no_size() {
        let spec =
            container(&test_support::instance(), &image(), &test_support::config(), Storage::default())
                .unwrap();
        assert!(spec.storage_opt.is_empty());
    }

    #[test]
    fn too_little_memory_is_told() {
        let error = spec(|instance| instance.memory_mb = 4).unwrap_err();
        assert_eq!(error.to_string(), "the flavor has 4 MiB of memory, but a container needs 6 MiB at least");
    }

    #[test]
    fn an_image_must_say_what_to_run() {
        let mute = ImageHandle { has_command: false, ..image() };
        let mut instance = test_support::instance();
        let error = container(&instance, &mute, &test_support::config(), STORAGE).unwrap_err();
        assert!(error.to_string().contains("it says nothing to run"), "{error}");
        instance.image_properties.insert("os_command_line".into(), "/bin/sh".into());
        let spec = container(&instance, &mute, &test_support::config(), STORAGE).unwrap();
        assert_eq!(spec.command, Some(vec!["/bin/sh".into()]));
    }
}
