//! Nova's objects become what hypervisor and image store need; pure.

use std::collections::BTreeMap;

use common::objects::{Flavor, Instance, Object};
use serde_json::Value;

use crate::error::Error;
use crate::image::ImageRequest;
use crate::virt::{GuestSetup, InstanceSpec};

/// Prefix of the image's properties in `Instance.system_metadata`.
const IMAGE: &str = "image_";

/// The instance as the hypervisor sees it. `properties`: those of the image.
///
/// # Errors
/// [`Error::Arguments`] when Nova left out what a container cannot be made without.
pub fn instance_spec(
    instance: &Instance,
    properties: BTreeMap<String, String>,
) -> Result<InstanceSpec, Error> {
    let missing = |problem: &str| Error::Arguments { method: "spawn".into(), problem: problem.into() };
    let uuid = instance.instance_uuid().ok_or_else(|| missing("the instance has no uuid"))?;
    let flavor = instance.flavor().ok_or_else(|| missing("the instance has no flavor"))?;
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    Ok(InstanceSpec {
        uuid,
        sandboxed: false,
        rescue: false,
        name: instance.name(),
        display_name: text(instance.display_name()),
        hostname: text(instance.hostname()),
        project_id: text(instance.project_id()),
        user_id: text(instance.user_id()),
        image_id: text(instance.image_ref()),
        vcpus: amount(flavor.vcpus()),
        memory_mb: amount(flavor.memory_mb()),
        root_gb: amount(flavor.root_gb()),
        ephemeral_gb: amount(flavor.ephemeral_gb()),
        swap_mb: amount(flavor.swap()),
        extra_specs: flavor.extra_specs(),
        metadata: instance.metadata(),
        config_drive: instance.config_drive().is_some_and(|drive| !drive.is_empty()),
        setup: GuestSetup::default(),
        ssh_key: instance.key_data().map(str::to_owned),
        image_properties: properties,
    })
}

/// What the request of a build or rebuild brings along for the guest.
///
/// # Errors
/// Nova's `Base64Exception` for a file that is none.
pub fn guest_setup(injected_files: &Value, password: &Value) -> Result<GuestSetup, Error> {
    GuestSetup::read(injected_files, password).map_err(|path| Error::Refused {
        class: "Base64Exception",
        code: 500,
        message: format!("Invalid Base 64 data for file {path}"),
    })
}

fn amount<T: TryFrom<i64> + Default>(value: Option<i64>) -> T {
    value.and_then(|value| T::try_from(value).ok()).unwrap_or_default()
}

/// The image of a build: the dictionary that nova-api sends along.
pub fn image_of_build(image: &Value, instance: &Instance) -> (ImageRequest, BTreeMap<String, String>) {
    let text = |key: &str| image.get(key).and_then(Value::as_str).map(str::to_owned);
    let request = ImageRequest {
        id: text("id").or_else(|| instance.image_ref().map(str::to_owned)).unwrap_or_default(),
        checksum: text("checksum"),
        size: image.get("size").and_then(Value::as_u64),
        container_format: text("container_format").unwrap_or_default(),
        disk_format: text("disk_format").unwrap_or_default(),
    };
    let properties = image.get("properties").and_then(Value::as_object).into_iter().flatten();
    let properties =
        properties.filter_map(|(name, value)| Some((name.clone(), Object::text_of(value)?))).collect();
    (request, properties)
}

/// The image of an instance that exists: what Nova kept of it.
pub fn image_of_instance(instance: &Instance) -> (ImageRequest, BTreeMap<String, String>) {
    let mut properties: BTreeMap<String, String> = instance
        .system_metadata()
        .into_iter()
        .filter_map(|(key, value)| Some((key.strip_prefix(IMAGE)?.to_owned(), value)))
        .collect();
    let request = ImageRequest {
        id: instance.image_ref().unwrap_or_default().to_owned(),
        container_format: properties.remove("container_format").unwrap_or_default(),
        disk_format: properties.remove("disk_format").unwrap_or_default(),
        ..ImageRequest::default()
    };
    (request, properties)
}

/// Whether the user wants an image that is signed by certificates he trusts (`Instance.trusted_certs`).
pub fn asks_for_certificates(instance: &Instance) -> bool {
    let ids = instance.trusted_certs().and_then(|certs| certs.pointer("/nova_object.data/ids"));
    ids.and_then(Value::as_array).is_some_and(|ids| !ids.is_empty())
}

