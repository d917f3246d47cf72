//! Which versions of Nova's classes are asked for (OBJECTS §5.1): those of 2024.1, the oldest release that is served.
//!
//! The conductor converts its answer down to the version of the class that is asked for; a version above its own is an
//! error. One entry per question is a legal manifest, and the reader copes with newer children.

use serde_json::{Value, json};

/// The version of `class` to ask for; none for a class the agent never asks for.
pub fn version(class: &str) -> Option<&'static str> {
    Some(match class {
        "BlockDeviceMapping" => "1.21",
        "BlockDeviceMappingList" => "1.18",
        "ComputeNode" => "1.19",
        "ComputeNodeList" => "1.17",
        "ConsoleAuthToken" => "1.2",
        "Instance" => "2.8",
        "InstanceAction" => "1.2",
        "InstanceActionEvent" => "1.4",
        "InstanceFault" => "1.2",
        "InstanceInfoCache" => "1.5",
        "InstanceList" => "2.6",
        "Migration" => "1.8",
        "MigrationList" => "1.5",
        "Service" => "1.22",
        "VirtualInterface" => "1.3",
        "VirtualInterfaceList" => "1.0",
        _ => return None,
    })
}

/// The `object_versions` argument of a class method.
pub fn manifest(class: &str) -> Value {
    version(class).map_or_else(|| json!({}), |version| json!({class: version}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{
        BlockDeviceMapping, ComputeNode, Instance, InstanceFault, InstanceInfoCache, Migration, Service,
        Versioned, VirtualInterface,
    };

    #[test]
    fn the_manifest_agrees_with_the_classes() {
        fn same<T: Versioned>() {
            assert_eq!(version(T::NAME), Some(T::VERSION), "{}", T::NAME);
        }
        same::<BlockDeviceMapping>();
        same::<ComputeNode>();
        same::<Instance>();
        same::<InstanceFault>();
        same::<InstanceInfoCache>();
        same::<Migration>();
        same::<Service>();
        same::<VirtualInterface>();
    }
}
