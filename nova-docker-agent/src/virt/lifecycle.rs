//! What happens to our containers without our doing (Nova: `virt.event.LifecycleEvent`).

use std::time::Duration;

use common::docker::{ContainerEvent, Engine, Error};
use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::retry;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};

use super::sandbox::is_sandbox;
use super::spec::{UUID_LABEL, container_name};

/// News of the hypervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifecycleEvent {
    /// A container of ours changed.
    Instance {
        /// The instance.
        uuid: InstanceUuid,
        /// What happened to it.
        event: Event,
    },
    /// dockerd was away and may have forgotten events: compare all power states.
    Resync,
}

/// Nova's lifecycle transitions, as far as containers have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The container runs.
    Started,
    /// Its process ended.
    Stopped,
    /// It is frozen.
    Paused,
    /// It runs again after a pause.
    Resumed,
    /// The kernel killed a process in it for want of memory.
    OutOfMemory,
    /// It was removed.
    Removed,
}

/// Events of containers that carry `label`. Never ends.
pub(super) fn events(engine: Engine, label: String) -> impl Stream<Item = LifecycleEvent> + Send {
    let listener = Listener {
        engine,
        label,
        since: i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(0),
        connection: None,
        waits: Box::new(retry::connect()),
        lost: false,
    };
    stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await;
        Some((event, listener))
    })
    .boxed()
}

struct Listener {
    engine: Engine,
    label: String,
    /// From when on events are wanted, in nanoseconds since the epoch: nothing is lost between two connections.
    since: i64,
    connection: Option<BoxStream<'static, Result<ContainerEvent, Error>>>,
    waits: Box<dyn Iterator<Item = Duration> + Send>,
    lost: bool,
}

impl Listener {
    async fn next(&mut self) -> LifecycleEvent {
        loop {
            let Some(connection) = &mut self.connection else {
                self.connection = Some(self.engine.container_events(&self.label, self.since).boxed());
                // The stream connects when it is first polled, so a ping tells whether anybody is there.
                if self.lost && self.engine.ping().await.is_ok() {
                    self.lost = false;
                    tracing::info!("listens to Docker's events again");
                    return LifecycleEvent::Resync;
                }
                continue;
            };
            match connection.next().await {
                Some(Ok(event)) => {
                    self.waits = Box::new(retry::connect());
                    self.since = event.time_nano + 1;
                    if let Some(event) = translate(&event) {
                        return event;
                    }
                }
                Some(Err(error)) => {
                    let why = Chain(&error).to_string();
                    self.reconnect(&why).await;
                }
                None => self.reconnect("the stream ended").await,
            }
        }
    }

    async fn reconnect(&mut self, why: &str) {
        if !self.lost {
            tracing::warn!(error = why, "lost Docker's events, tries again until they are back");
        }
        self.lost = true;
        self.connection = None;
        tokio::time::sleep(self.waits.next().unwrap_or(Duration::from_secs(30))).await;
    }
}

/// What an event of dockerd means; None for what does not change a power state, and for containers of others.
fn translate(event: &ContainerEvent) -> Option<LifecycleEvent> {
    if is_sandbox(&event.attributes) {
        return None;
    }
    let uuid = event.attributes.get(UUID_LABEL)?.parse().ok()?;
    // The original container of a rescued instance stands aside.
    if event.attributes.get("name").is_some_and(|name| *name != container_name(uuid)) {
        return None;
    }
    let event = match event.action.as_str() {
        "start" => Event::Started,
        "die" => Event::Stopped,
        "pause" => Event::Paused,
        "unpause" => Event::Resumed,
        "oom" => Event::OutOfMemory,
        "destroy" => Event::Removed,
        _ => return None,
    };
    Some(LifecycleEvent::Instance { uuid, event })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virt::sandbox::SANDBOX_LABEL;

    fn event(action: &str, uuid: &str) -> ContainerEvent {
        ContainerEvent {
            id: "abc".into(),
            action: action.into(),
            attributes: [(UUID_LABEL.to_owned(), uuid.to_owned())].into(),
            time_nano: 0,
        }
    }

    #[test]
    fn only_changes_of_our_containers_are_news() {
        let uuid = "2d206834-23ab-4b5d-a236-4608f438a9e2";
        let news = |action| translate(&event(action, uuid));
        let parsed = uuid.parse().unwrap();
        assert_eq!(news("die"), Some(LifecycleEvent::Instance { uuid: parsed, event: Event::Stopped }));
        assert_eq!(news("oom"), Some(LifecycleEvent::Instance { uuid: parsed, event: Event::OutOfMemory }));
        assert_eq!(news("exec_start: sh"), None);
        assert_eq!(translate(&event("die", "not-a-uuid")), None);
        let mut of_sandbox = event("die", uuid);
        of_sandbox.attributes.insert(SANDBOX_LABEL.into(), "true".into());
        assert_eq!(translate(&of_sandbox), None);
        of_sandbox.attributes.insert(SANDBOX_LABEL.into(), "false".into());
        assert!(translate(&of_sandbox).is_some());
        let mut of_original = event("destroy", uuid);
        of_original.attributes.insert("name".into(), format!("nova-{uuid}-original"));
        assert_eq!(translate(&of_original), None);
    }
}
