//! The source of a resize removes the copy it has kept.

use common::error_chain::Chain;
use common::objects::fields::{TaskState, VmState};
use common::objects::{Instance, Migration};
use serde::Deserialize;

use super::{Call, Method};
use crate::conductor::Expect;
use crate::error::Error;
use crate::instance::guards::Guards;
use crate::instance::moves::{self, Failure};
use crate::virt::PowerState;

/// The arguments.
#[derive(Deserialize)]
pub struct ConfirmResize {
    /// The instance; the destination's.
    pub instance: Instance,
    /// The move.
    pub migration: Migration,
}

impl Method for ConfirmResize {
    const NAME: &'static str = "confirm_resize";
    const GUARDS: Guards = Guards::EF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(mut self, call: &Call) -> Result<(), Error> {
        let (agent, context) = (&call.agent, &call.context);
        let acting = agent.acting(&self.instance).await?;
        let status = self.migration.status().unwrap_or_default();
        if !matches!(status, "finished" | "confirming") {
            tracing::info!(status, "there is nothing to confirm");
            return Ok(());
        }
        let attributes = ["metadata", "system_metadata", "flavor"];
        self.instance = match agent.conductor.instance(context, acting.uuid(), &attributes).await {
            Err(error) if error.is_instance_not_found() => return Ok(()),
            other => other?,
        };
        let confirmed = match self.confirm(call).await {
            Ok(()) => Ok(()),
            Err(failure) => {
                Err(moves::error_out(agent, context, (&self.instance, VmState::Active), failure).await)
            }
        };
        // In any case the instance is the destination's.
        let freed = moves::delete_allocation(agent, &self.migration).await;
        if !self.migration.stays() {
            agent.tracker.release(acting.uuid());
            if let Err(error) = agent.conductor.scheduler_lost(context, acting.uuid()).await {
                tracing::debug!(error = %Chain(&error), "the schedulers were not told");
            }
        }
        moves::forget_stash(agent, context, &mut self.instance).await;
        // Nova marks it first. Last, it leads an agent that was killed on the way here.
        match confirmed {
            Ok(()) => {
                self.migration.set_status("confirmed");
                agent.conductor.save_object(context, &mut self.migration).await?;
            }
            Err(_) => moves::fail(agent, context, &self.migration).await,
        }
        confirmed.and(freed)
    }
}

impl ConfirmResize {
    async fn confirm(&mut self, call: &Call) -> Result<(), Failure> {
        let (agent, context) = (&call.agent, &call.context);
        if let Some(uuid) = self.instance.instance_uuid().filter(|_| !self.migration.stays()) {
            moves::remove(agent, uuid).await?;
        }
        if self.instance.state() != VmState::Resized {
            // It was confirmed before the agent was killed, and has gone on living.
            return Ok(());
        }
        let stopped = self.instance.power_state() == Some(PowerState::Shutdown as i64);
        self.instance.set_state(if stopped { VmState::Stopped } else { VmState::Active });
        self.instance.set_task(None);
        // Nova drops the context by a call of its own before.
        self.instance.set_migration_context(serde_json::Value::Null);
        let expect = Expect::one_of(&[None, Some(TaskState::Deleting), Some(TaskState::SoftDeleting)]);
        agent.conductor.save(context, &mut self.instance, expect).await?;
        agent.tracker.refresh_state(&self.instance);
        Ok(())
    }
}
