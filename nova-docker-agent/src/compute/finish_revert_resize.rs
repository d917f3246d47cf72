//! The source of a resize takes the instance back, as it was.

use common::objects::fields::{TaskState, VmState};
use common::objects::{Instance, Migration, timestamp};
use serde::Deserialize;

use super::{Call, Method, StopInstance, carry_out};
use crate::conductor::Expect;
use crate::error::Error;
use crate::instance::guards::Guards;
use crate::instance::moves::{self, Failure};

/// The arguments.
#[derive(Deserialize)]
pub struct FinishRevertResize {
    /// The instance; still the destination's.
    pub instance: Instance,
    /// The move.
    pub migration: Migration,
}

impl Method for FinishRevertResize {
    const NAME: &'static str = "finish_revert_resize";
    const GUARDS: Guards = Guards::REF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(mut self, call: &Call) -> Result<(), Error> {
        let (agent, context) = (&call.agent, &call.context);
        let taken = match self.take_back(call).await {
            Ok(()) => Ok(()),
            Err(failure) => {
                let error =
                    moves::error_out(agent, context, (&self.instance, VmState::Active), failure).await;
                moves::fail(agent, context, &self.migration).await;
                Err(error)
            }
        };
        moves::forget_stash(agent, context, &mut self.instance).await;
        taken
    }
}

impl FinishRevertResize {
    async fn take_back(&mut self, call: &Call) -> Result<(), Failure> {
        let (agent, context) = (&call.agent, &call.context);
        let acting = agent.acting(&self.instance).await?;
        let ran = moves::was(&self.instance) != VmState::Stopped;
        let instance = &mut self.instance;
        if let Some(old) = instance.old_flavor() {
            instance.adopt_flavor(&old);
        }
        instance.set_host(self.migration.source_compute());
        instance.set_node(self.migration.source_node());
        instance.set_compute_id(agent.tracker.node_id());
        let expect = Expect::one_of(&[Some(TaskState::ResizeReverting)]);
        agent.conductor.save(context, instance, expect).await?;
        moves::revert_allocation(agent, &self.migration).await?;
        let network_info = moves::bind(agent, context, instance).await?;
        if self.migration.stays() {
            moves::set_limits(agent, instance).await?;
        }
        if ran {
            moves::start_again(agent, &acting, context, (&*instance, &network_info)).await?;
        }
        let power = agent.driver.power_state(acting.uuid()).await?;
        instance.set_migration_context(serde_json::Value::Null);
        instance.set_launched_at(timestamp().as_str());
        agent.conductor.save(context, instance, expect).await?;
        agent.tracker.note(instance, power);
        if ran {
            instance.set_state(VmState::Active);
            instance.set_task(None);
            agent.conductor.save(context, instance, Expect::ANY).await?;
            agent.tracker.refresh_state(instance);
            return Ok(());
        }
        instance.set_task(Some(TaskState::PoweringOff));
        agent.conductor.save(context, instance, Expect::ANY).await?;
        // It takes the lock itself.
        drop(acting);
        let instance = self.instance.clone();
        Ok(Box::pin(carry_out(call, StopInstance { instance, clean_shutdown: true })).await?)
    }
}
