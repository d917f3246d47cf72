//! A guest that ends or starts by itself: Docker tells, and the record follows at once.
//!
//! Not by the clock, but with the same effect as `sync_power_states`. What the agent does itself also causes events;
//! those are recognised because somebody acts on the instance, or because they bring no news.

use std::sync::Arc;
use std::time::Duration;

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use futures_util::StreamExt;

use super::sync_power_states;
use crate::agent::Agent;
use crate::instance::power;
use crate::virt::{Event, LifecycleEvent, PowerState};

/// An operation of ours that is about to end says so itself.
const SETTLE: Duration = Duration::from_millis(500);

/// Begins to listen.
pub(super) fn start(agent: &Arc<Agent>) {
    let agent = Arc::clone(agent);
    agent.life.clone().spawn_service(async move {
        let mut events = Box::pin(agent.driver.lifecycle());
        loop {
            let event = tokio::select! {
                biased;
                () = agent.life.stopped() => return,
                event = events.next() => event,
            };
            let Some(event) = event else { return };
            let worker = Arc::clone(&agent);
            agent.life.spawn(async move { handle(&worker, event).await });
        }
    });
}

async fn handle(agent: &Agent, event: LifecycleEvent) {
    let done = match event {
        LifecycleEvent::Resync => sync_power_states::compare(agent).await,
        LifecycleEvent::Instance { uuid, event } => {
            // Somebody else started it: what was plugged into its last namespace is lost.
            if event == Event::Started && !agent.locks.busy(uuid) {
                agent.nics.started(uuid).await;
            }
            if !is_news(agent, uuid, event) {
                return;
            }
            tokio::time::sleep(SETTLE).await;
            if !is_news(agent, uuid, event) {
                return;
            }
            tracing::info!(instance_uuid = %uuid, ?event, "the container changed by itself");
            power::sync(agent, uuid).await
        }
    };
    if let Err(error) = done {
        tracing::warn!(error = %Chain(&error), "an event of Docker could not be followed; the next comparison sees to it");
    }
}

/// False for what the agent did itself.
fn is_news(agent: &Agent, uuid: InstanceUuid, event: Event) -> bool {
    let power = match event {
        Event::Started | Event::Resumed => PowerState::Running,
        Event::Stopped => PowerState::Shutdown,
        Event::Paused => PowerState::Paused,
        Event::Removed => PowerState::NoState,
        // A process in it died, not the guest: `Stopped` follows if it did.
        Event::OutOfMemory => {
            tracing::warn!(instance_uuid = %uuid, "a process of the instance was killed for want of memory");
            return false;
        }
    };
    let as_known = |known: PowerState| {
        // What is suspended is frozen.
        known == power || (known, power) == (PowerState::Suspended, PowerState::Paused)
    };
    !agent.locks.busy(uuid) && agent.tracker.power(uuid).is_some_and(|known| !as_known(known))
}
