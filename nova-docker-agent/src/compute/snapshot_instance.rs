//! Makes an image of an instance that runs on meanwhile.

use common::objects::Instance;
use common::objects::fields::TaskState;
use serde::Deserialize;

use super::{Call, Method};
use crate::conductor::Expect;
use crate::error::Error;
use crate::instance::guards::Guards;
use crate::instance::snapshot;

/// The arguments.
#[derive(Deserialize)]
pub struct SnapshotInstance {
    /// The instance.
    pub instance: Instance,
    /// The image in glance that nova-api has made for it.
    pub image_id: String,
}

impl Method for SnapshotInstance {
    const NAME: &'static str = "snapshot_instance";
    const GUARDS: Guards = Guards::REF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    /// Without the instance's lock, as in Nova: a delete does not wait for an upload.
    async fn run(mut self, call: &Call) -> Result<(), Error> {
        let (agent, context) = (&call.agent, &call.context);
        self.instance.set_task(Some(TaskState::ImageSnapshot));
        let expect = Expect::one_of(&[Some(TaskState::ImageSnapshotPending)]);
        let begun = agent.conductor.save(context, &mut self.instance, expect).await.map_err(Error::from);
        let taken = match begun {
            Ok(()) => {
                // The task state tells that it waits here.
                let permit = agent.snapshots.acquire().await.ok();
                let taken = take(call, (&mut self.instance, &self.image_id), &snapshot::SNAPSHOT).await;
                drop(permit);
                taken
            }
            Err(error) => Err(error),
        };
        snapshot::settle(agent, context, (&mut self.instance, &self.image_id), taken).await
    }
}

/// From the first look at the guest to the end of the task; what a backup does, too.
pub(super) async fn take(
    call: &Call,
    (instance, image): (&mut Instance, &str),
    steps: &snapshot::Steps,
) -> Result<(), Error> {
    let (agent, context) = (&call.agent, &call.context);
    let Some(uuid) = instance.instance_uuid() else { return Ok(()) };
    let power = agent.driver.power_state(uuid).await?;
    if instance.power_state() != Some(power as i64) {
        instance.set_power_state(power as i64);
        agent.conductor.save(context, instance, Expect::ANY).await?;
        agent.tracker.set_power(uuid, power);
    }
    let mut taken = snapshot::take(agent, context, (&mut *instance, None), (image, steps)).await;
    if taken.is_ok() {
        instance.set_task(None);
        let expect = Expect::one_of(&[Some(TaskState::ImageUploading)]);
        taken = agent.conductor.save(context, instance, expect).await.map_err(Error::from);
    }
    snapshot::discard(agent, image).await;
    taken
}
