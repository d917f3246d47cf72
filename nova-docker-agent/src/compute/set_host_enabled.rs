//! The service was enabled or disabled: the scheduler learns it from a trait (COMPUTE_STATUS_DISABLED).

use common::error_chain::Chain;
use serde::Deserialize;

use super::{Call, Method};
use crate::error::Error;
use crate::instance::guards::Guards;

/// The arguments.
#[derive(Deserialize)]
pub struct SetHostEnabled {
    /// May instances be put here?
    pub enabled: bool,
}

impl Method for SetHostEnabled {
    const NAME: &'static str = "set_host_enabled";
    const GUARDS: Guards = Guards::NONE;
    type Reply = &'static str;

    async fn run(self, call: &Call) -> Result<&'static str, Error> {
        let agent = &call.agent;
        let node = agent.tracker.node_uuid();
        // The audit sets the trait, too, so a failure here is no failure of the user's request.
        if let Err(error) = agent.provider.set_disabled(&node, !self.enabled).await {
            tracing::warn!(error = %Chain(&error), "the trait COMPUTE_STATUS_DISABLED is set at the next audit");
        }
        agent.tracker.set_disabled(!self.enabled);
        Ok(if self.enabled { "enabled" } else { "disabled" })
    }
}
