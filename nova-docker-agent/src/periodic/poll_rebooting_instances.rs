//! Soft reboots that do not end: a hard one in the place of the user, as nova-api would begin it.

use std::time::Duration;

use common::error_chain::Chain;
use common::messaging::RequestContext;
use common::objects::Instance;
use common::objects::fields::TaskState;
use serde_json::json;

use super::{Task, is_older};
use crate::agent::Agent;
use crate::conductor::Expect;
use crate::config::Config;
use crate::error::Error;

/// The steps of a soft reboot.
const SOFT: &[Option<TaskState>] =
    &[Some(TaskState::Rebooting), Some(TaskState::RebootStarted), Some(TaskState::RebootPending)];

pub(super) struct PollRebootingInstances;

impl Task for PollRebootingInstances {
    const NAME: &'static str = "poll_rebooting_instances";

    fn period(config: &Config) -> Option<Duration> {
        super::while_timed(config.reboot_timeout)
    }

    async fn run(&mut self, agent: &Agent) -> Result<(), Error> {
        let context = RequestContext::admin();
        let words: Vec<_> = SOFT.iter().flatten().map(|task| task.as_str()).collect();
        let filters = json!({"task_state": words, "host": agent.config.host});
        let attributes = ["flavor", "metadata", "system_metadata", "info_cache"];
        for instance in agent.conductor.instances_by_filters(&context, filters, &attributes).await? {
            if !instance.updated_at().is_some_and(|at| is_older(at, agent.config.reboot_timeout)) {
                continue;
            }
            let uuid = instance.uuid().map(str::to_owned);
            tracing::warn!(instance_uuid = uuid, "its soft reboot does not end; a hard one follows");
            if let Err(error) = reset(agent, &context, instance).await {
                tracing::warn!(instance_uuid = uuid, error = %Chain(&error), "the hard reboot was not begun");
            }
        }
        Ok(())
    }
}

async fn reset(agent: &Agent, context: &RequestContext, mut instance: Instance) -> Result<(), Error> {
    let Some(uuid) = instance.instance_uuid() else { return Ok(()) };
    agent.conductor.action_start(context, uuid, "reboot").await?;
    instance.set_task(Some(TaskState::RebootingHard));
    match agent.conductor.save(context, &mut instance, Expect::one_of(SOFT)).await {
        // It ended just now.
        Err(error) if error.is_unexpected_task_state() => return Ok(()),
        other => other?,
    }
    Ok(agent.conductor.reboot_own_instance(context, &instance).await?)
}
