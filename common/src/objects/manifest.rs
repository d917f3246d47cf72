//! Which versions of Nova's classes are asked for and read (OBJECTS §5.1): those of 2024.1, the oldest release that is
//! served; of shares, which nobody sends before 2025.1, those of 2025.1.
//!
//! The conductor converts its answer down to the version of the class that is asked for; a version above its own is an
//! error. One entry per question is a legal manifest, and the reader copes with newer children.

use serde_json::{Map, Value, json};

use super::{
    BlockDeviceMapping, ComputeNode, ConsoleAuthToken, Flavor, HvSpec, ImageMeta, Instance, InstanceFault,
    InstanceGroup, InstanceInfoCache, Migration, NetworkRequest, Service, ShareMapping, Versioned,
    VirtualInterface,
};

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

/// Objects in `value` that the conductor has to make older before they can be read: the outermost ones of classes that are
/// in [`all`], for a conductor converts nothing else.
///
/// Nova's own serializer has every newer minor version converted. A newer minor version only adds, and what it added is lost
/// by the conversion: here it is read, and goes back, as it came. Only where what is known of a class is not as it was is it
/// the conductor's turn, as with a newer major version.
pub fn unreadable(value: &mut Value) -> Vec<&mut Value> {
    let mut found = Vec::new();
    collect(value, &mut found);
    found
}

fn collect<'a>(value: &'a mut Value, found: &mut Vec<&'a mut Value>) {
    if class_of(value).and_then(version).is_some() {
        if must_be_older(value) {
            found.push(value);
        }
        return;
    }
    match value {
        Value::Object(fields) => fields.values_mut().for_each(|field| collect(field, found)),
        Value::Array(values) => values.iter_mut().for_each(|value| collect(value, found)),
        _ => {}
    }
}

fn class_of(value: &Value) -> Option<&str> {
    value.get("nova_object.name")?.as_str()
}

/// True for an object that cannot be read because it, or one that it holds, is of a later release.
fn must_be_older(value: &Value) -> bool {
    match value {
        Value::Object(fields) => is_strange(value) || fields.values().any(must_be_older),
        Value::Array(values) => values.iter().any(must_be_older),
        _ => false,
    }
}

fn is_strange(object: &Value) -> bool {
    let Some(class) = class_of(object) else { return false };
    let Some(known) = version(class).and_then(numbers) else { return false };
    let Some(got) = object.get("nova_object.version").and_then(Value::as_str).and_then(numbers) else {
        return false;
    };
    got.0 > known.0 || (got > known && !is_readable(class, object))
}

/// Major and minor; what follows says nothing of the fields.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

/// Whether the known fields of an object are what they are known to be; one whose fields nobody reads is readable.
fn is_readable(class: &str, object: &Value) -> bool {
    fn read<T: Versioned>(object: &Value) -> bool {
        T::parse(object.clone()).is_ok()
    }
    let read = match class {
        BlockDeviceMapping::NAME => read::<BlockDeviceMapping>,
        ComputeNode::NAME => read::<ComputeNode>,
        ConsoleAuthToken::NAME => read::<ConsoleAuthToken>,
        Flavor::NAME => read::<Flavor>,
        HvSpec::NAME => read::<HvSpec>,
        ImageMeta::NAME => read::<ImageMeta>,
        Instance::NAME => read::<Instance>,
        InstanceFault::NAME => read::<InstanceFault>,
        InstanceGroup::NAME => read::<InstanceGroup>,
        InstanceInfoCache::NAME => read::<InstanceInfoCache>,
        Migration::NAME => read::<Migration>,
        NetworkRequest::NAME => read::<NetworkRequest>,
        Service::NAME => read::<Service>,
        ShareMapping::NAME => read::<ShareMapping>,
        VirtualInterface::NAME => read::<VirtualInterface>,
        _ => return true,
    };
    read(object)
}

/// The `object_versions` argument of a class method.
pub fn manifest(class: &str) -> Value {
    version(class).map_or_else(|| json!({}), |version| json!({class: version}))
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn object(class: &str, version: &str, data: Value) -> Value {
        json!({"nova_object.name": class, "nova_object.version": version, "nova_object.data": data})
    }

    #[test]
    fn what_cannot_be_read_has_to_be_made_older_and_nothing_else() {
        let flavor = |version| json!({"flavor": object("Flavor", version, json!({"vcpus": 2}))});
        let odd = json!({"flavor": object("Flavor", "1.3", json!({"vcpus": {"least": 1, "most": 4}}))});
        for (mut value, converted) in [
            (object("Instance", "2.8", flavor("1.2")), false),
            (object("Instance", "2.99", flavor("1.9")), false),
            (object("Instance", "2.8.1", json!({"uuid": 5})), false),
            (object("Instance", "2.9", json!({"uuid": 5})), true),
            (object("Instance", "3.0", flavor("1.2")), true),
            (object("Instance", "2.8", flavor("2.0")), true),
            (object("Instance", "2.8", odd), true),
            (object("Instance", "1.0", json!({})), false),
            (object("RequestSpec", "1.16", json!({"image": 7})), false),
            (object("RequestSpec", "2.0", json!({})), true),
            (object("Stranger", "9.0", json!({})), false),
            (object("Instance", "new", json!({})), false),
        ] {
            let text = value.to_string();
            assert_eq!(!unreadable(&mut value).is_empty(), converted, "{text}");
        }
    }

    #[test]
    fn the_outermost_objects_are_converted_of_classes_that_a_conductor_is_told_the_version_of() {
        let service = || object("Service", "2.0", json!({}));
        let instance = object("Instance", "2.8", json!({"services": [service()]}));
        let stranger = object("Stranger", "1.0", json!({"service": service()}));
        let mut value = json!({"list": [1, service(), instance], "properties": {"of": stranger}});
        let found = unreadable(&mut value);
        let mut classes: Vec<_> = found.iter().filter_map(|object| class_of(object)).collect();
        classes.sort_unstable();
        assert_eq!(classes, ["Instance", "Service", "Service"]);
    }
}
