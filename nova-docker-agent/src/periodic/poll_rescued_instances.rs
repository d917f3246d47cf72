//! Ends rescues that have lasted too long, as nova-api would.

use std::time::Duration;

use common::error_chain::Chain;
use common::messaging::RequestContext;
use common::objects::Instance;
use common::objects::fields::{TaskState, VmState};
use serde_json::json;

use super::{Task, is_older};
use crate::agent::Agent;
use crate::conductor::Expect;
use crate::config::Config;
use crate::error::Error;

pub(super) struct PollRescuedInstances;

impl Task for PollRescuedInstances {
    const NAME: &'static str = "poll_rescued_instances";

    fn period(config: &Config) -> Option<Duration> {
        super::while_timed(config.rescue_timeout)
    }

    async fn run(&mut self, agent: &Agent) -> Result<(), Error> {
        let context = RequestContext::admin();
        let filters = json!({
            "vm_state": VmState::Rescued.as_str(), "task_state": null, "host": agent.config.host,
        });
        for instance in agent.conductor.instances_by_filters(&context, filters, &["system_metadata"]).await? {
            let since = instance.launched_at().unwrap_or_default();
            if !is_older(since, agent.config.rescue_timeout) {
                continue;
            }
            tracing::warn!(instance_uuid = instance.uuid(), "the rescue has lasted too long; ends it");
            if let Err(error) = unrescue_for_the_api(agent, instance).await {
                tracing::warn!(error = %Chain(&error), "a rescue is ended later");
            }
        }
        Ok(())
    }
}

async fn unrescue_for_the_api(agent: &Agent, mut instance: Instance) -> Result<(), Error> {
    let context = RequestContext::admin();
    let Some(uuid) = instance.instance_uuid() else { return Ok(()) };
    agent.conductor.action_start(&context, uuid, "unrescue").await?;
    instance.set_task(Some(TaskState::Unrescuing));
    match agent.conductor.save(&context, &mut instance, Expect::one_of(&[None])).await {
        // Somebody began something else.
        Err(error) if error.is_unexpected_task_state() => return Ok(()),
        other => other?,
    }
    Ok(agent.conductor.unrescue_own_instance(&context, &instance).await?)
}
