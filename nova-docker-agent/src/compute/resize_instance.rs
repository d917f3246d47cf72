//! The source of a resize or a cold migration stops the guest, sends its disk, and hands the instance over.

use common::error_chain::Chain;
use common::objects::fields::TaskState;
use common::objects::{Flavor, Instance, Migration};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Call, Method};
use crate::conductor::{Expect, Handed};
use crate::error::Error;
use crate::instance::guards::Guards;
use crate::instance::moves::{self, Failure};
use crate::instance::spec::{image_of_instance, stop_seconds};
use crate::instance::{network, power};
use crate::virt::PowerState;

/// The arguments.
#[derive(Deserialize)]
pub struct ResizeInstance {
    /// The instance.
    pub instance: Instance,
    /// The move, with its destination.
    pub migration: Migration,
    /// The flavor it gets.
    pub flavor: Flavor,
    /// The image dictionary.
    #[serde(default)]
    pub image: Value,
    /// The request spec.
    #[serde(default)]
    pub request_spec: Value,
    /// Give the guest time to end by itself.
    #[serde(default)]
    pub clean_shutdown: bool,
}

impl Method for ResizeInstance {
    const NAME: &'static str = "resize_instance";
    const GUARDS: Guards = Guards::REF;
    type Reply = ();

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(mut self, call: &Call) -> Result<(), Error> {
        let before = self.instance.state();
        let Err(failure) = self.give_away(call).await else { return Ok(()) };
        let (agent, context) = (&call.agent, &call.context);
        // Nova gives the allocation back last. The task goes last here: by it an agent that was killed on the way finds what is
        // left to do, and by the migration's status what to give back.
        moves::try_revert_allocation(agent, &self.migration).await;
        moves::fail(agent, context, &self.migration).await;
        Err(moves::error_out(agent, context, (&self.instance, before), failure).await)
    }
}

impl ResizeInstance {
    async fn give_away(&mut self, call: &Call) -> Result<(), Failure> {
        let (agent, context) = (&call.agent, &call.context);
        self.migration.set_status("migrating");
        agent.conductor.save_object(context, &mut self.migration).await?;
        self.instance.set_task(Some(TaskState::ResizeMigrating));
        let expect = Expect::one_of(&[Some(TaskState::ResizePrep)]);
        agent.conductor.save(context, &mut self.instance, expect).await?;
        self.refuse_smaller_disk()?;

        let ran = self.stop(call).await?;
        let passed = async {
            let disk = self.send(call).await?;
            self.pass(call).await?;
            Ok::<String, Error>(disk)
        };
        let disk = match passed.await {
            Ok(disk) => disk,
            Err(error) => return Err(self.take_back(call, (ran, error)).await),
        };
        // From here on it is the destination's.
        if let Some(uuid) = self.instance.instance_uuid().filter(|_| !self.migration.stays()) {
            agent.tracker.release(uuid);
        }
        let handed = Handed { image: self.image.take(), request_spec: self.request_spec.take() };
        let subject = (&self.instance, &self.migration);
        Ok(agent.conductor.finish_resize(context, subject, (&disk, handed)).await?)
    }

    /// What is on a larger disk may not fit a smaller one (Nova's libvirt driver: ResizeError).
    fn refuse_smaller_disk(&self) -> Result<(), Failure> {
        let Some(old) = self.instance.flavor() else { return Ok(()) };
        let smaller = |old: Option<i64>, new: Option<i64>| new < old;
        if smaller(old.root_gb(), self.flavor.root_gb())
            || smaller(old.ephemeral_gb(), self.flavor.ephemeral_gb())
        {
            return Err(Failure::Rollback(Error::Refused {
                class: "ResizeError",
                code: 500,
                message: "Resize error: Unable to resize disk down.".into(),
            }));
        }
        Ok(())
    }

