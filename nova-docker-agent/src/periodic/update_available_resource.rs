//! The audit: what the machine has and what the instances take, into the record and into placement.

use std::time::Duration;

use common::messaging::RequestContext;

use super::Task;
use crate::agent::Agent;
use crate::config::Config;
use crate::error::Error;
use crate::virt;

pub(super) struct UpdateAvailableResource;

impl Task for UpdateAvailableResource {
    const NAME: &'static str = "update_available_resource";

    fn period(config: &Config) -> Option<Duration> {
        super::seconds(i64::try_from(config.update_resources_interval).unwrap_or(60))
    }

    async fn run(&mut self, agent: &Agent) -> Result<(), Error> {
        let facts = virt::facts(&agent.engine, &agent.config.host).await?;
        agent.tracker.audit(&RequestContext::admin(), facts).await?;
        agent.metrics.resources_published.set(jiff::Timestamp::now().as_second());
        Ok(())
    }
}
