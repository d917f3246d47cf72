//! What agents tell each other, and ask the conductor, while an instance moves.

use std::time::Duration;

use common::messaging::{RequestContext, Target};
use common::objects::{Instance, InstanceGroup, Migration};
use serde_json::{Map, Value, json};

use super::{Conductor, Error, args, read, read_list};

/// Interface of the agents among themselves.
pub const PEERS: &str = "nova-docker-agent";

/// Longest time that a disk may take from one host to another.
const TRANSFER: Duration = Duration::from_secs(24 * 3600);

/// What each step of a resize hands on to the next, as it came.
#[derive(Debug, Clone, Default)]
pub struct Handed {
    /// The image dictionary.
    pub image: Value,
    /// The request spec.
    pub request_spec: Value,
}

impl Conductor {
    /// Asks the source to give an instance away (`resize_instance`).
    ///
    /// # Errors
    /// When the broker does not take the message.
    pub async fn resize_instance(
        &self,
        context: &RequestContext,
        (instance, migration): (&Instance, &Migration),
        (flavor, clean_shutdown, handed): (&Value, bool, Handed),
    ) -> Result<(), Error> {
        let more = args([
            ("image", handed.image),
            ("flavor", flavor.clone()),
            ("clean_shutdown", json!(clean_shutdown)),
            ("request_spec", handed.request_spec),
        ]);
        let host = migration.source_compute().unwrap_or_default();
        self.hand_on(context, (host, "resize_instance"), (instance, migration), more).await
    }

    /// Asks the destination to start an instance that is its own from now on (`finish_resize`).
    ///
    /// # Errors
    /// When the broker does not take the message.
    pub async fn finish_resize(
        &self,
        context: &RequestContext,
        (instance, migration): (&Instance, &Migration),
        (disk_info, handed): (&str, Handed),
    ) -> Result<(), Error> {
        let more = args([
            ("image", handed.image),
            ("disk_info", json!(disk_info)),
            ("request_spec", handed.request_spec),
        ]);
        let host = migration.dest_compute().unwrap_or_default();
        self.hand_on(context, (host, "finish_resize"), (instance, migration), more).await
    }

    /// Asks the source to take an instance back (`finish_revert_resize`).
    ///
    /// # Errors
    /// When the broker does not take the message.
    pub async fn finish_revert_resize(
        &self,
        context: &RequestContext,
        (instance, migration): (&Instance, &Migration),
        request_spec: Value,
    ) -> Result<(), Error> {
        let more = args([("request_spec", request_spec)]);
        let host = migration.source_compute().unwrap_or_default();
        self.hand_on(context, (host, "finish_revert_resize"), (instance, migration), more).await
    }

    /// Asks the source to confirm, as nova-api does (`confirm_resize`).
    ///
    /// # Errors
    /// When the broker does not take the message.
    pub async fn confirm_resize(
        &self,
        context: &RequestContext,
        instance: &Instance,
        migration: &Migration,
    ) -> Result<(), Error> {
        let host = migration.source_compute().unwrap_or_default();
        self.hand_on(context, (host, "confirm_resize"), (instance, migration), Map::new()).await
    }

    /// Every host serves this topic, whatever release its agent is of.
    async fn hand_on(
        &self,
        context: &RequestContext,
        (host, method): (&str, &str),
        (instance, migration): (&Instance, &Migration),
        mut args: Map<String, Value>,
    ) -> Result<(), Error> {
        args.insert("instance".into(), json!(instance));
        args.insert("migration".into(), json!(migration));
        let target = Target::topic("compute", "6.0").server(host);
        Ok(self.client.cast(&target, context, method, args).await?)
    }

    /// Has the agent of `host` fetch a disk; returns what it calls it.
    ///
    /// # Errors
    /// What the other agent says; UnsupportedVersion's words of a host that is not one of ours.
    pub async fn receive_disk(
        &self,
        context: &RequestContext,
        host: &str,
        arguments: Map<String, Value>,
    ) -> Result<String, Error> {
        let target = Target::topic("compute", "1.0").server(host).namespace(PEERS);
        let patience = (TRANSFER, Some(self.client.timeout()));
        let answer = self.client.call_within(&target, context, "receive_disk", arguments, patience).await?;
        Ok(answer.as_str().unwrap_or_default().to_owned())
    }

    /// Tells the agent of `host` that a disk it has fetched is not needed.
    ///
    /// # Errors
    /// When the broker does not take the message.
    pub async fn discard_disk(
        &self,
        context: &RequestContext,
        host: &str,
        instance: &Instance,
    ) -> Result<(), Error> {
        let target = Target::topic("compute", "1.0").server(host).namespace(PEERS);
        let args = args([("instance_uuid", json!(instance.instance_uuid()))]);
        Ok(self.client.cast(&target, context, "discard_disk", args).await?)
    }

    /// Gives a resize back, to be tried on the next host of its list (`compute_task.migrate_server`). Answers when the
    /// next host was asked.
    ///
    /// # Errors
    /// NoValidHost and the like when there is none.
    pub async fn migrate_server(
        &self,
        context: &RequestContext,
        instance: &Instance,
        (filter_properties, flavor, clean_shutdown): (Value, &Value, bool),
        (request_spec, host_list): (Value, Value),
    ) -> Result<(), Error> {
        let target = Target::topic("conductor", "1.20").namespace("compute_task");
        let args = args([
            ("instance", json!(instance)),
            ("scheduler_hint", json!({"filter_properties": filter_properties})),
            ("live", json!(false)),
            ("rebuild", json!(false)),
            ("flavor", flavor.clone()),
            ("block_migration", Value::Null),
            ("disk_over_commit", Value::Null),
            ("reservations", Value::Null),
            ("clean_shutdown", json!(clean_shutdown)),
            ("request_spec", request_spec),
            ("host_list", host_list),
        ]);
        let patience = (Duration::from_secs(1800), Some(self.client.timeout()));
        let call = self.client.call_within(&target, context, "migrate_server", args, patience);
        self.counted("migrate_server".into(), call).await?;
        Ok(())
    }

    /// Migrations from and to this host that are under way.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn migrations_in_progress(
        &self,
        context: &RequestContext,
        node: &str,
    ) -> Result<Vec<Migration>, Error> {
        let method = ("MigrationList", "get_in_progress_by_host_and_node");
        let answer = self.class_method(context, method, json!([self.host, node]), json!({})).await?;
        read_list("get_in_progress_by_host_and_node", answer)
    }

    /// A server group, by its uuid or name.
    ///
    /// # Errors
    /// InstanceGroupNotFound.
    pub async fn group(&self, context: &RequestContext, hint: &str) -> Result<InstanceGroup, Error> {
        let is_uuid = hint.parse::<uuid::Uuid>().is_ok();
        let method = if is_uuid { "get_by_uuid" } else { "get_by_name" };
        let answer = self.class_method(context, ("InstanceGroup", method), json!([hint]), json!({})).await?;
        read(method, answer)
    }

    /// Migrations to this host that wait for a confirmation longer than `window` seconds.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn unconfirmed(&self, context: &RequestContext, window: u64) -> Result<Vec<Migration>, Error> {
        let method = ("MigrationList", "get_unconfirmed_by_dest_compute");
        let answer = self.class_method(context, method, json!([window, self.host]), json!({})).await?;
        read_list("get_unconfirmed_by_dest_compute", answer)
    }
}
