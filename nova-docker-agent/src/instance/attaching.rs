//! Ports that an instance is getting or losing, noted in a file of its own: those that it gets before Neutron binds the first
//! and until Nova's database names them, the one that it loses from before it is unplugged until it is released. An agent that
//! was killed in between knows by it which of the instance's ports are the user's, that one may have been made, and which one
//! has to go.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use common::error_chain::Chain;
use common::ids::{InstanceUuid, PortId};
use common::messaging::RequestContext;
use common::objects::Instance;
use common::objects::fields::VmState;
use common::openstack::neutron::Port;
use serde::{Deserialize, Serialize};

use super::notes::Notes;
use super::{detaching, follow, network};
use crate::agent::Agent;
use crate::error::Error;
use crate::network::model::{NetworkInfo, Vif};
use crate::network::request::Wanted;
use crate::virt;

/// What one instance is getting, and what it is losing.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    /// Ports that the user made.
    given: BTreeSet<String>,
    /// The user's name for the one that is attached.
    tag: Option<String>,
    /// The port that is detached.
    #[serde(default)]
    leaving: Option<PortId>,
}

/// The notes of this host, in `<state_path>/attaching/`.
#[derive(Debug)]
pub struct Attaching(Notes<Note>);

impl Attaching {
    /// The notes below `state_path`; those of the last run are there.
    pub fn new(state_path: &Path) -> Self {
        Self(Notes::new(state_path, "attaching"))
    }

    /// Notes what an instance is about to get, beside what is noted of it already: ports that the user made, and the tag of a port
    /// that is attached.
    ///
    /// # Errors
    /// [`virt::Error::GuestFiles`] when `state_path` cannot be written to.
    pub fn begin<'a>(
        &self,
        uuid: InstanceUuid,
        given: impl Iterator<Item = &'a str>,
        tag: Option<&str>,
    ) -> Result<(), virt::Error> {
        let mut note = self.read(uuid);
        note.given.extend(given.map(str::to_owned));
        note.tag = tag.map(str::to_owned);
        self.0.write(uuid, &note)
    }

    /// Notes which port an instance is about to lose.
    ///
    /// # Errors
    /// As [`Attaching::begin`].
    pub fn begin_leaving(&self, uuid: InstanceUuid, port: PortId) -> Result<(), virt::Error> {
        self.0.write(uuid, &Note { leaving: Some(port), ..self.read(uuid) })
    }

    /// The port is gone, or stays: nobody has to finish it.
    pub fn end_leaving(&self, uuid: InstanceUuid) {
        self.keep(uuid, Note { leaving: None, ..self.read(uuid) });
    }

    /// The database names the ports that it got, or they are released.
    pub fn end_getting(&self, uuid: InstanceUuid) {
        self.keep(uuid, Note { leaving: self.read(uuid).leaving, ..Note::default() });
    }

    fn keep(&self, uuid: InstanceUuid, note: Note) {
        if note == Note::default() {
            return self.end(uuid);
        }
        if let Err(error) = self.0.write(uuid, &note) {
            tracing::warn!(instance_uuid = %uuid, error = %Chain(&error), "a note of the ports of an instance is old");
        }
    }

    /// All of its ports are released.
    pub fn end(&self, uuid: InstanceUuid) {
        self.0.end(uuid);
    }

    /// Those of the instance's ports that the user made, of what is noted.
    pub fn given(&self, uuid: InstanceUuid) -> BTreeSet<String> {
        self.read(uuid).given
    }

    /// The port that the instance is losing.
    pub fn leaving(&self, uuid: InstanceUuid) -> Option<PortId> {
        self.read(uuid).leaving
    }

    fn read(&self, uuid: InstanceUuid) -> Note {
        self.0.read(uuid).unwrap_or_default()
    }
}