/// Seconds a guest has to end by itself: the image's `os_shutdown_timeout`, else `default`; none when not asked to be
/// clean (Nova: `_get_power_off_values`).
pub fn stop_seconds(instance: &Instance, clean: bool, default: u64) -> u64 {
    if !clean {
        return 0;
    }
    let wish = instance.system_metadata().remove("image_os_shutdown_timeout");
    wish.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What an instance takes from the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Virtual processors.
    pub vcpus: u64,
    /// Memory, in MiB.
    pub memory_mb: u64,
    /// Disk, in GiB: root disk, ephemeral disk, and whole GiB of swap.
    pub disk_gb: u64,
}

impl Demand {
    /// From the flavor, else from the instance's own columns.
    pub fn of(instance: &Instance) -> Self {
        let of_flavor = |flavor: &Flavor| Self {
            vcpus: amount(flavor.vcpus()),
            memory_mb: amount(flavor.memory_mb()),
            disk_gb: amount::<u64>(flavor.root_gb())
                + amount::<u64>(flavor.ephemeral_gb())
                + amount::<u64>(flavor.swap()) / 1024,
        };
        instance.flavor().as_ref().map_or_else(
            || Self {
                vcpus: amount(instance.vcpus()),
                memory_mb: amount(instance.memory_mb()),
                disk_gb: amount::<u64>(instance.root_gb()) + amount::<u64>(instance.ephemeral_gb()),
            },
            of_flavor,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::objects::Versioned;
    use serde_json::json;

    fn instance(system_metadata: Value) -> Instance {
        Instance::parse(json!({
            "nova_object.name": "Instance", "nova_object.namespace": "nova", "nova_object.version": "2.8",
            "nova_object.data": {
                "id": 1, "uuid": "2d206834-23ab-4b5d-a236-4608f438a9e2", "hostname": "rec1", "image_ref": "i-1",
                "system_metadata": system_metadata,
                "flavor": {
                    "nova_object.name": "Flavor", "nova_object.namespace": "nova", "nova_object.version": "1.2",
                    "nova_object.data": {"vcpus": 2, "memory_mb": 64, "root_gb": 1, "ephemeral_gb": 3, "swap": 2500,
                                         "extra_specs": {"quota:cpu_quota": "5000"}},
                },
            },
        }))
        .unwrap()
    }

    #[test]
    fn the_flavor_says_what_the_container_gets() {
        let spec = instance_spec(&instance(json!({})), BTreeMap::new()).unwrap();
        assert_eq!((spec.vcpus, spec.memory_mb, spec.root_gb), (2, 64, 1));
        assert_eq!((spec.ephemeral_gb, spec.swap_mb), (3, 2500));
        assert_eq!((spec.name.as_str(), spec.hostname.as_str()), ("instance-00000001", "rec1"));
        assert_eq!(spec.extra_specs["quota:cpu_quota"], "5000");
        assert_eq!(Demand::of(&instance(json!({}))), Demand { vcpus: 2, memory_mb: 64, disk_gb: 6 });
    }

    #[test]
    fn an_instance_without_flavor_is_refused() {
        let mut bare = instance(json!({}));
        bare.object_mut().remove("flavor");
        assert!(instance_spec(&bare, BTreeMap::new()).is_err());
    }

    #[test]
    fn the_image_is_known_from_the_build_or_from_system_metadata() {
        let image = json!({"id": "i-2", "checksum": "c", "size": 5, "container_format": "docker",
            "disk_format": "raw", "os_hash_value": "h", "properties": {"os_type": "linux", "n": 1, "none": null}});
        let (request, properties) = image_of_build(&image, &instance(json!({})));
        assert_eq!((request.id.as_str(), request.size), ("i-2", Some(5)));
        assert_eq!(
            properties,
            BTreeMap::from([("os_type".into(), "linux".into()), ("n".into(), "1".into())])
        );
        let kept =
            json!({"image_container_format": "docker", "image_disk_format": "raw", "image_os_type": "linux"});
        let (request, properties) = image_of_instance(&instance(kept));
        assert_eq!((request.id.as_str(), request.container_format.as_str()), ("i-1", "docker"));
        assert_eq!(properties, BTreeMap::from([("os_type".into(), "linux".into())]));
    }

    #[test]
    fn the_image_may_ask_for_more_time_to_stop() {
        assert_eq!(stop_seconds(&instance(json!({})), true, 60), 60);
        assert_eq!(stop_seconds(&instance(json!({"image_os_shutdown_timeout": "5"})), true, 60), 5);
        assert_eq!(stop_seconds(&instance(json!({"image_os_shutdown_timeout": "5"})), false, 60), 0);
    }
}
