//! Rows of deleted instances whose leftovers on this host have not been confirmed to be gone.

use std::time::Duration;

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::messaging::RequestContext;
use common::objects::Instance;
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
        let mut result = Ok(());
        for instance in agent.conductor.instances_by_filters(&context, filters, &[]).await? {
            let Some(uuid) = instance.instance_uuid() else { continue };
            // What cannot be removed keeps nothing else here.
            if let Err(error) = clean_up(agent, &context, (uuid, instance)).await {
                tracing::warn!(instance_uuid = %uuid, error = %Chain(&error), "something of a deleted instance stays");
                result = result.and(Err(error));
            }
        }
        result
    }
}

/// Its ports went with its row; removing what is not there is fine.
async fn clean_up(
    agent: &Agent,
    context: &RequestContext,
    (uuid, mut instance): (InstanceUuid, Instance),
) -> Result<(), Error> {
    agent.driver.destroy(uuid).await?;
    agent.nics.remove(uuid, &agent.nics.plugged_of(uuid).await?).await?;
    instance.set_cleaned(true);
    Ok(agent.conductor.save(context, &mut instance, Expect::ANY).await?)
}