    /// Stops the guest and takes it off the network; true when it ran.
    async fn stop(&self, call: &Call) -> Result<bool, Failure> {
        let agent = &call.agent;
        let acting = agent.acting(&self.instance).await?;
        let ran = agent.driver.power_state(acting.uuid()).await? == PowerState::Running;
        let seconds = stop_seconds(&self.instance, self.clean_shutdown, agent.config.shutdown_timeout);
        power::turn_off(agent, &acting, seconds).await?;
        if !self.migration.stays() {
            moves::unplug(agent, acting.uuid()).await?;
        }
        Ok(ran)
    }

    /// Has the destination fetch the disk; returns what it calls it.
    async fn send(&self, call: &Call) -> Result<String, Error> {
        let (agent, context) = (&call.agent, &call.context);
        let Some(uuid) = self.instance.instance_uuid().filter(|_| !self.migration.stays()) else {
            return Ok(String::new());
        };
        let sent = async {
            let image = agent.driver.begin_moving(uuid).await?;
            let (request, _) = image_of_instance(&self.instance);
            let base = match agent.images.cached(&request.id) {
                Some(base) => agent.driver.layers(&base.docker_id).await?,
                None => Vec::new(),
            };
            let offered = agent.depot.offer(&agent.driver, uuid, (&image, &base)).await?;
            let mut arguments = Map::new();
            arguments.insert("instance_uuid".into(), json!(uuid));
            arguments.insert("offer".into(), json!(offered.offer));
            arguments.insert("image".into(), json!(request.id));
            arguments.insert("container_format".into(), json!(request.container_format));
            arguments.insert("disk_format".into(), json!(request.disk_format));
            let host = self.migration.dest_compute().unwrap_or_default();
            let name = agent.conductor.receive_disk(context, host, arguments).await?;
            offered.was_taken()?;
            Ok::<String, Error>(name)
        };
        let sent = sent.await;
        if let Err(error) = agent.driver.end_moving(uuid).await {
            tracing::warn!(error = %Chain(&error), "the image of a disk that moved is removed at the next start");
        }
        sent
    }

    /// The save by which the instance becomes the destination's.
    async fn pass(&mut self, call: &Call) -> Result<(), Error> {
        let (agent, context) = (&call.agent, &call.context);
        self.migration.set_status("post-migrating");
        agent.conductor.save_object(context, &mut self.migration).await?;
        let instance = &mut self.instance;
        let (current, new) = (instance.flavor(), instance.new_flavor());
        instance.set_host(self.migration.dest_compute());
        instance.set_node(self.migration.dest_node());
        instance.set_compute_id(self.migration.dest_compute_id());
        instance.set_flavors(current.as_ref(), current.as_ref(), new.as_ref());
        instance.set_task(Some(TaskState::ResizeMigrated));
        let expect = Expect::one_of(&[Some(TaskState::ResizeMigrating)]);
        Ok(agent.conductor.save(context, instance, expect).await?)
    }

    /// Everything as it was: the guest runs again, the destination forgets the disk.
    async fn take_back(&mut self, call: &Call, (ran, error): (bool, Error)) -> Failure {
        let (agent, context) = (&call.agent, &call.context);
        if error.is_being_deleted() {
            return Failure::Broken(error);
        }
        if !self.migration.stays() {
            let host = self.migration.dest_compute().unwrap_or_default();
            if let Err(error) = agent.conductor.discard_disk(context, host, &self.instance).await {
                tracing::debug!(error = %Chain(&error), "the destination was not told; it finds out by itself");
            }
        }
        if ran {
            let started = async {
                let acting = agent.acting(&self.instance).await?;
                let cached = network::network_info(agent, context, &self.instance).await?;
                moves::start_again(agent, &acting, context, (&self.instance, &cached)).await
            };
            if let Err(again) = started.await {
                tracing::error!(error = %Chain(&again), "the guest of a failed move could not be started again");
                return Failure::Broken(error);
            }
        }
        Failure::Rollback(error)
    }
}
