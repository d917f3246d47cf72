//! `nova.objects.instance`: a server.

use super::fields::{TaskState, VmState};
use super::{Flavor, InstanceInfoCache, Versioned};
use crate::ids::InstanceUuid;

object! {
    /// A server.
    Instance = "Instance" "2.8" {
        int id;
        text uuid;
        text user_id;
        text project_id;
        text image_ref, set_image_ref;
        text hostname;
        text display_name;
        text user_data;
        text host, set_host;
        text node, set_node;
        int compute_id, set_compute_id;
        text launched_on, set_launched_on;
        text availability_zone, set_availability_zone;
        text vm_state, set_vm_state_text;
        text task_state, set_task_state_text;
        int power_state, set_power_state;
        int progress, set_progress;
        int instance_type_id, set_instance_type_id;
        int memory_mb, set_memory_mb;
        int vcpus, set_vcpus;
        int root_gb, set_root_gb;
        int ephemeral_gb, set_ephemeral_gb;
        text os_type;
        text created_at;
        text updated_at;
        text deleted_at;
        text launched_at, set_launched_at;
        text terminated_at, set_terminated_at;
        text root_device_name, set_root_device_name;
        text config_drive, set_config_drive;
        text key_name;
        text key_data;
        dict metadata;
        dict system_metadata, set_system_metadata;
        flag deleted;
        flag cleaned, set_cleaned;
        object(Flavor) flavor;
        object(Flavor) old_flavor;
        object(Flavor) new_flavor;
        any migration_context, set_migration_context;
        object(InstanceInfoCache) info_cache;
        any device_metadata, set_device_metadata;
        any trusted_certs;
    }
}

impl Instance {
    /// The uuid; none when it is missing or no uuid.
    pub fn instance_uuid(&self) -> Option<InstanceUuid> {
        self.uuid()?.parse().ok()
    }

    /// The name the hypervisor knows the instance by (`instance_name_template`'s default).
    pub fn name(&self) -> String {
        format!("instance-{:08x}", self.id().unwrap_or_default())
    }

    /// What the instance is.
    pub fn state(&self) -> VmState {
        self.vm_state().map_or(VmState::Unknown, VmState::read)
    }

    /// What is being done to it.
    pub fn task(&self) -> Option<TaskState> {
        self.task_state().map(TaskState::read)
    }

    /// Sets the flavor and the columns that come from it (Nova: `_set_instance_info`).
    pub fn adopt_flavor(&mut self, flavor: &Flavor) {
        self.set_instance_type_id(flavor.id());
        self.set_memory_mb(flavor.memory_mb());
        self.set_vcpus(flavor.vcpus());
        self.set_root_gb(flavor.root_gb());
        self.set_ephemeral_gb(flavor.ephemeral_gb());
        let (old, new) = (self.old_flavor(), self.new_flavor());
        self.set_flavors(Some(flavor), old.as_ref(), new.as_ref());
    }

    /// Sets the flavor it has, had and will have. They are saved together: the conductor would read those that do not come
    /// along from the database, and the ones that do along with them.
    pub fn set_flavors(&mut self, current: Option<&Flavor>, old: Option<&Flavor>, new: Option<&Flavor>) {
        for (field, flavor) in [("flavor", current), ("old_flavor", old), ("new_flavor", new)] {
            let value = flavor.map_or(serde_json::Value::Null, |flavor| flavor.object().primitive());
            self.object_mut().set(field, value);
        }
    }

    /// Sets what the instance is.
    pub fn set_state(&mut self, state: VmState) {
        self.set_vm_state_text(state.as_str());
    }

    /// Sets what is being done to it.
    pub fn set_task(&mut self, task: Option<TaskState>) {
        self.set_task_state_text(task.map(TaskState::as_str));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn instance(data: serde_json::Value) -> Result<Instance, crate::objects::Error> {
        Instance::parse(json!({"nova_object.name": "Instance", "nova_object.namespace": "nova",
            "nova_object.version": "2.8", "nova_object.data": data}))
    }

    #[test]
    fn the_name_is_nova_s() {
        assert_eq!(instance(json!({"id": 42})).unwrap().name(), "instance-0000002a");
    }

    #[test]
    fn states_are_read_and_written_in_nova_s_words() {
        let mut instance =
            instance(json!({"vm_state": "soft-delete", "task_state": "powering-off"})).unwrap();
        assert_eq!(instance.state(), VmState::SoftDeleted);
        assert_eq!(instance.task(), Some(TaskState::PoweringOff));
        instance.set_task(None);
        instance.set_state(VmState::Active);
        let sent = instance.object().changed_primitive(&[]);
        assert_eq!(sent["nova_object.data"], json!({"task_state": null, "vm_state": "active"}));
    }

    #[test]
    fn a_uuid_that_is_none_is_not_used() {
        assert_eq!(instance(json!({"uuid": "../x"})).unwrap().instance_uuid(), None);
        assert!(instance(json!({"uuid": 5})).is_err());
    }
}
