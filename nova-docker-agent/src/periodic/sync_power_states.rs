//! Compares all power states with the record: what the events did not tell is found here.

use std::time::Duration;

use common::error_chain::Chain;
use common::messaging::RequestContext;

use super::Task;
use crate::agent::Agent;
use crate::config::Config;
use crate::error::Error;
use crate::instance::decide::{PowerAction, power_sync};
use crate::instance::power;
use crate::virt::PowerState;

pub(super) struct SyncPowerStates;

impl Task for SyncPowerStates {
    const NAME: &'static str = "sync_power_states";
    const AT_ONCE: bool = true;

    fn period(config: &Config) -> Option<Duration> {
        super::seconds(config.sync_power_state_interval)
    }

    async fn run(&mut self, agent: &Agent) -> Result<(), Error> {
        compare(agent).await
    }
}

/// One question to Nova and one to Docker; only instances that differ cost more.
pub(super) async fn compare(agent: &Agent) -> Result<(), Error> {
    let context = RequestContext::admin();
    let instances = agent.conductor.instances_of_host(&context, &[]).await?;
    let powers: std::collections::HashMap<_, _> = agent.driver.instances().await?.into_iter().collect();
    for instance in instances {
        let Some(uuid) = instance.instance_uuid() else { continue };
        let power = powers.get(&uuid).copied().unwrap_or(PowerState::NoState);
        let decision = power_sync(&power::situation(agent, &instance, power));
        if !decision.save && matches!(decision.then, PowerAction::Leave) {
            continue;
        }
        if let Err(error) = power::sync(agent, uuid).await {
            tracing::warn!(instance_uuid = %uuid, error = %Chain(&error), "the power state could not be synchronised");
        }
    }
    Ok(())
}
