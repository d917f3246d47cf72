//! Orderly stopping: who must finish, who may be cut off, and how long that may take.
//!
//! Work (an RPC being carried out) is counted and awaited; services (connections, timers) run until the work is done.
//! ```text
//! running ──stop()──► no new work is taken ──all work done, or the deadline──► close: services end
//! ```

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Handle on the life of the process; clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    stop: CancellationToken,
    close: CancellationToken,
    work: TaskTracker,
    services: TaskTracker,
}

impl Shutdown {
    /// A life that has just begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everybody not to begin anything new.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// True once [`Self::stop`] was called.
    pub fn stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Resolves once [`Self::stop`] was called: the end of timers and consumers.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Resolves when the work is over and services must end.
    pub async fn closed(&self) {
        self.close.cancelled().await;
    }

    /// Runs `work`; [`Self::drain`] waits for it.
    pub fn spawn<F>(&self, work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.work.spawn(work);
    }

    /// Runs a `service` that ends by itself after [`Self::closed`] or [`Self::stopped`].
    pub fn spawn_service<F>(&self, service: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.services.spawn(service);
    }

    /// Stops and waits up to `deadline` for the running work; returns how much of it is left.
    pub async fn finish_work(&self, deadline: Duration) -> usize {
        self.stop();
        self.work.close();
        // Time is up or all is done: the caller sees which by the number.
        let _ = tokio::time::timeout(deadline, self.work.wait()).await;
        self.work.len()
    }

    /// Stops, waits up to `deadline` for the running work, then ends the services.
    ///
    /// Returns how many pieces of work were cut off.
    pub async fn drain(&self, deadline: Duration) -> usize {
        let unfinished = self.finish_work(deadline).await;
        self.close.cancel();
        self.services.close();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.services.wait()).await;
        unfinished
    }

    /// Resolves at SIGTERM or SIGINT.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub async fn signal() -> std::io::Result<&'static str> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        Ok(tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_awaited_and_services_end_after_it() {
        let life = Shutdown::new();
        let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
        let (work, service, inner) = (sender.clone(), sender, life.clone());
        life.spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let _ = work.send("work");
        });
        life.spawn_service(async move {
            inner.closed().await;
            let _ = service.send("service");
        });
        assert_eq!(life.drain(Duration::from_secs(5)).await, 0);
        assert_eq!(order.recv().await, Some("work"));
        assert_eq!(order.recv().await, Some("service"));
    }

    #[tokio::test]
    async fn the_deadline_cuts_off_what_hangs() {
        let life = Shutdown::new();
        life.spawn(std::future::pending());
        assert_eq!(life.drain(Duration::from_millis(10)).await, 1);
    }
}
