//! Builds that take longer than the operator allows: ERROR. As in Nova nothing else is done to them.

use std::time::Duration;

use common::messaging::RequestContext;
use common::objects::fields::VmState;
use serde_json::json;

use super::{Task, is_older};
use crate::agent::Agent;
use crate::conductor::Expect;
use crate::config::Config;
use crate::error::Error;

pub(super) struct CheckInstanceBuildTime;

impl Task for CheckInstanceBuildTime {
    const NAME: &'static str = "check_instance_build_time";

    fn period(config: &Config) -> Option<Duration> {
        super::while_timed(config.instance_build_timeout)
    }

    async fn run(&mut self, agent: &Agent) -> Result<(), Error> {
        let context = RequestContext::admin();
        let building = VmState::Building;
        let filters = json!({"vm_state": building.as_str(), "host": agent.config.host, "deleted": false});
        for mut instance in agent.conductor.instances_by_filters(&context, filters, &[]).await? {
            if !instance.created_at().is_some_and(|at| is_older(at, agent.config.instance_build_timeout)) {
                continue;
            }
            instance.set_state(VmState::Error);
            // One that became ACTIVE just now is none of these.
            match agent.conductor.save(&context, &mut instance, Expect::ANY.while_in(building)).await {
                Err(error) if error.is_unexpected_task_state() => continue,
                other => other?,
            }
            agent.tracker.refresh_state(&instance);
            tracing::warn!(instance_uuid = instance.uuid(), "its build takes too long; in ERROR now");
        }
        Ok(())
    }
}
