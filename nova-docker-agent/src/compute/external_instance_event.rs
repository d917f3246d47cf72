//! Neutron, Cinder and others tell that something happened to an instance's ports and volumes.

use std::collections::BTreeMap;

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::Value;

use super::{Call, Method};
use crate::error::Error;
use crate::instance::changing;
use crate::instance::follow::follow;
use crate::instance::guards::Guards;
use crate::instance::network::{self, cached};
use crate::network::events::Event;
use crate::network::model::{self, NetworkInfo};

/// The arguments. The instances that come along are not needed: what is true of their ports is read anew.
#[derive(Deserialize)]
pub struct ExternalInstanceEvent {
    /// `InstanceExternalEvent` objects.
    pub events: Vec<Value>,
}

impl Method for ExternalInstanceEvent {
    const NAME: &'static str = "external_instance_event";
    const GUARDS: Guards = Guards::NONE;
    type Reply = ();

    async fn run(self, call: &Call) -> Result<(), Error> {
        let events: Vec<(InstanceUuid, Event)> = self.events.iter().filter_map(read).collect();
        // Who waits is told at once; the rest may have to wait for an operation to end.
        for (uuid, event) in &events {
            let awaited = call.agent.events.tell(*uuid, event.clone());
            tracing::debug!(instance_uuid = %uuid, name = event.name, tag = event.tag, awaited, "an event came");
        }
        let mut by_instance: BTreeMap<InstanceUuid, Vec<Event>> = BTreeMap::new();
        for (uuid, event) in events {
            by_instance.entry(uuid).or_default().push(event);
        }
        // Neutron sends what it has for all instances of a host in one go; one that is busy keeps no other waiting.
        join_all(by_instance.into_iter().map(|(uuid, events)| follow_all(call, uuid, events))).await;
        Ok(())
    }
}

/// What happened to one instance, in order.
async fn follow_all(call: &Call, uuid: InstanceUuid, events: Vec<Event>) {
    for event in events {
        if let Err(error) = handle(call, uuid, &event).await {
            let Event { name, tag, .. } = event;
            tracing::warn!(instance_uuid = %uuid, name, tag, error = %Chain(&error), "an event was not followed");
        }
    }
}

fn read(event: &Value) -> Option<(InstanceUuid, Event)> {
    let data = event.get("nova_object.data")?;
    let text = |key: &str| data.get(key).and_then(Value::as_str).unwrap_or_default();
    let event = Event {
        name: text("name").to_owned(),
        tag: text("tag").to_owned(),
        completed: text("status") == "completed",
    };
    Some((text("instance_uuid").parse().ok()?, event))
}

async fn handle(call: &Call, uuid: InstanceUuid, event: &Event) -> Result<(), Error> {
    match event.name.as_str() {
        "network-changed" => {
            let port = Some(event.tag.as_str()).filter(|tag| !tag.is_empty());
            network::refresh(&call.agent, &call.context, uuid, port).await
        }
        "network-vif-deleted" => changing::noted(&call.agent, uuid, deleted(call, uuid, &event.tag)).await,
        _ => Ok(()),
    }
}

/// The port is gone in Neutron: the NIC goes, too (Nova: `_process_instance_vif_deleted_event`).
async fn deleted(call: &Call, uuid: InstanceUuid, port: &str) -> Result<(), Error> {
    let (agent, context) = (&call.agent, &call.context);
    let (before, rest) = {
        let _alone = agent.caches.act(uuid).await;
        let before = cached(agent, context, uuid).await?;
        let rest: NetworkInfo = before.iter().filter(|vif| vif.id.to_string() != port).cloned().collect();
        if rest.len() == before.len() {
            return Ok(());
        }
        tracing::info!(instance_uuid = %uuid, port, "Neutron deleted the port; its NIC is taken out");
        agent.conductor.save_info_cache(context, uuid, &model::write(&rest)).await?;
        (before, rest)
    };
    follow(agent, context, uuid, (&before, &rest)).await
}
