//! Tokens of console sessions that nobody began in time.

use std::time::Duration;

use common::messaging::RequestContext;

use super::Task;
use crate::agent::Agent;
use crate::config::Config;
use crate::error::Error;

/// Nova: `instance_delete_interval`, which this task shares.
const PERIOD: Duration = Duration::from_secs(300);

pub(super) struct CleanupExpiredConsoleAuthTokens;

impl Task for CleanupExpiredConsoleAuthTokens {
    const NAME: &'static str = "cleanup_expired_console_auth_tokens";

    fn period(_config: &Config) -> Option<Duration> {
        Some(PERIOD)
    }

    async fn run(&mut self, agent: &Agent) -> Result<(), Error> {
        Ok(agent.conductor.clean_expired_console_tokens(&RequestContext::admin()).await?)
    }
}
