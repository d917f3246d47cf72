//! Stops the instance and runs a rescue image in its place, with the instance's file system at `/rescue`.

use common::objects::fields::{TaskState, VmState};
use common::objects::{Instance, timestamp};
use common::secret::Secret;
use serde::Deserialize;

use super::set_admin_password::secret;
use super::{Call, Method};
use crate::conductor::Expect;
use crate::error::Error;
use crate::instance::guards::{Guards, error_out};
use crate::instance::locks::Acting;
use crate::instance::rescue::{self, RescueImage};
use crate::instance::spec::stop_seconds;
use crate::instance::{power, spawn};
use crate::virt::{PowerState, RescueDisk};

/// The arguments.
#[derive(Deserialize)]
pub struct RescueInstance {
    /// The instance.
    pub instance: Instance,
    /// What nova-api has told the user.
    #[serde(deserialize_with = "secret")]
    pub rescue_password: Secret,
    /// Another image than that of the instance.
    #[serde(default)]
    pub rescue_image_ref: Option<String>,
    /// Give the guest time to end by itself.
    pub clean_shutdown: bool,
}

impl Method for RescueInstance {
    const NAME: &'static str = "rescue_instance";
    const GUARDS: Guards = Guards::REF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(mut self, call: &Call) -> Result<(), Error> {
        let (agent, context) = (&call.agent, &call.context);
        let acting = agent.acting(&self.instance).await?;
        let before = agent.driver.power_state(acting.uuid()).await?;
        // Nova learns what is in the way when the guest is off, and the instance is in ERROR then. Here it runs on.
        let wanted = (&self.instance, self.rescue_image_ref.as_deref());
        let image =
            rescue::image(agent, &acting, context, wanted).await.map_err(|error| self.refusal(error))?;
        let disk = agent.driver.rescue_disk(acting.uuid()).await;
        let disk = disk.map_err(|error| self.refusal(error.into()))?;
        if let Err(error) = self.rescue(call, &acting, (&image, &disk)).await {
            if let Err(error) = undo(call, &acting, before).await {
                tracing::error!(%error, "the instance could not be put back");
            }
            return Err(error_out(agent, context, &self.instance, self.refusal(error)).await);
        }
        rescue::set_password(agent, &acting, &self.rescue_password).await;
        self.instance.set_launched_at(timestamp().as_str());
        let expect = Expect::one_of(&[Some(TaskState::Rescuing)]);
        power::settle(agent, context, &mut self.instance, (VmState::Rescued, expect)).await
    }
}

impl RescueInstance {
    async fn rescue(
        &self,
        call: &Call,
        acting: &Acting,
        (image, disk): (&RescueImage, &RescueDisk),
    ) -> Result<(), Error> {
        let (agent, uuid) = (&call.agent, acting.uuid());
        let seconds = stop_seconds(&self.instance, self.clean_shutdown, agent.config.shutdown_timeout);
        // Its addresses stay: what answers at them is the rescue container in a moment.
        agent.driver.power_off(uuid, seconds).await?;
        agent.driver.set_aside(uuid, disk).await?;
        rescue::start(agent, acting, &call.context, (&self.instance, image)).await
    }

    /// Nova's words, except for an instance that is being deleted.
    fn refusal(&self, error: Error) -> Error {
        if error.is_being_deleted() {
            return error;
        }
        let uuid = self.instance.uuid().unwrap_or_default();
        Error::Refused {
            class: "InstanceNotRescuable",
            code: 400,
            message: format!("Instance {uuid} cannot be rescued: Driver Error: {}", error.sentence()),
        }
    }
}

/// As before the rescue.
async fn undo(call: &Call, acting: &Acting, before: PowerState) -> Result<(), Error> {
    call.agent.driver.put_back(acting.uuid()).await?;
    if before.is_down() {
        return Ok(());
    }
    spawn::start(&call.agent, acting, &call.context, false).await
}
