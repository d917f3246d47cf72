//! Makes the instance anew from an image, on the host where it is; its ports, addresses and identity stay.
//!
//! The image is brought to Docker before the guest is touched. Nobody waits for REBUILD_BLOCK_DEVICE_MAPPING, so it is
//! left out, as in a build.

use std::collections::BTreeMap;

use common::error_chain::Chain;
use common::objects::fields::{TaskState, VmState};
use common::objects::{Instance, Migration, timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::build_and_run_instance::UNTRUSTED;
use super::{Call, Method, StopInstance, carry_out};
use crate::conductor::Expect;
use crate::error::Error;
use crate::image::ImageRequest;
use crate::instance::evacuate::{Evacuation, evacuate};
use crate::instance::guards::{Guards, error_out};
use crate::instance::locks::Acting;
use crate::instance::snapshot::behalf;
use crate::instance::spec::{
    asks_for_certificates, guest_setup, image_of_instance, instance_spec, stop_seconds,
};
use crate::instance::{network, spawn};
use crate::virt::{self, InstanceSpec, PowerState};

/// The arguments.
#[derive(Deserialize)]
pub struct RebuildInstance {
    instance: Instance,
    /// What nova-api has written into the instance already.
    #[serde(default)]
    image_ref: Option<String>,
    #[serde(default)]
    orig_image_ref: Option<String>,
    #[serde(default)]
    orig_sys_metadata: Option<BTreeMap<String, String>>,
    /// An evacuation: the host where the instance was is gone.
    #[serde(default)]
    recreate: bool,
    #[serde(default)]
    preserve_ephemeral: bool,
    #[serde(default)]
    injected_files: Value,
    #[serde(default)]
    new_pass: Value,
    /// What the instance shall be in the end, if not what it was.
    #[serde(default)]
    target_state: Option<String>,
    /// Of an evacuation.
    #[serde(default)]
    migration: Option<Migration>,
    #[serde(default)]
    request_spec: Value,
    #[serde(default)]
    on_shared_storage: Option<bool>,
}

/// What the new container is made from.
type Image = (ImageRequest, BTreeMap<String, String>);

impl Method for RebuildInstance {
    const NAME: &'static str = "rebuild_instance";
    const GUARDS: Guards = Guards::REF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(mut self, call: &Call) -> Result<(), Error> {
        if self.recreate {
            return self.evacuate(call).await;
        }
        let acting = call.agent.acting(&self.instance).await?;
        let stopped =
            self.instance.state() == VmState::Stopped || self.target_state.as_deref() == Some("stopped");
        let rebuilt = match self.announce(call, &acting).await {
            Ok(image) => self.rebuild(call, &acting, &image).await,
            Err(error) => {
                self.keep_image(call, &error).await;
                Err(error)
            }
        };
        match rebuilt {
            Err(error) if error.is_being_deleted() => {
                tracing::info!(%error, "the instance was deleted during its rebuild");
                return Ok(());
            }
            // Somebody else acts on it: its state is theirs.
            Err(error) if error.is_unexpected_task_state() => return Err(error),
            Err(error) => return Err(error_out(&call.agent, &call.context, &self.instance, error).await),
            Ok(()) => {}
        }
        drop(acting);
        if stopped { self.stop(call).await } else { Ok(()) }
    }
}

impl RebuildInstance {
    /// See [`evacuate`]; an instance that was off is off again.
    async fn evacuate(mut self, call: &Call) -> Result<(), Error> {
        let (agent, context) = (&call.agent, &call.context);
        let acting = agent.acting(&self.instance).await?;
        let stopped =
            self.instance.state() == VmState::Stopped || self.target_state.as_deref() == Some("stopped");
        let evacuation = Evacuation {
            migration: self.migration.take(),
            request_spec: &self.request_spec,
            on_shared_storage: self.on_shared_storage,
        };
        evacuate(agent, &acting, context, (&mut self.instance, evacuation)).await?;
        drop(acting);
        let made = self.instance.state() == VmState::Active && self.instance.task().is_none();
        if stopped && made { self.stop(call).await } else { Ok(()) }
    }

    fn spec(&self, properties: &BTreeMap<String, String>) -> Result<InstanceSpec, Error> {
        let setup = guest_setup(&self.injected_files, &self.new_pass)?;
        Ok(InstanceSpec { setup, ..instance_spec(&self.instance, properties.clone())? })
    }

    /// What comes before the guest is touched.
    async fn announce(&mut self, call: &Call, acting: &Acting) -> Result<Image, Error> {
        let (agent, context) = (&call.agent, &call.context);
        if self.preserve_ephemeral {
            return Err(Error::Refused {
                class: "PreserveEphemeralNotSupported",
                code: 500,
                message: "The current driver does not support preserving ephemeral partitions.".into(),
            });
        }
        if asks_for_certificates(&self.instance) {
            let reason = format!("Build of instance {} aborted: {UNTRUSTED}", acting.uuid());
            return Err(Error::Refused { class: "BuildAbortException", code: 500, message: reason });
        }
        let power = agent.driver.power_state(acting.uuid()).await?;
        self.instance.set_power_state(power as i64);
        self.instance.set_task(Some(TaskState::Rebuilding));
        let expect = Expect::one_of(&[Some(TaskState::Rebuilding)]);
        agent.conductor.save(context, &mut self.instance, expect).await?;
        let id = self.image_ref.as_deref().or(self.instance.image_ref()).unwrap_or_default();
        // Nova has only the beginning of long properties.
        let image = match agent.images.describe(id, behalf(context)).await {
            Ok(image) => image,
            Err(_) if agent.images.cached(id).is_some() => image_of_instance(&self.instance),
            Err(error) => return Err(error.into()),
        };
        tokio::select! {
            biased;
            () = acting.cancelled() => return Err(Error::Cancelled),
            ready = agent.images.ensure(&image.0, behalf(context)) => ready?,
        };
        agent.driver.check(&self.spec(&image.1)?)?;
        Ok(image)
    }

    async fn rebuild(
        &mut self,
        call: &Call,
        acting: &Acting,
        (request, properties): &Image,
    ) -> Result<(), Error> {
        let (agent, context, uuid) = (&call.agent, &call.context, acting.uuid());
        let seconds = stop_seconds(&self.instance, true, agent.config.shutdown_timeout);
        match agent.driver.power_off(uuid, seconds).await {
            Err(virt::Error::NotFound { .. }) => {}
            other => other?,
        }
        agent.driver.destroy(uuid).await?;
        self.instance.set_task(Some(TaskState::RebuildSpawning));
        let expect = Expect::one_of(&[Some(TaskState::Rebuilding)]);
        agent.conductor.save(context, &mut self.instance, expect).await?;
        let network_info = network::network_info(agent, context, &self.instance).await?;
        let spec = self.spec(properties)?;
        if agent.driver.has_config_drive(&spec) && !spec.config_drive {
            self.instance.set_config_drive("True");
        }
        spawn::spawn_again(agent, acting, context, (spec, request, &network_info)).await?;
        self.instance.set_state(VmState::Active);
        self.instance.set_task(None);
        self.instance.set_power_state(PowerState::Running as i64);
        self.instance.set_launched_at(timestamp().as_str());
        let expect = Expect::one_of(&[Some(TaskState::RebuildSpawning)]);
        agent.conductor.save(context, &mut self.instance, expect).await?;
        agent.tracker.note(&self.instance, PowerState::Running);
        if let Err(error) = agent.conductor.scheduler_has(context, &[&self.instance]).await {
            tracing::debug!(%error, "the schedulers were not told");
        }
        Ok(())
    }

    /// The guest was not touched, so the instance still is what it was made from: a hard reboot must not make it from
    /// the other image.
    async fn keep_image(&mut self, call: &Call, error: &Error) {
        if error.is_being_deleted() || error.is_unexpected_task_state() {
            return;
        }
        if let Some(image) = self.orig_image_ref.as_deref() {
            self.instance.set_image_ref(image);
        }
        if let Some(metadata) = self.orig_sys_metadata.take() {
            self.instance.set_system_metadata(metadata);
        }
        if let Err(error) = call.agent.conductor.save(&call.context, &mut self.instance, Expect::ANY).await {
            tracing::warn!(error = %Chain(&error), "the instance's image could not be put back");
        }
    }

    /// It was off, and shall be off again (Nova: `_do_rebuild_instance`).
    async fn stop(mut self, call: &Call) -> Result<(), Error> {
        self.instance.set_state(VmState::Active);
        self.instance.set_task(Some(TaskState::PoweringOff));
        self.instance.set_progress(0);
        call.agent.conductor.save(&call.context, &mut self.instance, Expect::ANY).await?;
        carry_out(call, StopInstance { instance: self.instance, clean_shutdown: false }).await
    }
}
