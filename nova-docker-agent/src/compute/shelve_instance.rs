//! Stops the instance and keeps its file system as an image; by default it leaves the host at once.

use common::objects::Instance;
use common::objects::fields::{TaskState, VmState};
use serde::Deserialize;

use super::{Call, Method};
use crate::conductor::Expect;
use crate::error::Error;
use crate::instance::guards::Guards;
use crate::instance::locks::Acting;
use crate::instance::shelve::{SHELVED_AT, SHELVED_HOST, SHELVED_IMAGE_ID, offload};
use crate::instance::spec::stop_seconds;
use crate::instance::{power, snapshot};

/// The arguments.
#[derive(Deserialize)]
pub struct ShelveInstance {
    /// The instance.
    pub instance: Instance,
    /// The image in glance that nova-api has made for it.
    pub image_id: String,
    /// Give the guest time to end by itself.
    pub clean_shutdown: bool,
}

impl Method for ShelveInstance {
    const NAME: &'static str = "shelve_instance";
    const GUARDS: Guards = Guards::REF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(mut self, call: &Call) -> Result<(), Error> {
        let (agent, context) = (&call.agent, &call.context);
        let acting = agent.acting(&self.instance).await?;
        let shelved = self.shelve(call, &acting).await;
        snapshot::discard(agent, &self.image_id).await;
        if let Err(error) = shelved {
            // The guest is off then, as Nova's is, and the power sync says so.
            snapshot::remove(agent, context, &self.image_id).await;
            return Err(error);
        }
        if agent.config.shelved_offload_time != 0 {
            return Ok(());
        }
        offload(agent, &acting, context, (&mut self.instance, false)).await
    }
}

impl ShelveInstance {
    async fn shelve(&mut self, call: &Call, acting: &Acting) -> Result<(), Error> {
        let (agent, context) = (&call.agent, &call.context);
        // What stands still cannot end by itself.
        let clean =
            self.clean_shutdown && !matches!(self.instance.state(), VmState::Paused | VmState::Suspended);
        let seconds = stop_seconds(&self.instance, clean, agent.config.shutdown_timeout);
        power::turn_off(agent, acting, seconds).await?;
        let image = (self.image_id.as_str(), &snapshot::SHELVE);
        snapshot::take(agent, context, (&mut self.instance, Some(acting)), image).await?;
        let mut metadata = self.instance.system_metadata();
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string();
        let kept = [
            (SHELVED_AT, now),
            (SHELVED_IMAGE_ID, self.image_id.clone()),
            (SHELVED_HOST, agent.config.host.clone()),
        ];
        metadata.extend(kept.map(|(key, value)| (key.to_owned(), value)));
        self.instance.set_system_metadata(metadata);
        let power = agent.driver.power_state(acting.uuid()).await?;
        self.instance.set_power_state(power as i64);
        self.instance.set_state(VmState::Shelved);
        let now_offloaded = agent.config.shelved_offload_time == 0;
        self.instance.set_task(now_offloaded.then_some(TaskState::ShelvingOffloading));
        let expect = Expect::one_of(&[Some(TaskState::Shelving), Some(TaskState::ShelvingImageUploading)]);
        agent.conductor.save(context, &mut self.instance, expect).await?;
        agent.tracker.note(&self.instance, power);
        Ok(())
    }
}
