//! oslo.versionedobjects: Nova's data model on the wire.
//!
//! Rules (OBJECTS §1): a newer minor version is read, fields we do not know are kept and go back unchanged, version
//! numbers are never "corrected", and only fields that we set are written (`nova_object.changes`). What we do know is
//! checked once, when the object is read, so that the getters cannot fail.

#[macro_use]
mod macros;

mod block_device_mapping;
mod compute_node;
mod console_auth_token;
pub mod fields;
mod flavor;
mod image_meta;
mod instance;
mod instance_fault;
mod instance_group;
mod instance_info_cache;
pub mod manifest;
mod migration;
mod network_request;
mod object;
mod service;
mod share_mapping;
mod virtual_interface;

pub use block_device_mapping::BlockDeviceMapping;
pub use compute_node::{ComputeNode, HvSpec};
pub use console_auth_token::ConsoleAuthToken;
pub use flavor::Flavor;
pub use image_meta::ImageMeta;
pub use instance::Instance;
pub use instance_fault::InstanceFault;
pub use instance_group::InstanceGroup;
pub use instance_info_cache::InstanceInfoCache;
pub use migration::Migration;
pub use network_request::NetworkRequest;
pub use object::{Error, Object, Versioned, list, list_strictly, timestamp};
pub use service::Service;
pub use share_mapping::ShareMapping;
pub use virtual_interface::VirtualInterface;
