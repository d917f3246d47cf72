//! One operation at a time per instance (Nova: `@utils.synchronized(instance.uuid)`), and a way for a delete to tell
//! the operation before it that its work is in vain.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use common::ids::InstanceUuid;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

#[derive(Default)]
struct Entry {
    lock: Arc<tokio::sync::Mutex<()>>,
    /// Of the operation that holds the lock.
    cancel: Mutex<CancellationToken>,
}

type Entries = Arc<Mutex<HashMap<InstanceUuid, Arc<Entry>>>>;

/// The locks of all instances.
#[derive(Clone, Default)]
pub struct Locks {
    entries: Entries,
}

/// The right to change an instance: exists only while its lock is held.
pub struct Acting {
    uuid: InstanceUuid,
    cancel: CancellationToken,
    entries: Entries,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Locks {
    /// Waits until nobody else acts on the instance.
    pub async fn act(&self, uuid: InstanceUuid) -> Acting {
        let entry = {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(entries.entry(uuid).or_default())
        };
        let guard = Arc::clone(&entry.lock).lock_owned().await;
        let cancel = CancellationToken::new();
        *entry.cancel.lock().unwrap_or_else(PoisonError::into_inner) = cancel.clone();
        Acting { uuid, cancel, entries: Arc::clone(&self.entries), guard: Some(guard) }
    }

    /// Tells whoever acts on the instance that it is about to be deleted.
    pub fn cancel(&self, uuid: InstanceUuid) {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(&uuid) {
            entry.cancel.lock().unwrap_or_else(PoisonError::into_inner).cancel();
        }
    }

    /// True while somebody acts on the instance.
    pub fn busy(&self, uuid: InstanceUuid) -> bool {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(&uuid).is_some_and(|entry| entry.lock.try_lock().is_err())
    }
}

impl Acting {
    /// The instance.
    pub fn uuid(&self) -> InstanceUuid {
        self.uuid
    }

    /// True when the instance is about to be deleted.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Resolves when the instance is about to be deleted.
    pub async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        self.guard = None;
        // Only the map holds the entry: nobody acts and nobody waits.
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.get(&self.uuid).is_some_and(|entry| Arc::strong_count(entry) == 1) {
            entries.remove(&self.uuid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn uuid() -> InstanceUuid {
        "2d206834-23ab-4b5d-a236-4608f438a9e2".parse().unwrap()
    }

    #[tokio::test]
    async fn operations_on_one_instance_wait_for_each_other() {
        let locks = Locks::default();
        let first = locks.act(uuid()).await;
        assert!(locks.busy(uuid()));
        assert!(tokio::time::timeout(Duration::from_millis(20), locks.act(uuid())).await.is_err());
        drop(first);
        assert!(!locks.busy(uuid()));
        let second = tokio::time::timeout(Duration::from_millis(20), locks.act(uuid())).await.unwrap();
        assert!(!second.is_cancelled());
    }

    #[tokio::test]
    async fn a_delete_cancels_the_one_who_acts_and_not_itself() {
        let locks = Locks::default();
        let build = locks.act(uuid()).await;
        locks.cancel(uuid());
        build.cancelled().await;
        drop(build);
        assert!(!locks.act(uuid()).await.is_cancelled());
    }

    #[tokio::test]
    async fn nothing_is_kept_of_instances_nobody_acts_on() {
        let locks = Locks::default();
        drop(locks.act(uuid()).await);
        assert!(locks.entries.lock().unwrap().is_empty());
    }
}
