//! All that the operator's page shows, as JSON. Nothing of it is secret, but names and addresses are not for everybody.

use std::collections::HashMap;
use std::net::IpAddr;

use common::docker::Container;
use common::ids::InstanceUuid;
use jiff::Timestamp;
use serde::Serialize;

use super::connections::{self, Connection};
use super::{Management, scrape};
use crate::activity::{Failure, MethodReport};
use crate::agent::Agent;
use crate::resources::{Amount, InstanceReport};

/// Characters of a container's id, as `docker ps` shows it.
const SHORT_ID: usize = 12;

/// The body of `/status.json`.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    /// The agent's clock, so that the page can tell ages.
    now: Timestamp,
    version: &'static str,
    /// Memory of the agent, in bytes.
    resident_memory: u64,
    /// `ok` or `failing`, as `/healthz`.
    health: &'static str,
    heartbeat_age_seconds: Option<i64>,
    /// None while the agent comes up.
    host: Option<Host>,
    connections: Vec<Connection>,
    methods: Vec<MethodReport>,
    /// The latest first.
    failures: Vec<Failure>,
}

/// What is known once the agent is up.
#[derive(Debug, Serialize)]
struct Host {
    /// `[DEFAULT] host`
    name: String,
    /// When this run of the agent began.
    started: Timestamp,
    /// The compute service is disabled.
    disabled: bool,
    resources: Vec<Amount>,
    /// Consoles that are open.
    consoles: usize,
    instances: Vec<Row>,
}

/// An instance: what Nova says of it, and what Docker has.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    instance: InstanceReport,
    /// The container's id, shortened; none without container.
    container: Option<String>,
    addresses: Vec<IpAddr>,
}

/// What is to be shown now.
pub(super) async fn of(management: &Management) -> Status {
    let agent = management.agent();
    let (connections, host) = tokio::join!(connections::all(management), async {
        match &agent {
            Some(agent) => Some(host(agent).await),
            None => None,
        }
    });
    let docker = connections.iter().any(|peer| peer.peer == connections::DOCKER && peer.up == Some(true));
    let report = management.report(docker);
    Status {
        now: Timestamp::now(),
        version: env!("CARGO_PKG_VERSION"),
        resident_memory: scrape::resident_memory(),
        health: report.status,
        heartbeat_age_seconds: report.heartbeat_age_seconds,
        host,
        connections,
        methods: management.activity.methods(),
        failures: management.activity.failures(),
    }
}

async fn host(agent: &Agent) -> Host {
    // Without Docker the rest is shown all the same.
    let containers = agent.driver.containers().await.unwrap_or_default();
    let instances = agent.tracker.instances();
    let rows = instances.into_iter().map(|instance| {
        let addresses = agent.driver.addresses(instance.uuid);
        row(instance, &containers, addresses)
    });
    let mut instances: Vec<Row> = rows.collect();
    instances.sort_by(|one, other| {
        (&one.instance.name, one.instance.uuid).cmp(&(&other.instance.name, other.instance.uuid))
    });
    Host {
        name: agent.config.host.clone(),
        started: agent.started,
        disabled: agent.tracker.disabled(),
        resources: agent.tracker.amounts(),
        consoles: agent.consoles.count(),
        instances,
    }
}

fn row(
    instance: InstanceReport,
    containers: &HashMap<InstanceUuid, Container>,
    addresses: Vec<IpAddr>,
) -> Row {
    let container = containers.get(&instance.uuid);
    let container = container.map(|container| container.id.chars().take(SHORT_ID).collect());
    Row { instance, container, addresses }
}
