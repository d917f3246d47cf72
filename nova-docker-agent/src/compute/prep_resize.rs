//! The destination of a resize or a cold migration claims itself, and asks the source to give the instance away.

use common::error_chain::Chain;
use common::objects::fields::{TaskState, VmState};
use common::objects::{Flavor, Instance, Migration, Versioned};
use serde::Deserialize;
use serde_json::Value;

use super::{Call, Method};
use crate::conductor::{Expect, Handed};
use crate::error::Error;
use crate::instance::guards::{Guards, fault};
use crate::instance::moves::{self, Failure, OLD_VM_STATE};
use crate::instance::{group, outcome, refusing};

/// The arguments.
#[derive(Deserialize)]
pub struct PrepResize {
    /// The instance; still the source's.
    pub instance: Instance,
    /// The flavor it gets; its own in a migration.
    pub flavor: Flavor,
    /// The move.
    pub migration: Migration,
    /// The image dictionary.
    #[serde(default)]
    pub image: Value,
    /// The request spec.
    #[serde(default)]
    pub request_spec: Value,
    /// What the scheduler was told, with what was tried before.
    #[serde(default)]
    pub filter_properties: Value,
    /// Give the guest time to end by itself.
    #[serde(default)]
    pub clean_shutdown: bool,
    /// The hosts that are left to try.
    #[serde(default)]
    pub host_list: Value,
}

impl Method for PrepResize {
    const NAME: &'static str = "prep_resize";
    const GUARDS: Guards = Guards::REF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(mut self, call: &Call) -> Result<(), Error> {
        let before = self.instance.state();
        let Err(failure) = self.prepare(call).await else { return Ok(()) };
        let agent = &call.agent;
        // By the note an agent that was killed on the way finds what is left to do of another host's instance.
        let others =
            self.instance.instance_uuid().filter(|_| self.instance.host() != Some(&agent.config.host));
        if let Some(uuid) = others {
            refusing::begin(agent, uuid, &self.migration, failure.error());
        }
        let refused = self.give_back(call, (before, failure)).await;
        if let Some(uuid) = others {
            agent.refusing.end(uuid);
        }
        refused
    }
}

impl PrepResize {
    async fn give_back(&mut self, call: &Call, (before, failure): (VmState, Failure)) -> Result<(), Error> {
        let (agent, context) = (&call.agent, &call.context);
        moves::try_revert_allocation(agent, &self.migration).await;
        let failure = match self.reschedule(call, failure).await {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        // The task goes last: by it an agent that was killed on the way here finds what is left to do of an instance of its own.
        moves::fail(agent, context, &self.migration).await;
        Err(moves::error_out(agent, context, (&self.instance, before), failure).await)
    }

    async fn prepare(&mut self, call: &Call) -> Result<(), Failure> {
        let (agent, context) = (&call.agent, &call.context);
        let host = agent.config.host.as_str();
        // Held until the claim is made.
        let _alone = group::alone(agent, &self.request_spec).await;
        let wanted = group::validate(agent, context, (&self.instance, &self.request_spec)).await;
        wanted.map_err(Failure::Rollback)?;
        if self.instance.host() == Some(host) && self.flavor.id() == self.instance.instance_type_id() {
            return Err(Failure::Rollback(Error::Refused {
                class: "UnableToMigrateToSelf",
                code: 400,
                message: format!(
                    "Unable to migrate instance ({}) to current host ({host}).",
                    self.instance.uuid().unwrap_or_default()
                ),
            }));
        }
        if self.instance.host() == Some(host) {
            let possible = moves::stays_possible(agent, &self.instance, &self.flavor).await;
            possible.map_err(Failure::Rollback)?;
        }
        let (current, old) = (self.instance.flavor(), self.instance.old_flavor());
        self.instance.set_flavors(current.as_ref(), old.as_ref(), Some(&self.flavor));
        let mut metadata = self.instance.system_metadata();
        metadata.insert(OLD_VM_STATE.into(), self.instance.state().as_str().into());
        self.instance.set_system_metadata(metadata);
        agent.conductor.save(context, &mut self.instance, Expect::ANY).await?;
        moves::claim(agent, context, &mut self.instance, &mut self.migration).await?;
        let handed = Handed { image: self.image.clone(), request_spec: self.request_spec.clone() };
        let flavor = self.flavor.object().primitive();
        let how = (&flavor, self.clean_shutdown, handed);
        agent.conductor.resize_instance(context, (&self.instance, &self.migration), how).await?;
        Ok(())
    }

    /// Another host, if one may be tried (Nova: `_reschedule_resize_or_reraise`).
    async fn reschedule(&mut self, call: &Call, failure: Failure) -> Result<(), Failure> {
        let (agent, context) = (&call.agent, &call.context);
        let reason = failure.error().sentence();
        let Some(filter_properties) = outcome::with_failure(&self.filter_properties, &reason) else {
            return Err(failure);
        };
        let Some(uuid) = self.instance.instance_uuid() else { return Err(failure) };
        let mut instance = self.instance.clone();
        instance.object_mut().clear_changes();
        instance.set_task(Some(TaskState::ResizePrep));
        let given_back = async {
            agent.conductor.save(context, &mut instance, Expect::ANY).await?;
            let flavor = self.flavor.object().primitive();
            let how = (filter_properties, &flavor, self.clean_shutdown);
            let rest = (self.request_spec.clone(), self.host_list.clone());
            agent.conductor.migrate_server(context, &instance, how, rest).await
        };
        match given_back.await {
            Ok(()) => {
                tracing::warn!(error = %Chain(failure.error()), "the resize is tried on another host");
                fault(agent, context, uuid, failure.error()).await;
                Ok(())
            }
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "the resize cannot be tried on another host");
                fault(agent, context, uuid, &error.into()).await;
                Err(failure)
            }
        }
    }
}
