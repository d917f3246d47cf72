//! Whether the agent is well: what `/healthz` says.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use serde::Serialize;

/// What the rest of the agent says of its health; shared by reference count.
#[derive(Debug, Default)]
pub struct Health {
    amqp_connected: AtomicBool,
    /// Seconds since the epoch; 0 before the first.
    last_heartbeat: AtomicI64,
}

impl Health {
    /// The connection to RabbitMQ is up, or down.
    pub fn amqp(&self, connected: bool) {
        self.amqp_connected.store(connected, Ordering::Relaxed);
    }

    /// The connection to RabbitMQ is up.
    pub fn connected(&self) -> bool {
        self.amqp_connected.load(Ordering::Relaxed)
    }

    /// A heartbeat of the service record was saved just now.
    pub fn heartbeat(&self) {
        self.last_heartbeat.store(now(), Ordering::Relaxed);
    }

    /// When the last heartbeat was saved, in seconds since the epoch; 0 before the first.
    pub(super) fn last_heartbeat(&self) -> i64 {
        self.last_heartbeat.load(Ordering::Relaxed)
    }

    /// `docker`: dockerd answers; `now`: seconds since the epoch; `stale_after`: the age in seconds at which a heartbeat is too
    /// old.
    pub(super) fn report(&self, docker: bool, now: i64, stale_after: i64) -> Report {
        let amqp = self.amqp_connected.load(Ordering::Relaxed);
        let last_heartbeat = self.last_heartbeat.load(Ordering::Relaxed);
        let heartbeat_age_seconds = (last_heartbeat > 0).then(|| now.saturating_sub(last_heartbeat).max(0));
        let alive = heartbeat_age_seconds.is_some_and(|age| age < stale_after);
        let status = if amqp && docker && alive { "ok" } else { "failing" };
        Report { status, amqp, docker, heartbeat_age_seconds }
    }
}

/// The body of `/healthz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    /// `ok` or `failing`.
    pub(super) status: &'static str,
    /// RabbitMQ is connected.
    pub(super) amqp: bool,
    /// dockerd answers.
    pub(super) docker: bool,
    /// Null before the first heartbeat.
    pub(super) heartbeat_age_seconds: Option<i64>,
}

/// Seconds since the epoch.
pub(super) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_must_be_well() {
        let health = Health::default();
        let status = |docker, now| health.report(docker, now, 30).status;
        assert_eq!(health.report(true, 1000, 30).heartbeat_age_seconds, None);
        health.last_heartbeat.store(1000, Ordering::Relaxed);
        assert_eq!(status(true, 1001), "failing");
        health.amqp(true);
        assert_eq!(status(true, 1029), "ok");
        assert_eq!(status(true, 1030), "failing");
        assert_eq!(status(false, 1001), "failing");
        health.amqp(false);
        assert_eq!(status(true, 1001), "failing");
    }

    #[test]
    fn a_clock_that_went_back_does_no_harm() {
        let health = Health::default();
        health.amqp(true);
        health.last_heartbeat.store(1000, Ordering::Relaxed);
        assert_eq!(health.report(true, 500, 30).heartbeat_age_seconds, Some(0));
    }
}
