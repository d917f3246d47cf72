//! Several may look at the terminal of one instance's own process: it is as large as all of them can show.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::ids::InstanceUuid;

use super::size::Size;

type Sizes = HashMap<InstanceUuid, HashMap<u64, Size>>;

/// The sizes of those who look. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Viewers(Arc<Mutex<(u64, Sizes)>>);

/// One who looks; forgotten when dropped.
pub(super) struct Viewer {
    viewers: Viewers,
    instance: InstanceUuid,
    number: u64,
}

impl Viewers {
    /// One more, whose size is not known yet.
    pub(super) fn enter(&self, instance: InstanceUuid) -> Viewer {
        let mut inner = self.lock();
        inner.0 += 1;
        Viewer { viewers: self.clone(), instance, number: inner.0 }
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Sizes)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Viewer {
    /// Notes the size of this one; the size for all.
    pub(super) fn has(&self, size: Size) -> Size {
        let mut inner = self.viewers.lock();
        let sizes = inner.1.entry(self.instance).or_default();
        sizes.insert(self.number, size);
        smallest(sizes).unwrap_or(size)
    }

    /// Goes; the size for those who stay, if there are any of known size.
    pub(super) fn leave(&self) -> Option<Size> {
        let mut inner = self.viewers.lock();
        let sizes = inner.1.get_mut(&self.instance)?;
        sizes.remove(&self.number);
        let size = smallest(sizes);
        if sizes.is_empty() {
            inner.1.remove(&self.instance);
        }
        size
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.leave();
    }
}

fn smallest(sizes: &HashMap<u64, Size>) -> Option<Size> {
    sizes.values().copied().reduce(|one, other| (one.0.min(other.0), one.1.min(other.1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_as_large_as_all_can_show() {
        let viewers = Viewers::default();
        let instance: InstanceUuid = "2d206834-23ab-4b5d-a236-4608f438a9e2".parse().unwrap();
        let (wide, high) = (viewers.enter(instance), viewers.enter(instance));
        assert_eq!(wide.has((200, 20)), (200, 20));
        assert_eq!(high.has((80, 60)), (80, 20));
        assert_eq!(wide.leave(), Some((80, 60)));
        assert_eq!(high.has((90, 60)), (90, 60));
        drop((wide, high));
        assert!(viewers.lock().1.is_empty());
    }
}
