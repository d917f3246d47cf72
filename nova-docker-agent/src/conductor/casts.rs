//! What is told without waiting: a build goes back to the conductor, the scheduler hears of instances, the agent asks
//! itself in the API's place.

use common::ids::InstanceUuid;
use common::messaging::{RequestContext, Target};
use common::objects::Instance;
use serde_json::{Value, json};

use super::{Conductor, Error, args};

/// The arguments of a build that has to be tried on another host, as they came.
pub struct Reschedule {
    /// The image dictionary.
    pub image: Value,
    /// The filter properties, with the reason of the failure in `retry`.
    pub filter_properties: Value,
    /// The password for the guest.
    pub admin_password: Value,
    /// Files for the guest.
    pub injected_files: Value,
    /// The networks asked for.
    pub requested_networks: Value,
    /// Names of security groups.
    pub security_groups: Value,
    /// The request spec.
    pub request_spec: Value,
    /// The hosts that are left to try.
    pub host_list: Value,
}

impl Conductor {
    /// Gives a build back, to be tried on the next host of its list (`compute_task.build_instances`).
    ///
    /// # Errors
    /// When the broker does not take the message.
    pub async fn build_instances(
        &self,
        context: &RequestContext,
        instance: &Instance,
        build: Reschedule,
    ) -> Result<(), Error> {
        // 1.19 is understood by every release since Stein.
        let target = Target::topic("conductor", "1.19").namespace("compute_task");
        let args = args([
            ("instances", json!([instance])),
            ("image", build.image),
            ("filter_properties", build.filter_properties),
            ("admin_password", build.admin_password),
            ("injected_files", build.injected_files),
            ("requested_networks", build.requested_networks),
            ("security_groups", build.security_groups),
            ("request_spec", build.request_spec),
            ("host_lists", json!([build.host_list])),
        ]);
        Ok(self.client.cast(&target, context, "build_instances", args).await?)
    }

    /// Sends `stop_instance` to this host, as nova-api would.
    ///
    /// # Errors
    /// When the broker does not take the message.
    pub async fn stop_own_instance(
        &self,
        context: &RequestContext,
        instance: &Instance,
    ) -> Result<(), Error> {
        let target = Target::topic("compute", "6.0").server(&self.host);
        let args = args([("instance", json!(instance)), ("clean_shutdown", json!(true))]);
        Ok(self.client.cast(&target, context, "stop_instance", args).await?)
    }

    /// Sends `unrescue_instance` to this host, as nova-api would.
    ///
    /// # Errors
    /// When the broker does not take the message.
    pub async fn unrescue_own_instance(
        &self,
        context: &RequestContext,
        instance: &Instance,
    ) -> Result<(), Error> {
        let target = Target::topic("compute", "6.0").server(&self.host);
        let args = args([("instance", json!(instance))]);
        Ok(self.client.cast(&target, context, "unrescue_instance", args).await?)
    }

    /// Sends a hard `reboot_instance` to this host, as nova-api would.
    ///
    /// # Errors
    /// When the broker does not take the message.
    pub async fn reboot_own_instance(
        &self,
        context: &RequestContext,
        instance: &Instance,
    ) -> Result<(), Error> {
        let target = Target::topic("compute", "6.0").server(&self.host);
        let args = args([
            ("instance", json!(instance)),
            ("block_device_info", Value::Null),
            ("reboot_type", json!("HARD")),
        ]);
        Ok(self.client.cast(&target, context, "reboot_instance", args).await?)
    }

    /// Tells the schedulers which instances this host has got (`update_instance_info`).
    ///
    /// # Errors
    /// When the broker does not take the message.
    pub async fn scheduler_has(
        &self,
        context: &RequestContext,
        instances: &[&Instance],
    ) -> Result<(), Error> {
        let list = json!({
            "nova_object.name": "InstanceList", "nova_object.namespace": "nova", "nova_object.version": "2.6",
            "nova_object.data": {"objects": instances}, "nova_object.changes": ["objects"],
        });
        let args = args([("host_name", json!(self.host)), ("instance_info", list)]);
        Ok(self.client.fanout(&scheduler(), context, "update_instance_info", args).await?)
    }

    /// Tells the schedulers which instances this host has, all of them (`sync_instance_info`).
    ///
    /// # Errors
    /// When the broker does not take the message.
    pub async fn scheduler_sync(
        &self,
        context: &RequestContext,
        uuids: &[InstanceUuid],
    ) -> Result<(), Error> {
        let args = args([("host_name", json!(self.host)), ("instance_uuids", json!(uuids))]);
        Ok(self.client.fanout(&scheduler(), context, "sync_instance_info", args).await?)
    }

    /// Tells the schedulers that an instance has left this host (`delete_instance_info`).
    ///
    /// # Errors
    /// When the broker does not take the message.
    pub async fn scheduler_lost(&self, context: &RequestContext, uuid: InstanceUuid) -> Result<(), Error> {
        let args = args([("host_name", json!(self.host)), ("instance_uuid", json!(uuid))]);
        Ok(self.client.fanout(&scheduler(), context, "delete_instance_info", args).await?)
    }
}

fn scheduler() -> Target {
    Target::topic("scheduler", "4.2")
}
