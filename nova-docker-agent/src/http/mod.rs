//! The management address: `/healthz`, `/metrics`, and the operator's page (read-only, with a password).
//!
//! ```text
//! health.rs  is it well?     metrics (../metrics.rs) ◄─ scrape.rs     page.rs  /  /page.css  /page.js
//!                                                                     guard.rs  who may see it
//!                            status.rs  all that the page shows ─►    /status.json
//! ```

mod connections;
mod guard;
mod health;
mod page;
mod scrape;
mod status;

use std::net::TcpListener;
use std::sync::{Arc, OnceLock, Weak};

use actix_web::http::StatusCode;
use actix_web::{App, HttpResponse, HttpServer, web};
use common::docker::Engine;
use common::openstack::Session;
use common::secret::Secret;
use common::shutdown::Shutdown;
use prometheus_client::registry::Registry;

pub use health::Health;

use crate::activity::Activity;
use crate::agent::Agent;
use crate::metrics::Metrics;

/// Content type of OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The agent is not well when its last heartbeat is older than this, in seconds.
const STALE_HEARTBEAT: i64 = 30;

/// What the management address looks at.
pub struct Management {
    /// What the rest of the agent says of its health.
    pub health: Arc<Health>,
    /// What the agent did lately.
    pub activity: Arc<Activity>,
    /// dockerd.
    pub engine: Engine,
    /// The logins through which OpenStack's services are asked.
    pub sessions: Vec<Session>,
    /// The numbers in `registry`.
    pub metrics: Metrics,
    /// What `/metrics` tells.
    pub registry: Registry,
    /// `[docker] page_password`; the page is off without.
    pub password: Option<Secret>,
    /// Seconds between heartbeats.
    pub report_interval: u64,
    /// The agent, once it is up: see [`Management::show`].
    pub agent: OnceLock<Weak<Agent>>,
}

impl Management {
    /// Shows what `agent` has, too.
    pub fn show(&self, agent: &Arc<Agent>) {
        // A process has one agent.
        let _ = self.agent.set(Arc::downgrade(agent));
    }

    fn agent(&self) -> Option<Arc<Agent>> {
        self.agent.get().and_then(Weak::upgrade)
    }

    /// `docker`: dockerd answers.
    fn report(&self, docker: bool) -> health::Report {
        // A longer interval makes older heartbeats normal.
        let stale_after = i64::try_from(self.report_interval.saturating_mul(3)).unwrap_or(i64::MAX);
        self.health.report(docker, health::now(), stale_after.max(STALE_HEARTBEAT))
    }
}

/// Serves on `listener` until `life` closes.
///
/// # Errors
/// When the server cannot start its thread.
pub fn serve(listener: TcpListener, management: Arc<Management>, life: &Shutdown) -> std::io::Result<()> {
    let served = web::Data::from(management);
    let guard = web::Data::new(guard::Guard::new(served.password.as_ref())?);
    let app = move || {
        App::new()
            .app_data(served.clone())
            .app_data(guard.clone())
            .route("/healthz", web::get().to(healthz))
            .route("/metrics", web::get().to(metrics))
            .service(page::scope())
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

async fn healthz(management: web::Data<Management>) -> HttpResponse {
    let report = management.report(management.engine.ping().await.is_ok());
    let status = if report.status == "ok" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    HttpResponse::build(status).json(report)
}

async fn metrics(management: web::Data<Management>) -> HttpResponse {
    scrape::set(&management).await;
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &management.registry) {
        Ok(()) => HttpResponse::Ok().content_type(OPEN_METRICS).body(text),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}
