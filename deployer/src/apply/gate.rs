//! The gate behind a service: its readiness, with the evidence when it does not come.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::{Apply, Error};
use crate::engine::container::Inspected;
use crate::health::{Condition, Unmet, condition, probe, wait};
use crate::plan::diff::Observed;

/// A container that Docker had to start again this often will not come to itself.
const MAX_RESTARTS: i64 = 4;
/// A service without a readiness entry: its container runs.
const DEFAULT_TIMEOUT: u64 = 30;

impl Apply<'_> {
    /// Waits until `name` is ready. `running_at` is the address of a container known to run, which saves asking Docker.
    pub(super) async fn gate(&self, name: &str, running_at: Option<Option<Ipv4Addr>>) -> Result<(), Error> {
        let service = &self.platform.services[name];
        let container = self.platform.container(name);
        let patience =
            Duration::from_secs(service.ready.as_ref().map_or(DEFAULT_TIMEOUT, |ready| ready.timeout));
        let start = Instant::now();
        if let Some(address) = running_at {
            // The usual second `up`: everything runs and answers at once.
            let address = self.remember(name, address);
            let wanted = condition(service.ready.as_deref(), address, &self.access());
            // What its log said once it said since the start.
            let told_by_docker = matches!(wanted, Condition::Running | Condition::Log { .. });
            if told_by_docker || self.ask(&container, &wanted, "").await.is_ok() {
                return Ok(());
            }
        }
        // Restarts of earlier days do not count.
        let before = self.docker.inspect(&container).await.ok().flatten().map_or(0, |state| state.restarts);
        let limit = before + MAX_RESTARTS;
        let Err(unmet) = wait(patience, || self.check(name, &container, limit)).await else { return Ok(()) };
        Err(Error::Gate {
            seconds: start.elapsed().as_secs_f64(),
            condition: format!("waiting until {}", unmet.condition),
            answer: unmet.answer,
            log: self.last_lines(&container).await,
            container,
        })
    }

    /// One look at a container and one probe. After `limit` restarts there is no hope.
    async fn check(&self, name: &str, container: &str, limit: i64) -> Result<(), Unmet> {
        let unmet = |condition: &Condition, answer: String, hopeless| Unmet {
            condition: condition.to_string(),
            answer,
            hopeless,
        };
        let runs = Condition::Running;
        let state =
            self.docker.inspect(container).await.map_err(|error| unmet(&runs, error.to_string(), false))?;
        let state = state.ok_or_else(|| unmet(&runs, "the container does not exist".into(), true))?;
        if !state.running {
            return Err(unmet(&runs, stopped(&state), state.restarts >= limit));
        }
        let address = self.remember(name, state.address);
        let wanted = condition(self.platform.services[name].ready.as_deref(), address, &self.access());
        let answer = self.ask(container, &wanted, &state.started_at).await;
        answer.map_err(|answer| unmet(&wanted, answer, state.restarts >= limit))
    }

    async fn ask(&self, container: &str, wanted: &Condition, started_at: &str) -> Result<(), String> {
        match wanted {
            Condition::Log { text } => self.logged(container, text, started_at).await,
            Condition::Exec { command } => {
                self.docker.ask(container, command).await.unwrap_or_else(|error| Err(error.to_string()))
            }
            other => probe(&self.http, other).await,
        }
    }

    /// The readiness of a running service now, in a sentence when it is not.
    pub(crate) async fn ready_now(&self, name: &str) -> Result<(), String> {
        let unmet = self.check(name, &self.platform.container(name), i64::MAX).await.err();
        unmet.map_or(Ok(()), |unmet| Err(format!("not yet: {}: {}", unmet.condition, unmet.answer)))
    }

    /// Takes the addresses of all running services from one look.
    pub(crate) fn learn(&self, observed: &Observed) {
        for container in observed.containers.values().filter(|container| !container.job) {
            self.remember(&container.service, container.address);
        }
    }

    async fn logged(&self, container: &str, text: &str, started_at: &str) -> Result<(), String> {
        let since = started_at.parse::<jiff::Timestamp>().map_or(0, |time| time.as_second());
        match self.docker.has_logged(container, text, i32::try_from(since).unwrap_or(0)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err("it did not say so yet".into()),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn stopped(state: &Inspected) -> String {
    if !state.error.is_empty() {
        return state.error.clone();
    }
    format!("it ended with code {} and was started again {} time(s)", state.exit_code, state.restarts)
}
