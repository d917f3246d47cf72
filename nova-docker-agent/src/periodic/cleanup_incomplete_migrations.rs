//! What moves that have failed left here: the copy of an instance that was deleted on another host meanwhile, and disks
//! that came for nothing.

use std::time::Duration;

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::messaging::RequestContext;
use common::objects::{Instance, Migration};
use serde_json::json;

use super::{Task, seconds};
use crate::agent::Agent;
use crate::config::Config;
use crate::error::Error;
use crate::instance::{interrupted_moves, moves};

pub(super) struct CleanupIncompleteMigrations;

impl Task for CleanupIncompleteMigrations {
    const NAME: &'static str = "cleanup_incomplete_migrations";

    fn period(config: &Config) -> Option<Duration> {
        seconds(config.instance_delete_interval)
    }

    async fn run(&mut self, agent: &Agent) -> Result<(), Error> {
        let context = RequestContext::admin();
        interrupted_moves::tidy(agent, &context, false).await?;
        let filters = json!({"host": agent.config.host, "status": "error"});
        let failed = agent.conductor.migrations(&context, filters).await?;
        let uuids: Vec<&str> = failed.iter().filter_map(|migration| migration.instance_uuid()).collect();
        if uuids.is_empty() {
            return Ok(());
        }
        let filters = json!({"deleted": true, "soft_deleted": false, "uuid": uuids});
        let reading = context.reading_deleted();
        let deleted = agent.conductor.instances_by_filters(&reading, filters, &[]).await?;
        let deleted: Vec<InstanceUuid> = deleted.iter().filter_map(Instance::instance_uuid).collect();
        let mut result = Ok(());
        for migration in failed {
            let Some(uuid) = migration.instance_uuid().and_then(|uuid| uuid.parse().ok()) else { continue };
            if !deleted.contains(&uuid) {
                continue;
            }
            // What cannot be removed keeps nothing else here.
            if let Err(error) = clean_up(agent, uuid, migration).await {
                tracing::warn!(instance_uuid = %uuid, error = %Chain(&error), "something of a failed move stays");
                result = result.and(Err(error));
            }
        }
        result
    }
}

async fn clean_up(agent: &Agent, uuid: InstanceUuid, mut migration: Migration) -> Result<(), Error> {
    let _acting = agent.locks.act(uuid).await;
    moves::remove(agent, uuid).await?;
    migration.set_status("failed");
    Ok(agent.conductor.save_object(&RequestContext::admin(), &mut migration).await?)
}
