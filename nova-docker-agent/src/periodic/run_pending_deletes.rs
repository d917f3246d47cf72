//! Rows of deleted instances whose leftovers on this host have not been confirmed to be gone.

use std::time::Duration;

use common::messaging::RequestContext;
use serde_json::json;

use super::{Task, seconds};
use crate::agent::Agent;
use crate::conductor::Expect;
use crate::config::Config;
use crate::error::Error;

pub(super) struct RunPendingDeletes;

impl Task for RunPendingDeletes {
    const NAME: &'static str = "run_pending_deletes";

    fn period(config: &Config) -> Option<Duration> {
        seconds(config.instance_delete_interval)
    }

    async fn run(&mut self, agent: &Agent) -> Result<(), Error> {
        let context = RequestContext::admin().reading_deleted();
        let filters = json!({
            "deleted": true, "soft_deleted": false, "host": agent.config.host, "cleaned": false,
        });
        for mut instance in agent.conductor.instances_by_filters(&context, filters, &[]).await? {
            let Some(uuid) = instance.instance_uuid() else { continue };
            // Its ports went with its row; removing what is not there is fine.
            agent.driver.destroy(uuid).await?;
            agent.nics.remove(uuid, &agent.nics.plugged_of(uuid).await?).await?;
            instance.set_cleaned(true);
            agent.conductor.save(&context, &mut instance, Expect::ANY).await?;
        }
        Ok(())
    }
}
