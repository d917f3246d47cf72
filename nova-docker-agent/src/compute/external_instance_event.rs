//! Neutron, Cinder and others tell that something happened to an instance's ports and volumes.
//!
//! Instances have neither yet, so there is nothing to wake or to wire; the events are seen in the log.

use serde::Deserialize;
use serde_json::Value;

use super::{Call, Method};
use crate::error::Error;
use crate::instance::guards::Guards;

/// The arguments.
#[derive(Deserialize)]
pub struct ExternalInstanceEvent {
    /// `InstanceExternalEvent` objects.
    pub events: Vec<Value>,
}

impl Method for ExternalInstanceEvent {
    const NAME: &'static str = "external_instance_event";
    const GUARDS: Guards = Guards::NONE;
    type Reply = ();

    async fn run(self, _call: &Call) -> Result<(), Error> {
        for event in &self.events {
            let data = event.get("nova_object.data");
            let text = |key: &str| data.and_then(|data| data.get(key)).and_then(Value::as_str).unwrap_or("-");
            tracing::info!(
                event = text("name"),
                tag = text("tag"),
                instance_uuid = text("instance_uuid"),
                "an event came that concerns neither a port nor a volume of this host"
            );
        }
        Ok(())
    }
}
