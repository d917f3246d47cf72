//! Resizes that nobody has confirmed for a while are confirmed, as nova-api would do it.

use std::time::Duration;

use common::error_chain::Chain;
use common::messaging::RequestContext;
use common::objects::fields::VmState;

use super::Task;
use crate::agent::Agent;
use crate::config::Config;
use crate::error::Error;

pub(super) struct PollUnconfirmedResizes;

impl Task for PollUnconfirmedResizes {
    const NAME: &'static str = "poll_unconfirmed_resizes";

    fn period(config: &Config) -> Option<Duration> {
        super::while_timed(config.resize_confirm_window)
    }

    async fn run(&mut self, agent: &Agent) -> Result<(), Error> {
        let context = RequestContext::admin();
        let window = agent.config.resize_confirm_window;
        for mut migration in agent.conductor.unconfirmed(&context, window).await? {
            let Some(uuid) = migration.instance_uuid().and_then(|uuid| uuid.parse().ok()) else { continue };
            let attributes = ["metadata", "system_metadata"];
            let instance = match agent.conductor.instance(&context, uuid, &attributes).await {
                Ok(instance) => instance,
                // It goes with its instance.
                Err(error) if error.is_instance_not_found() => continue,
                Err(error) => return Err(error.into()),
            };
            if instance.state() != VmState::Resized || instance.task().is_some() {
                tracing::info!(instance_uuid = %uuid, vm_state = instance.vm_state(), "is not to be confirmed now");
                continue;
            }
            tracing::info!(instance_uuid = %uuid, "nobody has confirmed the resize; confirming it");
            agent.conductor.action_start(&context, uuid, "confirmResize").await?;
            migration.set_status("confirming");
            agent.conductor.save_object(&context, &mut migration).await?;
            if let Err(error) = agent.conductor.confirm_resize(&context, &instance, &migration).await {
                tracing::warn!(instance_uuid = %uuid, error = %Chain(&error), "the source was not told");
            }
        }
        Ok(())
    }
}
