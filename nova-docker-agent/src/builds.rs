//! Turns of builds: so many at the same time (`[DEFAULT] max_concurrent_builds`), and in a burst those that wait for their turn
//! come before what nobody waits for so much.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Who may build. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Builds(Arc<Semaphore>);

impl Builds {
    /// `limit` builds at the same time; 0 means no limit.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(semaphore(limit)))
    }

    /// The turn of one build, in the order in which they ask. It ends when it is dropped.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.0.acquire().await.ok()
    }

    /// Lets those builds go first that wait for their turn now.
    pub async fn let_pass(&self) {
        drop(self.turn().await);
    }

    /// The same, for so long at most.
    pub async fn let_pass_for(&self, longest: Duration) {
        // Whether they are through or not, it is our turn.
        tokio::time::timeout(longest, self.let_pass()).await.ok();
    }
}

/// 0 means no limit.
pub(crate) fn semaphore(limit: usize) -> Semaphore {
    Semaphore::new(if limit == 0 { Semaphore::MAX_PERMITS } else { limit })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_build_that_waited_before_is_let_pass() {
        let builds = Builds::new(1);
        let running = builds.turn().await;
        let built = Arc::new(AtomicBool::new(false));
        let waiting = tokio::spawn({
            let (builds, built) = (builds.clone(), Arc::clone(&built));
            async move {
                let turn = builds.turn().await;
                built.store(true, Ordering::SeqCst);
                drop(turn);
            }
        });
        // Until it waits.
        tokio::task::yield_now().await;
        let passed = tokio::spawn({
            let (builds, built) = (builds.clone(), Arc::clone(&built));
            async move {
                builds.let_pass_for(LONG).await;
                built.load(Ordering::SeqCst)
            }
        });
        tokio::task::yield_now().await;
        drop(running);
        waiting.await.unwrap();
        assert!(passed.await.unwrap());
    }

    #[tokio::test]
    async fn nobody_lets_builds_pass_for_ever() {
        let builds = Builds::new(1);
        let _running = builds.turn().await;
        let asked = Instant::now();
        builds.let_pass_for(SHORT).await;
        assert!(asked.elapsed() >= SHORT);
    }

    #[tokio::test]
    async fn where_no_build_waits_nobody_else_does() {
        for limit in [0, 2] {
            let builds = Builds::new(limit);
            let _running = builds.turn().await;
            builds.let_pass().await;
        }
    }
}
