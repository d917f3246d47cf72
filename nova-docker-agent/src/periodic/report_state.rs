//! The heartbeat: `Service.report_count` goes up and the service counts as up (Nova: servicegroup, driver db).

use std::time::Duration;

use common::objects::{Service, Versioned};

use super::Task;
use crate::agent::Agent;
use crate::config::Config;
use crate::error::Error;

pub(super) struct ReportState {
    service: Service,
}

impl ReportState {
    pub(super) fn new(service: Service) -> Self {
        Self { service }
    }
}

impl Task for ReportState {
    const NAME: &'static str = "report_state";
    const AT_ONCE: bool = true;

    fn period(config: &Config) -> Option<Duration> {
        Some(Duration::from_secs(config.report_interval.max(1)))
    }

    async fn run(&mut self, agent: &Agent) -> Result<(), Error> {
        let count = self.service.report_count().unwrap_or_default() + 1;
        self.service.set_report_count(count);
        // A call that is lost with a broker must not cost the minute that a call may take.
        let patience = Duration::from_secs(agent.config.report_interval.max(5));
        if let Err(error) = agent.conductor.report(&mut self.service, patience).await {
            self.service.object_mut().clear_changes();
            return Err(error.into());
        }
        agent.health.heartbeat();
        Ok(())
    }
}
