//! The destination of a resize gives the instance back.

use common::objects::fields::VmState;
use common::objects::{Instance, Migration};
use serde::Deserialize;
use serde_json::Value;

use super::{Call, Method};
use crate::error::Error;
use crate::instance::guards::Guards;
use crate::instance::moves::{self, Failure};
use crate::instance::power;
use crate::instance::spec::stop_seconds;

/// The arguments.
#[derive(Deserialize)]
pub struct RevertResize {
    /// The instance; this host's.
    pub instance: Instance,
    /// The move.
    pub migration: Migration,
    /// The request spec.
    #[serde(default)]
    pub request_spec: Value,
}

impl Method for RevertResize {
    const NAME: &'static str = "revert_resize";
    const GUARDS: Guards = Guards::REF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(mut self, call: &Call) -> Result<(), Error> {
        let (agent, context) = (&call.agent, &call.context);
        let Err(failure) = self.give_back(call).await else { return Ok(()) };
        let error = moves::error_out(agent, context, (&self.instance, VmState::Active), failure).await;
        moves::fail(agent, context, &self.migration).await;
        Err(error)
    }
}

impl RevertResize {
    async fn give_back(&mut self, call: &Call) -> Result<(), Failure> {
        let (agent, context) = (&call.agent, &call.context);
        let acting = agent.acting(&self.instance).await?;
        if self.migration.stays() {
            let seconds = stop_seconds(&self.instance, true, agent.config.shutdown_timeout);
            power::turn_off(agent, &acting, seconds).await?;
        } else {
            moves::remove(agent, acting.uuid()).await?;
            agent.tracker.release(acting.uuid());
        }
        self.migration.set_status("reverted");
        agent.conductor.save_object(context, &mut self.migration).await?;
        let subject = (&self.instance, &self.migration);
        Ok(agent.conductor.finish_revert_resize(context, subject, self.request_spec.take()).await?)
    }
}
