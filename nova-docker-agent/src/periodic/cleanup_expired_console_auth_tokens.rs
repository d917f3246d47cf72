//! Tokens of console sessions that nobody began in time.

use std::time::Duration;

use common::messaging::RequestContext;

use super::{Task, seconds};
use crate::agent::Agent;
use crate::config::Config;
use crate::error::Error;

pub(super) struct CleanupExpiredConsoleAuthTokens;

impl Task for CleanupExpiredConsoleAuthTokens {
    const NAME: &'static str = "cleanup_expired_console_auth_tokens";

    fn period(config: &Config) -> Option<Duration> {
        seconds(config.instance_delete_interval)
    }

    async fn run(&mut self, agent: &Agent) -> Result<(), Error> {
        Ok(agent.conductor.clean_expired_console_tokens(&RequestContext::admin()).await?)
    }
}
