//! Containers of instances that Nova has deleted: removed, stopped, reported or left, as the operator wants.

use std::collections::BTreeSet;
use std::time::Duration;

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::messaging::RequestContext;
use common::objects::Instance;
use serde_json::json;

use super::Task;
use crate::agent::Agent;
use crate::config::{Config, RunningDeleted};
use crate::error::Error;

pub(super) struct CleanupRunningDeletedInstances;

impl Task for CleanupRunningDeletedInstances {
    const NAME: &'static str = "cleanup_running_deleted_instances";
    const AT_ONCE: bool = true;

    fn period(config: &Config) -> Option<Duration> {
        if config.running_deleted_instance_action == RunningDeleted::Noop {
            return None;
        }
        Some(Duration::from_secs(config.running_deleted_instance_poll_interval.max(1)))
    }

    async fn run(&mut self, agent: &Agent) -> Result<(), Error> {
        let containers = agent.driver.instances().await?.into_iter().map(|(uuid, _)| uuid);
        let present: BTreeSet<InstanceUuid> = containers.chain(agent.nics.sandboxed().await?).collect();
        if present.is_empty() {
            return Ok(());
        }
        // Only rows that are deleted for certain: an instance Nova does not know at all may belong to a database that
        // is being restored.
        let context = RequestContext::admin().reading_deleted();
        let filters = json!({"deleted": true, "soft_deleted": false, "uuid": present});
        for instance in agent.conductor.instances_by_filters(&context, filters, &[]).await? {
            clean_up(agent, &instance).await;
        }
        Ok(())
    }
}

async fn clean_up(agent: &Agent, instance: &Instance) {
    let Some(uuid) = instance.instance_uuid() else { return };
    let _acting = agent.locks.act(uuid).await;
    let done = match agent.config.running_deleted_instance_action {
        RunningDeleted::Noop => return,
        RunningDeleted::Log => {
            return tracing::warn!(instance_uuid = %uuid, "the container of a deleted instance is still there");
        }
        RunningDeleted::Shutdown => {
            agent.driver.power_off(uuid, agent.config.shutdown_timeout).await.map_err(Error::from)
        }
        RunningDeleted::Reap => reap(agent, uuid).await,
    };
    match done {
        Ok(()) => tracing::warn!(instance_uuid = %uuid, "cleaned up the container of a deleted instance"),
        Err(error) => {
            tracing::error!(instance_uuid = %uuid, error = %Chain(&error), "the container of a deleted instance stays");
        }
    }
}

async fn reap(agent: &Agent, uuid: InstanceUuid) -> Result<(), Error> {
    agent.driver.destroy(uuid).await?;
    agent.nics.remove(uuid, &agent.nics.plugged_of(uuid).await?).await
}
