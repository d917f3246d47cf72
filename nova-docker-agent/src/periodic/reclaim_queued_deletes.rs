//! Soft-deleted instances whose time to be restored is over: deleted for good.

use std::time::Duration;

use common::error_chain::Chain;
use common::messaging::RequestContext;
use common::objects::Instance;
use common::objects::fields::VmState;
use serde_json::json;

use super::{Task, is_older};
use crate::agent::Agent;
use crate::config::Config;
use crate::error::Error;
use crate::instance::destroy;

pub(super) struct ReclaimQueuedDeletes;

impl Task for ReclaimQueuedDeletes {
    const NAME: &'static str = "reclaim_queued_deletes";

    fn period(config: &Config) -> Option<Duration> {
        super::while_timed(config.reclaim_instance_interval)
    }

    async fn run(&mut self, agent: &Agent) -> Result<(), Error> {
        let context = RequestContext::admin();
        let filters = json!({
            "vm_state": VmState::SoftDeleted.as_str(), "task_state": null, "host": agent.config.host,
        });
        let attributes = ["system_metadata", "info_cache"];
        for instance in agent.conductor.instances_by_filters(&context, filters, &attributes).await? {
            // Without a time it is long ago (Nova: `_deleted_old_enough`).
            if instance.deleted_at().is_none_or(|at| is_older(at, agent.config.reclaim_instance_interval)) {
                reclaim(agent, &context, instance).await;
            }
        }
        Ok(())
    }
}

async fn reclaim(agent: &Agent, context: &RequestContext, listed: Instance) {
    let Some(uuid) = listed.instance_uuid() else { return };
    let acting = agent.locks.act(uuid).await;
    // It may have been restored while we waited for the right to act.
    let mut instance = match agent.conductor.instance(context, uuid, &["system_metadata", "info_cache"]).await
    {
        Ok(now) if now.state() == VmState::SoftDeleted && now.task().is_none() => now,
        Ok(_) => return,
        Err(error) => {
            return tracing::warn!(instance_uuid = %uuid, error = %Chain(&error), "it is reclaimed later");
        }
    };
    tracing::info!(instance_uuid = %uuid, "reclaims a deleted instance");
    if let Err(error) = destroy::delete(agent, &acting, context, &mut instance).await {
        tracing::warn!(instance_uuid = %uuid, error = %Chain(&error), "a deleted instance could not be reclaimed");
    }
}
