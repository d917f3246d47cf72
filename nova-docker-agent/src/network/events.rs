//! Neutron's word that a port is plugged (Nova: `InstanceEvents`, `wait_for_instance_event`).
//!
//! Whoever is about to wait begins to [`Events::watch`] before anything is bound, so that no event can be missed: what
//! comes meanwhile is kept for it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::ids::InstanceUuid;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// Something that Neutron, Cinder or another service told of an instance (`InstanceExternalEvent`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `network-vif-plugged` …
    pub name: String,
    /// What it is about: the port.
    pub tag: String,
    /// `status` is `completed`.
    pub completed: bool,
}

/// Everybody who waits.
#[derive(Debug, Clone, Default)]
pub struct Events {
    watched: Arc<Mutex<HashMap<InstanceUuid, UnboundedSender<Event>>>>,
}

/// One who waits for events of an instance.
#[derive(Debug)]
pub struct Watch {
    uuid: InstanceUuid,
    events: Events,
    told: UnboundedReceiver<Event>,
}

/// What kept a port from being plugged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unplugged {
    /// Neutron says that it failed, or the port was deleted.
    Failed(String),
    /// No word of these ports came in time.
    Silence(BTreeSet<String>),
}

impl Events {
    /// Keeps the events of an instance from now on. There is one who acts on an instance, so there is one who watches.
    pub fn watch(&self, uuid: InstanceUuid) -> Watch {
        let (tell, told) = mpsc::unbounded_channel();
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).insert(uuid, tell);
        Watch { uuid, events: self.clone(), told }
    }

    /// Hands an event to who watches the instance; false when nobody does.
    pub fn tell(&self, uuid: InstanceUuid, event: Event) -> bool {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.get(&uuid).is_some_and(|watcher| watcher.send(event).is_ok())
    }
}

impl Watch {
    /// Waits until each of `ports` is plugged, `patience` altogether.
    ///
    /// # Errors
    /// [`Unplugged`], for the first bad news.
    pub async fn plugged(
        &mut self,
        mut ports: BTreeSet<String>,
        patience: Duration,
    ) -> Result<(), Unplugged> {
        let deadline = tokio::time::Instant::now() + patience;
        while !ports.is_empty() {
            let Ok(Some(event)) = tokio::time::timeout_at(deadline, self.told.recv()).await else {
                return Err(Unplugged::Silence(ports));
            };
            let good = match event.name.as_str() {
                "network-vif-plugged" => event.completed,
                // Nova would wait on for a port that is gone.
                "network-vif-deleted" => false,
                _ => continue,
            };
            if ports.remove(&event.tag) && !good {
                return Err(Unplugged::Failed(event.tag));
            }
        }
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.told.close();
        // One who began to watch the same instance later stays.
        let mut watched = self.events.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.get(&self.uuid).is_some_and(UnboundedSender::is_closed) {
            watched.remove(&self.uuid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support;

    fn event(name: &str, tag: &str, completed: bool) -> Event {
        Event { name: name.into(), tag: tag.into(), completed }
    }

    fn ports(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    const SOON: Duration = Duration::from_millis(30);

    #[tokio::test]
    async fn events_that_come_before_the_wait_count() {
        let events = Events::default();
        let mut watch = events.watch(test_support::uuid());
        assert!(events.tell(test_support::uuid(), event("network-vif-plugged", "a", true)));
        assert!(events.tell(test_support::uuid(), event("network-vif-plugged", "b", true)));
        watch.plugged(ports(&["a", "b"]), SOON).await.unwrap();
    }

    #[tokio::test]
    async fn silence_names_the_ports() {
        let events = Events::default();
        let mut watch = events.watch(test_support::uuid());
        events.tell(test_support::uuid(), event("network-vif-plugged", "a", true));
        events.tell(test_support::uuid(), event("network-vif-unplugged", "b", true));
        let missing = watch.plugged(ports(&["a", "b"]), SOON).await.unwrap_err();
        assert_eq!(missing, Unplugged::Silence(ports(&["b"])));
    }

    #[tokio::test]
    async fn a_failure_and_a_deleted_port_end_the_wait() {
        for bad in [event("network-vif-plugged", "a", false), event("network-vif-deleted", "a", true)] {
            let events = Events::default();
            let mut watch = events.watch(test_support::uuid());
            events.tell(test_support::uuid(), bad);
            let failed = watch.plugged(ports(&["a"]), Duration::from_secs(60)).await.unwrap_err();
            assert_eq!(failed, Unplugged::Failed("a".into()));
        }
    }

    #[tokio::test]
    async fn nobody_is_told_after_the_watch_ended() {
        let events = Events::default();
        drop(events.watch(test_support::uuid()));
        assert!(!events.tell(test_support::uuid(), event("network-vif-plugged", "a", true)));
        assert!(events.watched.lock().unwrap().is_empty());
        let first = events.watch(test_support::uuid());
        let _second = events.watch(test_support::uuid());
        drop(first);
        assert!(events.tell(test_support::uuid(), event("network-vif-plugged", "a", true)));
    }
}
