//! Requests that waited in the queue while no agent ran.
//!
//! What was under way when the last run ended is settled at the start (`startup.rs`), from the task states in the
//! database. The requests behind those states come after that, and would do it a second time: a second stop would end a
//! guest that its user has started again meanwhile. nova-compute has that window; here a request from before this run
//! is first held against the database.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use common::ids::InstanceUuid;
use common::messaging::RequestContext;
use common::objects::Instance;
use common::objects::fields::TaskState;
use jiff::Timestamp;

use crate::agent::Agent;
use crate::error::Error;

/// Tasks that were gone on with at the start, and that may last beyond it: another host has the next step.
#[derive(Debug, Default)]
pub struct Settled(Mutex<HashSet<(InstanceUuid, TaskState)>>);

impl Settled {
    /// This task is gone on with.
    pub fn note(&self, uuid: InstanceUuid, task: TaskState) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((uuid, task));
    }

    fn contains(&self, uuid: InstanceUuid, task: TaskState) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&(uuid, task))
    }
}

/// Whether the request was settled, or withdrawn, before it could be carried out.
pub async fn is_settled(agent: &Agent, context: &RequestContext, asked: &Instance) -> bool {
    let (Some(uuid), Some(task)) = (asked.instance_uuid(), asked.task()) else { return false };
    if !is_from_before(context.timestamp(), agent.started) {
        return false;
    }
    if agent.settled.contains(uuid, task) {
        return true;
    }
    match agent.conductor.instance(context, uuid, &[]).await {
        Ok(now) => now.task() != Some(task),
        Err(error) => Error::from(error).is_instance_not_found(),
    }
}

/// A request without a time is taken as new: to carry it out is what it asks for.
fn is_from_before(asked: Option<Timestamp>, started: Timestamp) -> bool {
    asked.is_some_and(|asked| asked < started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_from_before_the_start_are_doubted() {
        let started: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let at = |text: &str| Some(text.parse().unwrap());
        assert!(is_from_before(at("2026-11-22T11:59:59Z"), started));
        assert!(!is_from_before(at("2026-11-22T12:00:01Z"), started));
        assert!(!is_from_before(None, started));
    }
}
