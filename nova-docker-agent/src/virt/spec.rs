//! Decides what the container of an instance looks like. Pure; golden-tested.

use std::collections::BTreeMap;

use common::docker::{ContainerSpec, Limits, LogConfig, Restart};
use common::ids::InstanceUuid;

use super::{Error, InstanceSpec, command_line, cpu, guest_files, sandbox_name};
use crate::config::Config;
use crate::image::ImageHandle;
use crate::network::guest;

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

/// The container of `instance`, run from `image`. `disk_quota`: whether Docker can limit the root disk.
///
/// # Errors
/// [`Error::InvalidSpec`] for a flavor, [`Error::ImageUnacceptable`] for an image that cannot become a container.
pub(super) fn container(
    instance: &InstanceSpec,
    image: &ImageHandle,
    config: &Config,
    disk_quota: bool,
) -> Result<ContainerSpec, Error> {
    let command = command(instance, image)?;
    let mut storage_opt = BTreeMap::new();
    if disk_quota && instance.root_gb > 0 {
        storage_opt.insert("size".to_owned(), format!("{}G", instance.root_gb));
    }
    Ok(ContainerSpec {
        name: container_name(instance.uuid),
        image: image.docker_id.clone(),
        labels: labels(instance, config),
        // With a sandbox the name is the sandbox's, and dockerd refuses one here.
        hostname: Some(guest::usable(&instance.hostname))
            .filter(|name| !name.is_empty() && !instance.sandboxed),
        command,
        init: property_is_true(instance, "docker_init"),
        limits: limits(instance, config)?,
        network: match instance.sandboxed {
            true => format!("container:{}", sandbox_name(instance.uuid)),
            false => "none".into(),
        },
        network_disabled: !instance.sandboxed,
        binds: guest_files::binds(config, instance.uuid),
        storage_opt,
        // The agent decides what happens when an instance ends, not dockerd.
        restart: Restart::No,
        log: log(config),
        runtime: config.docker.runtime.clone(),
        ..ContainerSpec::default()
    })
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
    ]
    .map(|(label, value)| (label.to_owned(), value))
    .into()
}

/// What to run instead of the image's own command: Nova's `os_command_line` image property.
fn command(instance: &InstanceSpec, image: &ImageHandle) -> Result<Option<Vec<String>>, Error> {
    let unacceptable = |reason: String| Error::ImageUnacceptable { image: instance.image_id.clone(), reason };
    let given = match instance.image_properties.get("os_command_line") {
        Some(line) => command_line::split(line)
            .map_err(|why| unacceptable(format!("its os_command_line cannot be read: {why}")))?,
        None => Vec::new(),
    };
    if given.is_empty() && !image.has_command {
        return Err(unacceptable(
            "it says nothing to run: no entry point, no command, no os_command_line".into(),
        ));
    }
    Ok((!given.is_empty()).then_some(given))
}

fn limits(instance: &InstanceSpec, config: &Config) -> Result<Limits, Error> {
    if instance.memory_mb < LEAST_MEMORY_MB {
        return Err(Error::InvalidSpec(format!(
            "the flavor has {} MiB of memory, but a container needs {LEAST_MEMORY_MB} MiB at least",
            instance.memory_mb
        )));
    }
    let memory = i64::try_from(instance.memory_mb.saturating_mul(1024 * 1024)).unwrap_or(i64::MAX);
    let cpu = cpu::limits(instance.vcpus, &instance.extra_specs)?;
    Ok(Limits {
        cpu_shares: cpu.shares,
        cpu_period: cpu.period,
        cpu_quota: cpu.quota,
        memory,
        // Memory and swap together: no swap.
        memory_swap: memory,
        pids: config.docker.pids_limit,
    })
}

fn log(config: &Config) -> LogConfig {
    let options = [("max-size", format!("{}m", config.docker.log_max_size_mb)), ("max-file", "2".into())];
    LogConfig {
        driver: "json-file".into(),
        options: options.map(|(key, value)| (key.to_owned(), value)).into(),
    }
}

fn property_is_true(instance: &InstanceSpec, name: &str) -> bool {
    let value = instance.image_properties.get(name).map(|value| value.to_ascii_lowercase());
    value.is_some_and(|value| ["true", "yes", "1", "on"].contains(&value.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support;

    fn image() -> ImageHandle {
        ImageHandle { image_id: "glance-id".into(), docker_id: "sha256:abc".into(), has_command: true }
    }

    fn spec(change: impl FnOnce(&mut InstanceSpec)) -> Result<ContainerSpec, Error> {
        let mut instance = test_support::instance();
        change(&mut instance);
        container(&instance, &image(), &test_support::config(), true)
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
            instance.hostname = format!("{}-tail", "h".repeat(62));
            instance.extra_specs = [("quota:cpu_quota", "50000"), ("quota:cpu_shares", "10")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into();
            instance.image_properties = [("docker_init", "True"), ("os_command_line", "sleep '1 0'")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into();
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
        let spec = container(&test_support::instance(), &image(), &test_support::config(), false).unwrap();
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
        let error = container(&instance, &mute, &test_support::config(), true).unwrap_err();
        assert!(error.to_string().contains("it says nothing to run"), "{error}");
        instance.image_properties.insert("os_command_line".into(), "/bin/sh".into());
        let spec = container(&instance, &mute, &test_support::config(), true).unwrap();
        assert_eq!(spec.command, Some(vec!["/bin/sh".into()]));
    }
}
