//! The destination of a resize or a cold migration makes the container and starts it.

use common::objects::fields::{TaskState, VmState};
use common::objects::{Flavor, Instance, Migration, timestamp};
use serde::Deserialize;

use super::{Call, Method};
use crate::conductor::Expect;
use crate::error::Error;
use crate::image::ImageHandle;
use crate::instance::guards::Guards;
use crate::instance::locks::Acting;
use crate::instance::moves::{self, Failure};
use crate::instance::spawn;
use crate::network::model::NetworkInfo;

/// The arguments.
#[derive(Deserialize)]
pub struct FinishResize {
    /// The instance; this host's.
    pub instance: Instance,
    /// The move.
    pub migration: Migration,
}

impl Method for FinishResize {
    const NAME: &'static str = "finish_resize";
    const GUARDS: Guards = Guards::REF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(mut self, call: &Call) -> Result<(), Error> {
        let (agent, context) = (&call.agent, &call.context);
        let before = self.instance.flavor();
        let Err(failure) = self.finish(call).await else { return Ok(()) };
        if failure.error().is_unexpected_task_state() && !failure.error().is_being_deleted() {
            // A source that was killed asks again; what has been finished stays so.
            return Err(failure.into_error());
        }
        if let Some(flavor) = before.filter(|_| self.migration.resizes()) {
            self.put_flavor_back(call, &flavor).await;
        }
        let error = moves::error_out(agent, context, (&self.instance, VmState::Active), failure).await;
        moves::fail(agent, context, &self.migration).await;
        // The instance is this host's, where a hard reboot may help: the source's share of it is free.
        if let Err(error) = moves::delete_allocation(agent, &self.migration).await {
            tracing::error!(%error, "the allocation of a failed resize could not be deleted");
        }
        Err(error)
    }
}

impl FinishResize {
    async fn finish(&mut self, call: &Call) -> Result<(), Failure> {
        let (agent, context) = (&call.agent, &call.context);
        let acting = agent.acting(&self.instance).await?;
        let instance = &mut self.instance;
        if let (Some(new), true) = (instance.new_flavor(), self.migration.resizes()) {
            instance.adopt_flavor(&new);
        }
        let network_info = moves::bind(agent, context, instance).await?;
        instance.set_task(Some(TaskState::ResizeFinish));
        // The second is what an agent finds that was killed here.
        let expect = Expect::one_of(&[Some(TaskState::ResizeMigrated), Some(TaskState::ResizeFinish)]);
        agent.conductor.save(context, instance, expect).await?;

        let power_on = moves::was(&self.instance) != VmState::Stopped;
        self.start(call, &acting, (&network_info, power_on)).await?;

        self.migration.set_status("finished");
        agent.conductor.save_object(context, &mut self.migration).await?;
        let power = agent.driver.power_state(acting.uuid()).await?;
        let instance = &mut self.instance;
        instance.set_state(VmState::Resized);
        instance.set_task(None);
        instance.set_launched_at(timestamp().as_str());
        let expect = Expect::one_of(&[Some(TaskState::ResizeFinish)]);
        agent.conductor.save(context, instance, expect).await?;
        agent.tracker.note(instance, power);
        if let Err(error) = agent.conductor.scheduler_has(context, &[&*instance]).await {
            tracing::debug!(%error, "the schedulers were not told");
        }
        Ok(())
    }

    async fn start(
        &self,
        call: &Call,
        acting: &Acting,
        (network_info, power_on): (&NetworkInfo, bool),
    ) -> Result<(), Error> {
        let (agent, context) = (&call.agent, &call.context);
        if self.migration.stays() {
            moves::set_limits(agent, &self.instance).await?;
            return if power_on { spawn::start(agent, acting, context, true).await } else { Ok(()) };
        }
        let disk = agent.driver.moved(acting.uuid()).await?;
        let lost = || Error::Refused {
            class: "MigrationError",
            code: 500,
            message: "Migration error: the disk that came from the source is not here any more.".into(),
        };
        let disk: ImageHandle = disk.ok_or_else(lost)?;
        moves::land(agent, acting, (&self.instance, &disk), (network_info, power_on)).await
    }

    /// Nova lets `reverts_task_state` save it.
    async fn put_flavor_back(&mut self, call: &Call, flavor: &Flavor) {
        self.instance.adopt_flavor(flavor);
        if let Err(error) = call.agent.conductor.save(&call.context, &mut self.instance, Expect::ANY).await {
            tracing::warn!(%error, "the instance keeps the flavor of a failed resize");
        }
    }
}
