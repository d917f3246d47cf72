//! Takes instances from the host that have been shelved for a while.

use std::time::Duration;

use common::error_chain::Chain;
use common::messaging::RequestContext;
use common::objects::Instance;
use common::objects::fields::{TaskState, VmState};
use serde_json::json;

use super::{Task, is_older, seconds};
use crate::agent::Agent;
use crate::conductor::Expect;
use crate::config::Config;
use crate::error::Error;
use crate::instance::shelve::{SHELVED_AT, offload};
use crate::instance::spawn::ATTRIBUTES;

pub(super) struct PollShelvedInstances;

impl Task for PollShelvedInstances {
    const NAME: &'static str = "poll_shelved_instances";

    fn period(config: &Config) -> Option<Duration> {
        // At 0 an instance leaves at once, below it never does.
        seconds(config.shelved_poll_interval).filter(|_| config.shelved_offload_time > 0)
    }

    async fn run(&mut self, agent: &Agent) -> Result<(), Error> {
        let context = RequestContext::admin();
        let filters = json!({
            "vm_state": VmState::Shelved.as_str(), "task_state": null, "host": agent.config.host,
        });
        let longest = u64::try_from(agent.config.shelved_offload_time).unwrap_or_default();
        for instance in agent.conductor.instances_by_filters(&context, filters, &ATTRIBUTES).await? {
            // Nova writes this time without its zone.
            let since = format!("{}Z", instance.system_metadata().remove(SHELVED_AT).unwrap_or_default());
            if !is_older(&since, longest) {
                continue;
            }
            let uuid = instance.uuid().map(str::to_owned);
            if let Err(error) = take(agent, &context, instance).await {
                tracing::warn!(instance_uuid = uuid, error = %Chain(&error), "a shelved instance stays for now");
            }
        }
        Ok(())
    }
}

async fn take(agent: &Agent, context: &RequestContext, mut instance: Instance) -> Result<(), Error> {
    let acting = agent.acting(&instance).await?;
    instance.set_task(Some(TaskState::ShelvingOffloading));
    match agent.conductor.save(context, &mut instance, Expect::one_of(&[None])).await {
        // Somebody began something else.
        Err(error) if error.is_unexpected_task_state() => return Ok(()),
        other => other?,
    }
    tracing::info!(
        instance_uuid = instance.uuid(),
        "takes an instance from the host that was shelved long ago"
    );
    let taken = offload(agent, &acting, context, (&mut instance, false)).await;
    if taken.is_err() {
        instance.set_task(None);
        agent.conductor.save(context, &mut instance, Expect::ANY).await?;
    }
    taken
}
