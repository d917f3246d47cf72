//! Restarts the container: softly (stop signal, then start) or hard (kill, plug the NICs again, start; made anew when it
//! is missing).

use common::objects::Instance;
use common::objects::fields::{TaskState, VmState};
use serde::Deserialize;

use super::{Call, Method};
use crate::conductor::Expect;
use crate::error::Error;
use crate::instance::guards::{Guards, fault};
use crate::instance::locks::Acting;
use crate::instance::spec::stop_seconds;
use crate::instance::{rescue, spawn};
use crate::virt::{self, PowerState};

/// How hard.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
pub enum RebootType {
    /// Let the guest end by itself.
    Soft,
    /// Kill it.
    Hard,
}

/// The arguments.
#[derive(Deserialize)]
pub struct RebootInstance {
    /// The instance.
    pub instance: Instance,
    /// How hard.
    pub reboot_type: RebootType,
}

impl Method for RebootInstance {
    const NAME: &'static str = "reboot_instance";
    const GUARDS: Guards = Guards::REF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(mut self, call: &Call) -> Result<(), Error> {
        let agent = &call.agent;
        let acting = agent.acting(&self.instance).await?;
        self.announce(call, &acting).await?;
        let rebooted = self.reboot(call, &acting).await;
        let power = agent.driver.power_state(acting.uuid()).await?;
        if let Err(error) = rebooted {
            if power != PowerState::Running {
                self.instance.set_state(VmState::Error);
                self.instance.set_power_state(power as i64);
                agent.conductor.save(&call.context, &mut self.instance, Expect::ANY).await?;
                return Err(error);
            }
            // It runs: the user is told and nothing else changes (Nova: `_reboot_instance`).
            fault(agent, &call.context, acting.uuid(), &error).await;
        }
        if self.instance.state() != VmState::Rescued {
            self.instance.set_state(VmState::Active);
        }
        self.instance.set_power_state(power as i64);
        self.instance.set_task(None);
        agent.conductor.save(&call.context, &mut self.instance, Expect::ANY).await?;
        agent.tracker.note(&self.instance, power);
        Ok(())
    }
}

impl RebootInstance {
    /// The two steps of the task state by which others see how far the reboot is.
    async fn announce(&mut self, call: &Call, acting: &Acting) -> Result<(), Error> {
        use TaskState as T;
        let (pending, requested, started) = match self.reboot_type {
            RebootType::Soft => {
                const FROM: &[Option<TaskState>] =
                    &[Some(T::Rebooting), Some(T::RebootPending), Some(T::RebootStarted)];
                (T::RebootPending, Expect::one_of(FROM), T::RebootStarted)
            }
            RebootType::Hard => {
                const FROM: &[Option<TaskState>] =
                    &[Some(T::RebootingHard), Some(T::RebootPendingHard), Some(T::RebootStartedHard)];
                (T::RebootPendingHard, Expect::one_of(FROM), T::RebootStartedHard)
            }
        };
        let conductor = &call.agent.conductor;
        let power = call.agent.driver.power_state(acting.uuid()).await?;
        self.instance.set_power_state(power as i64);
        self.instance.set_task(Some(pending));
        conductor.save(&call.context, &mut self.instance, requested).await?;
        let expect = match pending {
            T::RebootPending => Expect::one_of(&[Some(T::RebootPending)]),
            _ => Expect::one_of(&[Some(T::RebootPendingHard)]),
        };
        self.instance.set_task(Some(started));
        Ok(conductor.save(&call.context, &mut self.instance, expect).await?)
    }

    async fn reboot(&self, call: &Call, acting: &Acting) -> Result<(), Error> {
        let (agent, context, uuid) = (&call.agent, &call.context, acting.uuid());
        if self.reboot_type == RebootType::Soft {
            let seconds = stop_seconds(&self.instance, true, agent.config.shutdown_timeout);
            spawn::ready_network(agent, acting, context, false).await?;
            agent.driver.reboot_soft(uuid, seconds).await?;
            agent.nics.started(uuid).await;
            return Ok(());
        }
        match agent.driver.power_off(uuid, 0).await {
            // A hard reboot brings back a guest that is gone, from its image.
            Err(virt::Error::NotFound { .. }) => {
                tracing::warn!("the container is missing; making it anew from the image");
                if agent.driver.is_rescued(uuid).await? {
                    let image = rescue::image(agent, acting, context, (&self.instance, None)).await?;
                    return rescue::start(agent, acting, context, (&self.instance, &image)).await;
                }
                spawn::make_anew(agent, acting, context).await
            }
            Err(error) => Err(error.into()),
            Ok(()) => spawn::start(agent, acting, context, true).await,
        }
    }
}
