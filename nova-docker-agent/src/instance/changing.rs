//! Instances whose ports change, noted from before Neutron is asked until database, host and guest have followed: an agent that
//! was killed in between asks Neutron again when it starts, and plugs what it then knows.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::messaging::RequestContext;
use common::objects::Instance;

use super::notes::Notes;
use super::{follow, network};
use crate::agent::Agent;
use crate::error::Error;

/// The notes of this host, in `<state_path>/changing/`, and how many changes are under way of each.
#[derive(Debug)]
pub struct Changing {
    notes: Notes<()>,
    under_way: Mutex<HashMap<InstanceUuid, usize>>,
}

impl Changing {
    /// The notes below `state_path`; those of the last run are there.
    pub fn new(state_path: &Path) -> Self {
        Self { notes: Notes::new(state_path, "changing"), under_way: Mutex::default() }
    }

    /// A change that cannot be noted is made all the same.
    fn begin(&self, uuid: InstanceUuid) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let count = under_way.entry(uuid).or_default();
        *count += 1;
        if *count == 1
            && let Err(error) = self.notes.write(uuid, &())
        {
            tracing::warn!(instance_uuid = %uuid, error = %Chain(&error), "a change of its ports is not noted");
        }
    }

    /// The last of several changes ends the note.
    fn end(&self, uuid: InstanceUuid) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let left = under_way.get(&uuid).map_or(0, |count| count - 1);
        if left == 0 {
            under_way.remove(&uuid);
            self.notes.end(uuid);
        } else {
            under_way.insert(uuid, left);
        }
    }
}

/// Does `work`, which changes ports of the instance, with a note of it.
///
/// # Errors
/// What the work says; it is not done again then.
pub async fn noted<T>(
    agent: &Agent,
    uuid: InstanceUuid,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    agent.changing.begin(uuid);
    let done = work.await;
    agent.changing.end(uuid);
    done
}

/// Has the instances whose ports the last run was changing follow Neutron. One instance's trouble is logged; the next start
/// tries again.
pub async fn settle(agent: &Arc<Agent>, context: &RequestContext, instances: &[Instance]) {
    for uuid in agent.changing.notes.all() {
        let Some(instance) = instances.iter().find(|instance| instance.instance_uuid() == Some(uuid)) else {
            agent.changing.notes.end(uuid);
            continue;
        };
        tracing::warn!(instance_uuid = %uuid, "its ports were being changed when the last run ended");
        // Not ended after a failure.
        agent.changing.begin(uuid);
        match catch_up(agent, context, (instance, uuid)).await {
            Ok(()) => agent.changing.end(uuid),
            Err(error) => {
                tracing::error!(instance_uuid = %uuid, error = %Chain(&error), "its ports are as they were");
            }
        }
    }
}

/// The database may have followed already; whether the host has, nobody knows.
async fn catch_up(
    agent: &Agent,
    context: &RequestContext,
    (instance, uuid): (&Instance, InstanceUuid),
) -> Result<(), Error> {
    network::refresh(agent, context, uuid, None).await?;
    let _acting = agent.acting(instance).await?;
    let now = network::cached(agent, context, uuid).await?;
    for port in agent.nics.plugged_of(uuid).await? {
        if now.iter().all(|vif| vif.id != port) {
            agent.nics.detach(uuid, port).await?;
        }
    }
    for (index, vif) in now.iter().enumerate() {
        agent.nics.attach(uuid, vif, &now[..index]).await?;
    }
    follow::tell(agent, (uuid, instance.hostname().unwrap_or_default()), &now);
    Ok(())
}
