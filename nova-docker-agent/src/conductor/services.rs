//! The records of the compute service and of the hypervisor.

use std::time::Duration;

use common::messaging::RequestContext;
use common::objects::{ComputeNode, Service};
use serde_json::json;

use super::{Conductor, Error, read, read_list, read_optional};

/// Nova's name of the service we are.
pub(super) const BINARY: &str = "nova-compute";

/// What identifies our service record.
const SERVICE_KEYS: [&str; 5] = ["id", "host", "binary", "topic", "version"];

impl Conductor {
    /// The lowest version among the running services of these binaries; 0 when there is none.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn minimum_version(&self, context: &RequestContext, binaries: &[&str]) -> Result<i64, Error> {
        let method = ("Service", "get_minimum_version_multi");
        let answer = self.class_method(context, method, json!([binaries]), json!({})).await?;
        Ok(answer.as_i64().unwrap_or_default())
    }

    /// Our service record; none before the first start.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn service(&self, context: &RequestContext) -> Result<Option<Service>, Error> {
        let method = ("Service", "get_by_host_and_binary");
        let answer = self.class_method(context, method, json!([self.host, BINARY]), json!({})).await?;
        read_optional("get_by_host_and_binary", answer)
    }

    /// Makes our service record.
    ///
    /// # Errors
    /// [`Error`], among them ServiceTooOld when the rest of the cloud is newer.
    pub async fn create_service(&self, context: &RequestContext, service: &mut Service) -> Result<(), Error> {
        service.set_host(self.host.as_str());
        service.set_binary(BINARY);
        service.set_topic("compute");
        self.action(context, service, ("create", &[]), json!({})).await
    }

    /// Saves the changed fields of our service record.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn save_service(&self, context: &RequestContext, service: &mut Service) -> Result<(), Error> {
        self.action(context, service, ("save", &SERVICE_KEYS), json!({})).await
    }

    /// The heartbeat: saves the new `report_count`, and gives up after `patience` so that the next one is not late.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn report(&self, service: &mut Service, patience: Duration) -> Result<(), Error> {
        let context = RequestContext::admin();
        self.action_within(&context, service, ("save", &SERVICE_KEYS, patience), json!({})).await
    }

    /// The hypervisor records with these uuids.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn nodes_by_uuid(
        &self,
        context: &RequestContext,
        uuids: &[&str],
    ) -> Result<Vec<ComputeNode>, Error> {
        let method = ("ComputeNodeList", "get_all_by_uuids");
        let answer = self.class_method(context, method, json!([uuids]), json!({})).await?;
        read_list("get_all_by_uuids", answer)
    }

    /// The hypervisor records of this host; empty when there are none.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn nodes_of_host(&self, context: &RequestContext) -> Result<Vec<ComputeNode>, Error> {
        let method = ("ComputeNodeList", "get_all_by_host");
        match self.class_method(context, method, json!([self.host]), json!({})).await {
            Err(error) if error.is("ComputeHostNotFound") => Ok(Vec::new()),
            Err(error) => Err(error),
            Ok(answer) => read_list("get_all_by_host", answer),
        }
    }

    /// The hypervisor record with this uuid; none before the first start.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn node(&self, context: &RequestContext, uuid: &str) -> Result<Option<ComputeNode>, Error> {
        match self.class_method(context, ("ComputeNode", "get_by_uuid"), json!([uuid]), json!({})).await {
            Err(error) if error.is("ComputeHostNotFound") => Ok(None),
            Err(error) => Err(error),
            Ok(answer) => read("get_by_uuid", answer).map(Some),
        }
    }

    /// Makes the hypervisor record.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn create_node(&self, context: &RequestContext, node: &mut ComputeNode) -> Result<(), Error> {
        self.action(context, node, ("create", &[]), json!({})).await
    }

    /// Saves the changed fields of the hypervisor record.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn save_node(&self, context: &RequestContext, node: &mut ComputeNode) -> Result<(), Error> {
        // Nova's save refuses an object without its host.
        self.action(context, node, ("save", &["id", "uuid", "host"]), json!({})).await
    }
}
