//! Tells the schedulers which instances are on this host: what they heard one by one may have got lost.

use std::time::Duration;

use common::messaging::RequestContext;
use common::objects::Instance;

use super::Task;
use crate::agent::Agent;
use crate::config::Config;
use crate::error::Error;

pub(super) struct SyncSchedulerInstanceInfo;

impl Task for SyncSchedulerInstanceInfo {
    const NAME: &'static str = "sync_scheduler_instance_info";

    fn period(config: &Config) -> Option<Duration> {
        super::seconds(config.scheduler_instance_sync_interval)
    }

    async fn run(&mut self, agent: &Agent) -> Result<(), Error> {
        let context = RequestContext::admin();
        let instances = agent.conductor.instances_of_host(&context, &[]).await?;
        let uuids: Vec<_> = instances.iter().filter_map(Instance::instance_uuid).collect();
        Ok(agent.conductor.scheduler_sync(&context, &uuids).await?)
    }
}
