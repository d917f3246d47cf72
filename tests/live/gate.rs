//! Who has the platform when. Tests that only use the cloud go first, side by side. Each that disturbs it (restarts the agent,
//! stops a service) has it alone after that, and the one that looks at what the others left comes last.
//!
//! `octopenstack test` starts all tests at once, so that those that need no turn here, of the small platform, run beside the
//! others.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::sync::{RwLock, Semaphore, watch};

/// As many as keep both processors of a small machine busy.
static SIDE_BY_SIDE: Semaphore = Semaphore::const_new(6);
static PLATFORM: RwLock<()> = RwLock::const_new(());

/// How many wait for their turn or have it.
type Listed = LazyLock<watch::Sender<usize>>;
static SHARED: Listed = LazyLock::new(watch::Sender::default);
static ALONE: Listed = LazyLock::new(watch::Sender::default);

/// A place on a list, until it is dropped.
struct Place(&'static Listed);

impl Place {
    fn on(list: &'static Listed) -> Self {
        list.send_modify(|count| *count += 1);
        Self(list)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Holds the platform together with other tests.
pub(crate) async fn shared() -> impl Send {
    let place = Place::on(&SHARED);
    let permit = SIDE_BY_SIDE.acquire().await;
    (PLATFORM.read().await, permit, place)
}

/// Holds the platform alone.
pub(crate) async fn alone() -> impl Send {
    let place = Place::on(&ALONE);
    all_had_their_turn(&SHARED).await;
    (PLATFORM.write().await, place)
}

/// Holds the platform alone when all others had it.
pub(crate) async fn last() -> impl Send {
    all_had_their_turn(&SHARED).await;
    all_had_their_turn(&ALONE).await;
    PLATFORM.write().await
}

async fn all_had_their_turn(list: &'static Listed) {
    // By then all are on the list.
    tokio::time::sleep(Duration::from_secs(1)).await;
    // The sender is never dropped.
    let _ = list.subscribe().wait_for(|count| *count == 0).await;
}
