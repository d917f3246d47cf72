//! Makes an instance that was on no host again, here, from the image that it was kept in.

use common::error_chain::Chain;
use common::objects::fields::{TaskState, VmState};
use common::objects::{Instance, Versioned, timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::{Call, Method};
use crate::conductor::Expect;
use crate::error::Error;
use crate::instance::guards::Guards;
use crate::instance::locks::Acting;
use crate::instance::shelve::{self, leave_host};
use crate::instance::spec::{image_of_build, image_of_instance, instance_spec};
use crate::instance::{network, spawn};
use crate::virt::{InstanceSpec, PowerState};

/// The arguments.
#[derive(Deserialize)]
pub struct UnshelveInstance {
    instance: Instance,
    /// The image that it was kept in; none when it needs none.
    #[serde(default)]
    image: Value,
    #[serde(default)]
    node: Option<String>,
}

impl Method for UnshelveInstance {
    const NAME: &'static str = "unshelve_instance";
    const GUARDS: Guards = Guards::REF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(mut self, call: &Call) -> Result<(), Error> {
        let agent = &call.agent;
        let acting = agent.acting(&self.instance).await?;
        if let Err(error) = self.unshelve(call, &acting).await {
            if let Err(error) = undo(call, &acting, &mut self.instance).await {
                tracing::error!(error = %Chain(&error), "what an unshelving has made could not be taken away");
            }
            return Err(error);
        }
        agent.tracker.note(&self.instance, PowerState::Running);
        self.forget(call).await;
        if let Err(error) = agent.conductor.scheduler_has(&call.context, &[&self.instance]).await {
            tracing::debug!(%error, "the schedulers were not told");
        }
        Ok(())
    }
}

impl UnshelveInstance {
    /// Nova saves the claim apart from the task, and the image for as long as it is spawned; nobody looks at either.
    async fn unshelve(&mut self, call: &Call, acting: &Acting) -> Result<(), Error> {
        let (agent, context) = (&call.agent, &call.context);
        agent.tracker.test(&self.instance)?;
        let (host, node) = (agent.config.host.as_str(), agent.tracker.node_name());
        self.instance.set_host(host);
        self.instance.set_launched_on(host);
        self.instance.set_node(self.node.as_deref().unwrap_or(&node));
        self.instance.set_compute_id(agent.tracker.node_id());
        self.instance.set_task(Some(TaskState::Spawning));
        agent.conductor.save(context, &mut self.instance, Expect::ANY).await?;
        let (request, properties) = match self.image.is_null() {
            true => image_of_instance(&self.instance),
            false => image_of_build(&self.image, &self.instance),
        };
        // The user's key is in the file system already, or was taken out of it.
        let spec = InstanceSpec {
            ssh_key: None,
            image_id: request.id.clone(),
            ..instance_spec(&self.instance, properties)?
        };
        spawn::spawn_bound(agent, acting, context, (&self.instance, spec, &request)).await?;
        self.instance.set_state(VmState::Active);
        self.instance.set_task(None);
        self.instance.set_power_state(PowerState::Running as i64);
        self.instance.set_launched_at(timestamp().as_str());
        let expect = Expect::one_of(&[Some(TaskState::Spawning)]);
        Ok(agent.conductor.save(context, &mut self.instance, expect).await?)
    }

    /// The image goes last: until here it was all that there is of the instance's file system.
    async fn forget(&mut self, call: &Call) {
        shelve::forget(&call.agent, &call.context, &mut self.instance).await;
        if let Err(error) = call.agent.conductor.save(&call.context, &mut self.instance, Expect::ANY).await {
            tracing::warn!(error = %Chain(&error), "that the instance was shelved is forgotten at the next start");
        }
    }
}

/// The instance is on no host, as before; it may be unshelved again.
///
/// # Errors
/// The first step that fails; the others were taken all the same.
pub(crate) async fn undo(call: &Call, acting: &Acting, instance: &mut Instance) -> Result<(), Error> {
    let (agent, context, uuid) = (&call.agent, &call.context, acting.uuid());
    let destroyed = agent.driver.destroy(uuid).await;
    let unbound = network::unbind(agent, uuid).await;
    let freed = agent.provider.delete_allocations(&uuid.to_string()).await;
    instance.object_mut().clear_changes();
    let left = match leave_host(agent, context, instance).await {
        Err(error) if error.is_instance_not_found() => Ok(()),
        other => other,
    };
    destroyed?;
    unbound?;
    freed?;
    left
}
