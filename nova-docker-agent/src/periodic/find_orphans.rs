//! Containers, sandboxes, NICs and files of instances that Nova knows nothing of, not even as deleted: somebody lost or
//! purged the database's row. Reported, or removed if the operator says so.
//!
//! Each instance has its row before it is built here, so what is being built is no orphan; and rows of deleted instances
//! are looked after by `cleanup_running_deleted_instances`.

use std::collections::BTreeSet;
use std::time::Duration;

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::messaging::RequestContext;
use common::objects::Instance;
use serde_json::json;

use super::Task;
use crate::agent::Agent;
use crate::config::{Config, Orphans};
use crate::error::Error;

/// As often as Nova looks for deleted instances that run.
const PERIOD: Duration = Duration::from_secs(1800);

#[derive(Default)]
pub(super) struct FindOrphans {
    /// Those that were told of.
    reported: BTreeSet<InstanceUuid>,
}

impl Task for FindOrphans {
    const NAME: &'static str = "find_orphans";
    const AT_ONCE: bool = true;

    fn period(_config: &Config) -> Option<Duration> {
        Some(PERIOD)
    }

    async fn run(&mut self, agent: &Agent) -> Result<(), Error> {
        let orphans = orphans(agent).await?;
        for uuid in &orphans {
            match agent.config.docker.orphans {
                Orphans::Report if self.reported.contains(uuid) => {}
                Orphans::Report => tracing::warn!(
                    instance_uuid = %uuid,
                    "there are a container, NICs or files of an instance that Nova does not know; \
                     [docker] orphans = remove takes such away"
                ),
                Orphans::Remove => remove(agent, *uuid).await,
            }
        }
        self.reported = orphans;
        Ok(())
    }
}

/// Instances of which something is here, and which have no row.
async fn orphans(agent: &Agent) -> Result<BTreeSet<InstanceUuid>, Error> {
    let present = present(agent).await?;
    if present.is_empty() {
        return Ok(present);
    }
    let context = RequestContext::admin().reading_deleted();
    let rows = agent.conductor.instances_by_filters(&context, json!({"uuid": present}), &[]).await?;
    let known: BTreeSet<InstanceUuid> = rows.iter().filter_map(Instance::instance_uuid).collect();
    Ok(present.into_iter().filter(|uuid| !known.contains(uuid) && !agent.locks.busy(*uuid)).collect())
}

async fn present(agent: &Agent) -> Result<BTreeSet<InstanceUuid>, Error> {
    let mut present: BTreeSet<InstanceUuid> =
        agent.driver.instances().await?.into_iter().map(|(uuid, _)| uuid).collect();
    present.extend(agent.nics.sandboxed().await?);
    present.extend(agent.driver.with_files());
    match agent.nics.plugged().await {
        Ok(plugged) => present.extend(plugged.iter().map(|nic| nic.instance)),
        Err(error) => tracing::debug!(error = %Chain(&error), "no switch tells what is plugged"),
    }
    Ok(present)
}

async fn remove(agent: &Agent, uuid: InstanceUuid) {
    let _acting = agent.locks.act(uuid).await;
    let removed = async {
        agent.driver.destroy(uuid).await?;
        agent.nics.remove(uuid, &agent.nics.plugged_of(uuid).await.unwrap_or_default()).await
    };
    match removed.await {
        Ok(()) => {
            tracing::warn!(instance_uuid = %uuid, "removed what was left of an instance that Nova does not know")
        }
        Err(error) => {
            tracing::error!(instance_uuid = %uuid, error = %Chain(&error), "what is left of an unknown instance stays");
        }
    }
}
