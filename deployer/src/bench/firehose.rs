//! Counts the calls that a boot costs the conductor, on RabbitMQ's own copy of all traffic (its firehose tracer).
//!
//! The compute service's calls are told from others' by the request id of the boot, which nova-compute and the agent
//! alike send on in the context of every call made for it.

use std::{collections::HashMap, sync::Arc};

use futures_util::StreamExt;
use lapin::{
    Connection, ConnectionProperties,
    options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions},
    types::{FieldTable, ShortString},
};
use tokio::sync::Mutex;

/// Counts while it lives.
pub(super) struct Firehose {
    counts: Arc<Mutex<HashMap<String, usize>>>,
    _connection: Connection,
    reader: tokio::task::JoinHandle<()>,
}

impl Firehose {
    /// Listens to the broker at `uri`; tracing must have been switched on (`rabbitmqctl trace_on`).
    ///
    /// # Errors
    /// When the broker refuses the connection or the queue.
    pub(super) async fn start(uri: &str) -> Result<Self, lapin::Error> {
        let connection = Connection::connect(uri, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
        let queue = channel.queue_declare(ShortString::from(""), options, FieldTable::default()).await?;
        let name = queue.name().clone();
        channel
            .queue_bind(
                name.clone(),
                "amq.rabbitmq.trace".into(),
                "publish.nova".into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await?;
        let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let mut consumer =
            channel.basic_consume(name, "bench".into(), options, FieldTable::default()).await?;
        let counts = Arc::new(Mutex::new(HashMap::new()));
        let counted = Arc::clone(&counts);
        let reader = tokio::spawn(async move {
            while let Some(Ok(delivery)) = consumer.next().await {
                if let Some(request_id) = conductor_call(&delivery.data) {
                    *counted.lock().await.entry(request_id).or_default() += 1;
                }
            }
        });
        Ok(Self { counts, _connection: connection, reader })
    }

    /// Calls made so far in the name of this request.
    pub(super) async fn calls(&self, request_id: &str) -> usize {
        self.counts.lock().await.get(request_id).copied().unwrap_or_default()
    }
}

impl Drop for Firehose {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// The request id of a call for an object that the conductor is asked to read or write; `None` for other messages.
fn conductor_call(body: &[u8]) -> Option<String> {
    let envelope: serde_json::Value = serde_json::from_slice(body).ok()?;
    let message: serde_json::Value = serde_json::from_str(envelope["oslo.message"].as_str()?).ok()?;
    let method = message["method"].as_str()?;
    if !matches!(method, "object_action" | "object_class_action_versions") {
        return None;
    }
    Some(message["_context_request_id"].as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(message: &serde_json::Value) -> Vec<u8> {
        serde_json::json!({"oslo.version": "2.0", "oslo.message": message.to_string()})
            .to_string()
            .into_bytes()
    }

    #[test]
    fn calls_for_objects_are_counted_by_their_request() {
        let save = serde_json::json!({"method": "object_action", "args": {}, "_context_request_id": "req-1"});
        assert_eq!(conductor_call(&body(&save)).as_deref(), Some("req-1"));
    }

    #[test]
    fn the_apis_own_casts_and_foreign_messages_are_not() {
        let cast =
            serde_json::json!({"method": "schedule_and_build_instances", "_context_request_id": "req-1"});
        assert_eq!(conductor_call(&body(&cast)), None);
        assert_eq!(conductor_call(b"{}"), None);
        assert_eq!(conductor_call(b"\xff"), None);
    }
}
