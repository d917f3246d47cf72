//! What the driver must know of an instance; filled by its callers from Nova's objects.

use std::collections::BTreeMap;

use common::ids::InstanceUuid;

use super::GuestSetup;

/// One instance as the hypervisor sees it. A container can be made again from this and an image alone.
#[derive(Debug, Clone)]
pub struct InstanceSpec {
    /// `Instance.uuid`
    pub uuid: InstanceUuid,
    /// Its network namespace is that of its sandbox; else it has one of its own, without any interface.
    pub sandboxed: bool,
    /// It is a rescue container: the instance's own one is aside, its file system in here.
    pub rescue: bool,
    /// `Instance.name` (`instance-0000002a`)
    pub name: String,
    /// `Instance.display_name`
    pub display_name: String,
    /// `Instance.hostname`
    pub hostname: String,
    /// `Instance.project_id`
    pub project_id: String,
    /// `Instance.user_id`
    pub user_id: String,
    /// `Instance.image_ref`
    pub image_id: String,
    /// `Flavor.vcpus`
    pub vcpus: u32,
    /// `Flavor.memory_mb`, in MiB
    pub memory_mb: u64,
    /// `Flavor.root_gb`, in GiB; 0 means no limit, as in Nova
    pub root_gb: u64,
    /// `Flavor.ephemeral_gb`, in GiB; 0 means no ephemeral disk
    pub ephemeral_gb: u64,
    /// `Flavor.swap`, in MiB; 0 means no swap
    pub swap_mb: u64,
    /// `Flavor.extra_specs`
    pub extra_specs: BTreeMap<String, String>,
    /// `Instance.metadata`
    pub metadata: BTreeMap<String, String>,
    /// `Instance.config_drive`: the user asked for one.
    pub config_drive: bool,
    /// What the request of a build or rebuild brings along; nothing at other times.
    pub setup: GuestSetup,
    /// `Instance.key_data`
    pub ssh_key: Option<String>,
    /// `ImageMeta.properties`, also those that Nova does not know
    pub image_properties: BTreeMap<String, String>,
}
