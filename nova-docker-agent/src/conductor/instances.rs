//! Instances: save with expectation, read, delete.

use common::ids::InstanceUuid;
use common::messaging::RequestContext;
use common::objects::fields::{TaskState, VmState};
use common::objects::{BlockDeviceMapping, Instance, Migration, Versioned};
use serde_json::{Value, json};

use super::{Conductor, Error, read, read_list};

/// Which states the record must have for a save to happen (compare and swap in the database).
#[derive(Clone, Copy, Debug)]
pub struct Expect {
    task_states: Option<&'static [Option<TaskState>]>,
    vm_state: Option<VmState>,
}

impl Expect {
    /// Whatever they are.
    pub const ANY: Self = Self { task_states: None, vm_state: None };

    /// One of these task states; None stands for no task.
    pub const fn one_of(task_states: &'static [Option<TaskState>]) -> Self {
        Self { task_states: Some(task_states), vm_state: None }
    }

    /// And this vm state.
    #[must_use]
    pub const fn while_in(self, vm_state: VmState) -> Self {
        Self { vm_state: Some(vm_state), ..self }
    }

    fn keywords(self) -> Value {
        let mut keywords = json!({});
        if let Some(states) = self.task_states {
            let words: Vec<_> = states.iter().map(|state| state.map(TaskState::as_str)).collect();
            keywords["expected_task_state"] = json!(words);
        }
        if let Some(state) = self.vm_state {
            keywords["expected_vm_state"] = json!([state.as_str()]);
        }
        keywords
    }
}

/// What identifies an instance in a partial object.
const KEYS: &[&str] = &["id", "uuid"];

impl Conductor {
    /// Saves the changed fields of an instance.
    ///
    /// When no answer comes it looks whether the save was done and otherwise tries once more: the expectation makes a
    /// second attempt harmless.
    ///
    /// # Errors
    /// [`Error`]; see [`Error::is_unexpected_task_state`] and [`Error::is_instance_not_found`].
    pub async fn save(
        &self,
        context: &RequestContext,
        instance: &mut Instance,
        expect: Expect,
    ) -> Result<(), Error> {
        if instance.object().changes().next().is_none() {
            return Ok(());
        }
        let attempt = self.action(context, instance, ("save", KEYS), expect.keywords()).await;
        let Err(error) = attempt else { return Ok(()) };
        if !error.is_timeout() {
            return Err(error);
        }
        tracing::warn!(instance_uuid = instance.uuid(), "no answer to a save; looking whether it was done");
        if self.saved(context, instance).await? {
            instance.object_mut().clear_changes();
            return Ok(());
        }
        self.action(context, instance, ("save", KEYS), expect.keywords()).await
    }

    /// True when the record holds every changed field.
    async fn saved(&self, context: &RequestContext, instance: &Instance) -> Result<bool, Error> {
        let Some(uuid) = instance.instance_uuid() else { return Ok(false) };
        let record = self.instance(context, uuid, &[]).await?;
        let same = |field: &str| {
            // Maps are not loaded by default; they are always saved together with a state.
            let loaded = !matches!(field, "system_metadata" | "metadata");
            !loaded || instance.object().get(field) == record.object().get(field)
        };
        Ok(instance.object().changes().all(same))
    }

    /// Deletes the row of an instance (`Instance.destroy`); a row that is gone already is fine.
    ///
    /// # Errors
    /// [`Error`] for everything else.
    pub async fn destroy(&self, context: &RequestContext, instance: &mut Instance) -> Result<(), Error> {
        // Nova refuses to destroy an object whose host it does not see.
        let keys = ["id", "uuid", "host"];
        match self.action(context, instance, ("destroy", &keys), json!({})).await {
            Err(error) if error.is_instance_not_found() => Ok(()),
            other => other,
        }
    }

    /// The instance as the database has it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn instance(
        &self,
        context: &RequestContext,
        uuid: InstanceUuid,
        expected_attrs: &[&str],
    ) -> Result<Instance, Error> {
        let method = ("Instance", "get_by_uuid");
        let keywords = json!({"expected_attrs": expected_attrs});
        let answer = self.class_method(context, method, json!([uuid]), keywords).await?;
        read("get_by_uuid", answer)
    }

    /// All instances of this host.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn instances_of_host(
        &self,
        context: &RequestContext,
        expected_attrs: &[&str],
    ) -> Result<Vec<Instance>, Error> {
        let keywords = json!({"expected_attrs": expected_attrs});
        let answer =
            self.class_method(context, ("InstanceList", "get_by_host"), json!([self.host]), keywords).await?;
        read_list("get_by_host", answer)
    }

    /// Instances by Nova's filters, e.g. `{"deleted": true, "uuid": [...]}`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn instances_by_filters(
        &self,
        context: &RequestContext,
        filters: Value,
        expected_attrs: &[&str],
    ) -> Result<Vec<Instance>, Error> {
        let keywords = json!({"expected_attrs": expected_attrs});
        let answer = self
            .class_method(context, ("InstanceList", "get_by_filters"), json!([filters]), keywords)
            .await?;
        read_list("get_by_filters", answer)
    }

    /// The disks of an instance.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn block_devices(
        &self,
        context: &RequestContext,
        uuid: InstanceUuid,
    ) -> Result<Vec<BlockDeviceMapping>, Error> {
        let method = ("BlockDeviceMappingList", "get_by_instance_uuid");
        let answer = self.class_method(context, method, json!([uuid]), json!({})).await?;
        read_list("get_by_instance_uuid", answer)
    }

    /// Saves the changed fields of a disk.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn save_block_device(
        &self,
        context: &RequestContext,
        device: &mut BlockDeviceMapping,
    ) -> Result<(), Error> {
        self.action(context, device, ("save", &["id", "uuid", "instance_uuid"]), json!({})).await
    }

    /// Migrations by Nova's filters.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn migrations(
        &self,
        context: &RequestContext,
        filters: Value,
    ) -> Result<Vec<Migration>, Error> {
        let answer = self
            .class_method(context, ("MigrationList", "get_by_filters"), json!([filters]), json!({}))
            .await?;
        read_list("get_by_filters", answer)
    }

    /// Saves the changed fields of a migration or another object with an id.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn save_object<T: Versioned>(
        &self,
        context: &RequestContext,
        object: &mut T,
    ) -> Result<(), Error> {
        self.action(context, object, ("save", &["id", "uuid", "instance_uuid"]), json!({})).await
    }
}
