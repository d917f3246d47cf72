//! Which versions of Nova's classes are asked for and read (OBJECTS §5.1): those of 2024.1, the oldest release that is
//! served; of shares, which nobody sends before 2025.1, those of 2025.1.
//!
//! The conductor converts its answer down to the version of the class that is asked for; a version above its own is an
//! error. One entry per question is a legal manifest, and the reader copes with newer children.

use serde_json::{Map, Value, json};

/// The classes and their versions.
const VERSIONS: &[(&str, &str)] = &[
    ("BlockDeviceMapping", "1.21"),
    ("BlockDeviceMappingList", "1.18"),
    ("ComputeNode", "1.19"),
    ("ComputeNodeList", "1.17"),
    ("ConsoleAuthToken", "1.2"),
    ("Flavor", "1.2"),
    ("HVSpec", "1.2"),
    ("ImageMeta", "1.8"),
    ("ImageMetaProps", "1.37"),
    ("Instance", "2.8"),
    ("InstanceAction", "1.2"),
    ("InstanceActionEvent", "1.4"),
    ("InstanceExternalEvent", "1.5"),
    ("InstanceFault", "1.2"),
    ("InstanceGroup", "1.11"),
    ("InstanceInfoCache", "1.5"),
    ("InstanceList", "2.6"),
    ("Migration", "1.8"),
    ("MigrationContext", "1.2"),
    ("MigrationList", "1.5"),
    ("NetworkRequest", "1.3"),
    ("NetworkRequestList", "1.1"),
    ("RequestSpec", "1.15"),
    ("Service", "1.22"),
    ("ShareMapping", "1.2"),
    ("VirtualInterface", "1.3"),
    ("VirtualInterfaceList", "1.0"),
];

/// The version of `class` to ask for; none for a class the agent has nothing to do with.
pub fn version(class: &str) -> Option<&'static str> {
    VERSIONS.iter().find(|(known, _)| *known == class).map(|(_, version)| *version)
}

/// All classes that are read, for `object_backport_versions`.
pub fn all() -> Value {
    VERSIONS
        .iter()
        .map(|(class, version)| ((*class).to_owned(), json!(version)))
        .collect::<Map<_, _>>()
        .into()
}

/// True for an object that is, or holds, one of a newer major version than is read. A newer minor version only adds, and is
/// read as it is.
pub fn is_newer(value: &Value) -> bool {
    let major = |version: &str| version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    match value {
        Value::Object(fields) => {
            let text = |key| fields.get(key).and_then(Value::as_str);
            let known = text("nova_object.name").and_then(version).and_then(major);
            let newer = text("nova_object.version").and_then(major) > known;
            (known.is_some() && newer) || fields.values().any(is_newer)
        }
        Value::Array(values) => values.iter().any(is_newer),
        _ => false,
    }
}

/// The `object_versions` argument of a class method.
pub fn manifest(class: &str) -> Value {
    version(class).map_or_else(|| json!({}), |version| json!({class: version}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{
        BlockDeviceMapping, ComputeNode, Flavor, ImageMeta, Instance, InstanceFault, InstanceInfoCache,
        Migration, NetworkRequest, Service, ShareMapping, Versioned, VirtualInterface,
    };

    #[test]
    fn the_manifest_agrees_with_the_classes() {
        fn same<T: Versioned>() {
            assert_eq!(version(T::NAME), Some(T::VERSION), "{}", T::NAME);
        }
        same::<BlockDeviceMapping>();
        same::<Flavor>();
        same::<ImageMeta>();
        same::<NetworkRequest>();
        same::<ShareMapping>();
        same::<ComputeNode>();
        same::<Instance>();
        same::<InstanceFault>();
        same::<InstanceInfoCache>();
        same::<Migration>();
        same::<Service>();
        same::<VirtualInterface>();
    }

    #[test]
    fn only_a_newer_major_of_a_class_that_is_read_has_to_be_converted() {
        let object = |class, version, data: Value| json!({"nova_object.name": class, "nova_object.version": version, "nova_object.data": data});
        let flavor = |version| json!({"flavor": object("Flavor", version, json!({}))});
        for (value, newer) in [
            (object("Instance", "2.8", flavor("1.2")), false),
            (object("Instance", "2.99", flavor("1.9")), false),
            (object("Instance", "3.0", flavor("1.2")), true),
            (object("Instance", "2.8", flavor("2.0")), true),
            (object("Instance", "1.0", json!({})), false),
            (object("Stranger", "9.0", json!({})), false),
            (object("Instance", "new", json!({})), false),
            (json!([1, object("Service", "2.0", json!({}))]), true),
        ] {
            assert_eq!(is_newer(&value), newer, "{value}");
        }
    }
}
