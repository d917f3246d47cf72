//! Takes a port from an instance, for who asks for it, and for an agent that was killed while it did.

use std::sync::Arc;

use common::error_chain::Chain;
use common::ids::{InstanceUuid, PortId};
use common::messaging::RequestContext;
use common::objects::Instance;
use common::retry;

use super::guards::{Guards, Subject, guarded};
use super::network::{cached, release_one};
use super::{follow, tags};
use crate::agent::Agent;
use crate::error::Error;
use crate::network;
use crate::network::model::{NetworkInfo, Vif};

/// How often a detach of the last run is tried again while Neutron or the conductor cannot be reached: for about six minutes,
/// for after a failure of its power this host may be up before they are.
const ATTEMPTS: usize = 20;

/// The event of a detach, whoever asks for it.
const EVENT: (&str, Guards) = ("compute_detach_interface", Guards::EF);

/// Takes a port from an instance: the NIC goes, a port that Nova made is deleted, one that the user made is free again. What is
/// under way is noted until it is done or has failed; a failure that `keeps` the note is finished at the next start.
///
/// # Errors
/// Nova's PortNotFound and InterfaceDetachFailed; what Neutron and the conductor say.
pub async fn detach(
    agent: &Agent,
    context: &RequestContext,
    (instance, port): (&Instance, &str),
    keeps: fn(&Error) -> bool,
) -> Result<(), Error> {
    let acting = agent.acting(instance).await?;
    let uuid = acting.uuid();
    let _alone = agent.caches.act(uuid).await;
    let mut rest = cached(agent, context, uuid).await?;
    let index = rest.iter().position(|vif| vif.id.to_string() == port);
    let index = index.ok_or_else(|| Error::Refused {
        class: "PortNotFound",
        code: 404,
        message: format!("Port {port} is not attached"),
    })?;
    let condemned = rest.remove(index);
    agent.attaching.begin_leaving(uuid, condemned.id)?;
    let detached = take(agent, context, (instance, uuid), (&rest, &condemned)).await;
    if !detached.as_ref().is_err_and(keeps) {
        agent.attaching.end_leaving(uuid);
    }
    detached
}

async fn take(
    agent: &Agent,
    context: &RequestContext,
    (instance, uuid): (&Instance, InstanceUuid),
    (rest, condemned): (&NetworkInfo, &Vif),
) -> Result<(), Error> {
    if let Err(error) = agent.nics.detach(uuid, condemned.id).await {
        return Err(Error::Refused {
            class: "InterfaceDetachFailed",
            code: 400,
            message: format!("Failed to detach network adapter device from {uuid}: {}", error.sentence()),
        });
    }
    follow::tell(agent, (uuid, instance.hostname().unwrap_or_default()), rest);
    if let Err(error) = tags::remove(agent, context, (instance, &condemned.address)).await {
        tracing::warn!(error = %Chain(&error), "the tag of a detached port stays");
    }
    match release_one(agent, context, uuid, (rest, condemned)).await {
        // What the user deleted meanwhile is gone, as wanted.
        Err(Error::Network(network::Error::PortNotFound(_))) => Ok(()),
        other => other,
    }
}

/// Detaches the port that the last run had begun to detach. Who cannot be reached yet is asked again, beside all else; what is
/// refused is told, as when the user asks for it.
///
/// # Errors
/// What was refused.
pub async fn resume(
    agent: &Arc<Agent>,
    context: &RequestContext,
    (instance, uuid, port): (&Instance, InstanceUuid, PortId),
) -> Result<(), Error> {
    tracing::warn!(instance_uuid = %uuid, %port, "detaches the port that the last run had begun to detach");
    let first = once(agent, context, (instance, uuid, port), may_pass).await;
    match first {
        Err(error) if may_pass(&error) => {
            tracing::warn!(instance_uuid = %uuid, %port, error = %Chain(&error), "tries again to detach it");
            let (agent, context, instance) = (Arc::clone(agent), context.clone(), instance.clone());
            agent.life.clone().spawn_service(async move {
                tokio::select! {
                    biased;
                    // The note is there for the next start.
                    () = agent.life.stopped() => {}
                    () = later(&agent, &context, (&instance, uuid, port)) => {}
                }
            });
            Ok(())
        }
        other => told(agent, context, uuid, std::future::ready(other)).await,
    }
}

async fn later(agent: &Agent, context: &RequestContext, what: (&Instance, InstanceUuid, PortId)) {
    let (_, uuid, port) = what;
    if let Err(error) = told(agent, context, uuid, keep_trying(agent, context, what)).await {
        tracing::error!(instance_uuid = %uuid, %port, error = %Chain(&error), "a port stays attached");
    }
}

/// Until it succeeds, or nothing can be hoped for.
async fn keep_trying(
    agent: &Agent,
    context: &RequestContext,
    what: (&Instance, InstanceUuid, PortId),
) -> Result<(), Error> {
    let mut delays = retry::connect().take(ATTEMPTS).peekable();
    while let Some(delay) = delays.next() {
        tokio::time::sleep(delay).await;
        let keeps: fn(&Error) -> bool = if delays.peek().is_some() { may_pass } else { |_| false };
        match once(agent, context, what, keeps).await {
            Err(error) if keeps(&error) => {}
            other => return other,
        }
    }
    Ok(())
}

/// Once more, unless the port has gone meanwhile.
async fn once(
    agent: &Agent,
    context: &RequestContext,
    (instance, uuid, port): (&Instance, InstanceUuid, PortId),
    keeps: fn(&Error) -> bool,
) -> Result<(), Error> {
    if agent.attaching.leaving(uuid) != Some(port) {
        return Ok(());
    }
    let named = cached(agent, context, uuid).await?;
    if named.iter().any(|vif| vif.id == port) {
        return detach(agent, context, (instance, &port.to_string()), keeps).await;
    }
    // Its row is the last that goes.
    agent.conductor.destroy_virtual_interface(context, port).await?;
    agent.attaching.end_leaving(uuid);
    Ok(())
}

/// The user sees how it ends.
async fn told(
    agent: &Agent,
    context: &RequestContext,
    uuid: InstanceUuid,
    work: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    guarded(agent, context, EVENT, Some(Subject::new(uuid)), work).await
}

/// Whether to ask again may help: somebody could not be reached.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Network(error) => error.is_unreachable(),
        Error::Conductor(error) => error.is_timeout(),
        _ => false,
    }
}
