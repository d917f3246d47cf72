//! dockerd's stream of events, as far as it is about containers.

use std::collections::{BTreeMap, HashMap};

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::{Stream, StreamExt};

use super::{Engine, Error};

const NANOSECONDS: i64 = 1_000_000_000;

/// Something happened to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerEvent {
    /// The container's id.
    pub id: String,
    /// `start`, `die`, `oom`, `pause`, `unpause`, `destroy` …
    pub action: String,
    /// The container's labels, its `name`, and what belongs to the action (`exitCode`).
    pub attributes: BTreeMap<String, String>,
    /// When, in nanoseconds since the epoch.
    pub time_nano: i64,
}

impl Engine {
    /// Events of containers that carry `label` (`key` or `key=value`), until the connection breaks.
    ///
    /// `since`: nanoseconds since the epoch; dockerd repeats what happened from then on, as far as it remembers.
    pub fn container_events(
        &self,
        label: &str,
        since: i64,
    ) -> impl Stream<Item = Result<ContainerEvent, Error>> + Send + use<> {
        let engine = self.clone();
        let filters = HashMap::from([
            ("type".to_owned(), vec!["container".to_owned()]),
            ("label".to_owned(), vec![label.to_owned()]),
        ]);
        let since = format!("{}.{:09}", since.div_euclid(NANOSECONDS), since.rem_euclid(NANOSECONDS));
        let options = EventsOptionsBuilder::default().since(&since).filters(&filters).build();
        // Boxed because bollard's stream borrows the client, which moves into the closure.
        let events = self.docker().events(Some(options)).boxed();
        events.map(move |event| event.map(ContainerEvent::from_message).map_err(|e| engine.error(e)))
    }
}

impl ContainerEvent {
    fn from_message(message: EventMessage) -> Self {
        let actor = message.actor.unwrap_or_default();
        Self {
            id: actor.id.unwrap_or_default(),
            action: message.action.unwrap_or_default(),
            attributes: actor.attributes.unwrap_or_default().into_iter().collect(),
            time_nano: message.time_nano.unwrap_or_default(),
        }
    }
}
