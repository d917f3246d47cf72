//! `/healthz` and `/metrics` on the management address.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use actix_web::http::StatusCode;
use actix_web::{App, HttpResponse, HttpServer, web};
use common::docker::Engine;
use common::shutdown::Shutdown;
use prometheus_client::registry::Registry;
use serde::Serialize;

/// Content type of OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The agent is not well when its last heartbeat is older than this, in seconds.
const STALE_HEARTBEAT: i64 = 30;

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

    /// A heartbeat of the service record was saved just now.
    pub fn heartbeat(&self) {
        self.last_heartbeat.store(now(), Ordering::Relaxed);
    }

    fn report(&self, docker: bool, now: i64, stale_after: i64) -> Report {
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
struct Report {
    status: &'static str,
    /// RabbitMQ is connected.
    amqp: bool,
    /// dockerd answers.
    docker: bool,
    /// Null before the first heartbeat.
    heartbeat_age_seconds: Option<i64>,
}

/// What the handlers look at.
struct Served {
    health: Arc<Health>,
    engine: Engine,
    registry: Registry,
    stale_after: i64,
}

/// Serves on `listener` until `life` closes. `report_interval`: seconds between heartbeats.
///
/// # Errors
/// When the server cannot start its thread.
pub fn serve(
    listener: TcpListener,
    (health, engine, registry): (Arc<Health>, Engine, Registry),
    report_interval: u64,
    life: &Shutdown,
) -> std::io::Result<()> {
    // A longer interval makes older heartbeats normal.
    let stale_after =
        i64::try_from(report_interval.saturating_mul(3)).unwrap_or(i64::MAX).max(STALE_HEARTBEAT);
    let served = web::Data::new(Served { health, engine, registry, stale_after });
    let app = move || {
        App::new()
            .app_data(served.clone())
            .route("/healthz", web::get().to(healthz))
            .route("/metrics", web::get().to(metrics))
    };
    // One thread is plenty for a probe every few seconds, and keeps the agent small.
    let server =
        HttpServer::new(app).workers(1).disable_signals().shutdown_timeout(1).listen(listener)?.run();
    let handle = server.handle();
    let closing = life.clone();
    life.spawn_service(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "the management server ended");
        }
    });
    life.spawn_service(async move {
        closing.closed().await;
        handle.stop(false).await;
    });
    Ok(())
}

async fn healthz(served: web::Data<Served>) -> HttpResponse {
    let docker = served.engine.ping().await.is_ok();
    let report = served.health.report(docker, now(), served.stale_after);
    let status = if report.status == "ok" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    HttpResponse::build(status).json(report)
}

async fn metrics(served: web::Data<Served>) -> HttpResponse {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &served.registry) {
        Ok(()) => HttpResponse::Ok().content_type(OPEN_METRICS).body(text),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}

fn now() -> i64 {
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
