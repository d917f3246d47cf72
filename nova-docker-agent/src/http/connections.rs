//! To whom the agent is connected. Those who are talked to all the time are judged by how that went last; the others are
//! asked.

use std::collections::BTreeMap;
use std::time::Duration;

use common::contact::Seen;
use common::error_chain::Chain;
use jiff::Timestamp;
use serde::Serialize;

use super::Management;

/// How long a peer may take when it is asked.
const PATIENCE: Duration = Duration::from_secs(2);

/// The name of dockerd.
pub(super) const DOCKER: &str = "docker";

/// Names of OpenStack's services by their types in the catalogue.
const SERVICES: [(&str, &str); 4] =
    [("identity", "keystone"), ("placement", "placement"), ("image", "glance"), ("network", "neutron")];

/// A connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Connection {
    /// Who is at its other end.
    pub(super) peer: &'static str,
    /// Whether it is up; none when there was no need of it up to now.
    pub(super) up: Option<bool>,
    /// When the peer answered last, if that is noted.
    answered: Option<Timestamp>,
    /// What was wrong last, and when.
    problem: Option<String>,
    failed: Option<Timestamp>,
}

impl Connection {
    fn now(peer: &'static str, problem: Option<String>) -> Self {
        Self { peer, up: Some(problem.is_none()), answered: None, failed: None, problem }
    }

    fn noted(peer: &'static str, seen: Seen) -> Self {
        let problem = (!seen.problem.is_empty()).then_some(seen.problem);
        Self { peer, up: seen.up, answered: seen.answered, problem, failed: seen.failed }
    }
}

/// All of them.
pub(super) async fn all(management: &Management) -> Vec<Connection> {
    let agent = management.agent();
    let (docker, switch) = tokio::join!(tokio::time::timeout(PATIENCE, management.engine.ping()), async {
        match &agent {
            Some(agent) => Some(tokio::time::timeout(PATIENCE, agent.nics.switch()).await),
            None => None,
        }
    });
    let late = || Some("no answer in time".to_owned());
    let docker = docker.map_or_else(|_| late(), |answer| answer.err().map(|error| Chain(&error).to_string()));
    let broker = (!management.health.connected()).then(|| "not connected".to_owned());
    let mut all = vec![Connection::now("rabbitmq", broker)];
    if let Some(agent) = &agent {
        all.push(Connection::noted("conductor", agent.conductor.seen()));
    }
    all.push(Connection::now(DOCKER, docker));
    match switch {
        Some(Ok(Some(Ok(())))) => all.push(Connection::now("ovsdb", None)),
        Some(Ok(Some(Err(error)))) => all.push(Connection::now("ovsdb", Some(Chain(&error).to_string()))),
        Some(Err(_)) => all.push(Connection::now("ovsdb", late())),
        // A host with bridges of the kernel only, or it is not known yet.
        Some(Ok(None)) | None => {}
    }
    let sessions = management.sessions.iter().map(|session| session.contacts());
    all.extend(services(sessions.flatten()));
    all
}

/// What several logins saw of the same services: the last of it.
fn services(seen: impl Iterator<Item = (&'static str, Seen)>) -> Vec<Connection> {
    let mut latest: BTreeMap<&str, Seen> = BTreeMap::new();
    for (service, seen) in seen {
        let last = |seen: &Seen| seen.answered.max(seen.failed);
        match latest.get(service) {
            Some(known) if last(known) >= last(&seen) => {}
            _ => drop(latest.insert(service, seen)),
        }
    }
    let known = SERVICES.iter().filter_map(|(kind, name)| Some((*name, latest.remove(kind)?)));
    known.map(|(name, seen)| Connection::noted(name, seen)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_attempt_of_any_login_counts() {
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let well = Seen { up: Some(true), answered: at(20), ..Seen::default() };
        let badly = Seen { up: Some(false), failed: at(10), problem: "no route".into(), ..Seen::default() };
        let logins = [
            ("identity", badly.clone()),
            ("network", badly),
            ("identity", well),
            ("placement", Seen::default()),
        ];
        let told = services(logins.into_iter());
        let told: Vec<_> = told.iter().map(|connection| (connection.peer, connection.up)).collect();
        assert_eq!(told, [("keystone", Some(true)), ("placement", None), ("neutron", Some(false))]);
    }
}