/// Finishes what the last run had begun to attach to these instances, or to detach. One instance's trouble is logged. An attach
/// is tried again at the next start, and meanwhile the user's ports are known as such.
pub async fn settle(agent: &Arc<Agent>, context: &RequestContext, instances: &[Instance]) {
    for uuid in agent.attaching.0.all() {
        let Some(instance) = instances.iter().find(|instance| instance.instance_uuid() == Some(uuid)) else {
            agent.attaching.end(uuid);
            continue;
        };
        // A build that was interrupted fails; its ports are released with it.
        if matches!(instance.state(), VmState::Building | VmState::Error) {
            continue;
        }
        let settled = match agent.attaching.leaving(uuid) {
            Some(port) => detaching::resume(agent, context, (instance, uuid, port)).await,
            None => Ok(()),
        };
        let attached = finish(agent, context, (instance, uuid)).await;
        if let Err(error) = settled.and(attached) {
            tracing::error!(instance_uuid = %uuid, error = %Chain(&error), "a port may be attached by half");
        }
    }
}

/// Attaches what Neutron has bound to the instance and Nova's database does not name.
async fn finish(
    agent: &Agent,
    context: &RequestContext,
    (instance, uuid): (&Instance, InstanceUuid),
) -> Result<(), Error> {
    let note = agent.attaching.read(uuid);
    let _acting = agent.acting(instance).await?;
    let _alone = agent.caches.act(uuid).await;
    let before = network::cached(agent, context, uuid).await?;
    let mut fresh = unnamed(agent, uuid, &before).await?;
    if fresh.is_empty() {
        agent.attaching.end_getting(uuid);
        return Ok(());
    }
    agent.ports.bind_here(&network::owner(context, instance, uuid), &mut fresh).await?;
    let new = agent.ports.describe(&fresh.iter().collect::<Vec<_>>(), &note.given).await?;
    for vif in &new {
        tracing::warn!(instance_uuid = %uuid, port = %vif.id, "attaches the port that the last run had begun to attach");
        // It may have got as far as its row.
        agent.conductor.destroy_virtual_interface(context, vif.id).await?;
    }
    let wanted = [Wanted { tag: note.tag, ..Wanted::default() }];
    join(agent, context, instance, (&before, &new, &wanted)).await
}

/// The ports of an instance that Nova's database does not name.
async fn unnamed(agent: &Agent, uuid: InstanceUuid, named: &NetworkInfo) -> Result<Vec<Port>, Error> {
    let mut ports = agent.ports.of_instance(uuid).await?;
    ports.retain(|port| named.iter().all(|vif| vif.id.to_string() != port.id));
    Ok(ports)
}

/// Ends the note of what was refused, if Neutron has kept nothing of it.
pub async fn refused(agent: &Agent, uuid: InstanceUuid, named: &NetworkInfo) {
    if unnamed(agent, uuid, named).await.is_ok_and(|left| left.is_empty()) {
        agent.attaching.end_getting(uuid);
    }
}

/// Gives an instance ports that Neutron has bound for it: in Nova's database, on the host, in the guest. What cannot be done is
/// taken back. The caller holds the cache's lock, under which `before` was read.
///
/// # Errors
/// What conductor, kernel or switch say.
pub async fn join(
    agent: &Agent,
    context: &RequestContext,
    instance: &Instance,
    (before, new, wanted): (&NetworkInfo, &[Vif], &[Wanted]),
) -> Result<(), Error> {
    let Some(uuid) = instance.instance_uuid() else { return Ok(()) };
    let mut earlier = before.clone();
    let joined = async {
        network::record(agent, context, uuid, (before, new, wanted)).await?;
        for vif in new {
            agent.nics.attach(uuid, vif, &earlier).await?;
            earlier.push(vif.clone());
        }
        Ok(())
    };
    if let Err(error) = joined.await {
        take_back(agent, context, uuid, (before, new)).await;
        return Err(error);
    }
    follow::tell(agent, (uuid, instance.hostname().unwrap_or_default()), &earlier);
    Ok(())
}

/// The ports are as they were before, as far as that can be had.
async fn take_back(
    agent: &Agent,
    context: &RequestContext,
    uuid: InstanceUuid,
    (before, new): (&NetworkInfo, &[Vif]),
) {
    for vif in new {
        let unplugged = agent.nics.detach(uuid, vif.id).await;
        let released = network::release_one(agent, context, uuid, (before, vif)).await;
        for error in [unplugged.err(), released.err()].into_iter().flatten() {
            tracing::error!(error = %Chain(&error), port = %vif.id, "of a port that could not be attached something is left");
        }
    }
}
