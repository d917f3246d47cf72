//! Boots an instance: claim, image, ports, container, ACTIVE; or, when that fails, back to where Nova wants it.
//!
//! Nova's own compute makes 13 conductor calls for this; here it is five: what does not wait for each other runs side
//! by side, and the intermediate task states that nobody acts on are left out. With ports there are two more: a row for
//! each port, and the info cache.
//! ```text
//! save(host, node, SPAWNING) ─┬─ (else image, create, start) ─┬─ save(ACTIVE) ─┬─ event_finish
//! image known: create, start ─┤                               │                ├─ BlockDeviceMapping.save
//!                             └─ event_start ─────────────────┘                └─ fanout to the schedulers
//! with ports, instead of start:
//!     ports in Neutron ────────────────┬─ NICs, metadata ────┬─ switch is ready: start ─┬─
//!     sandbox, create (since the save) ┴─ rows, info cache ──┴─ network-vif-plugged ────┘
//! ```

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::objects::fields::{TaskState, VmState};
use common::objects::{BlockDeviceMapping, Instance, Versioned, list_strictly, timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::{Call, Method};
use crate::conductor::{Expect, Reschedule};
use crate::error::Error;
use crate::image::ImageRequest;
use crate::instance::block_devices::{self, ROOT_DEVICE};
use crate::instance::guards::{Guards, Subject, event_finish, event_start, fault, fault_text};
use crate::instance::locks::Acting;
use crate::instance::network::{self, Connection};
use crate::instance::outcome::{self, Outcome};
use crate::instance::spawn::{Ahead, Container, Made, spawn, spawn_connected};
use crate::instance::spec::{asks_for_certificates, guest_setup, image_of_build, instance_spec};
use crate::instance::{group, lost_builds};
use crate::network::model::NetworkInfo;
use crate::network::request::{Ask, provider_mapping, security_groups};
use crate::virt::{InstanceSpec, PowerState};

/// Nova's name of the event; the second underscore is the private method's.
const EVENT: &str = "compute__do_build_and_run_instance";

/// Nova's words (`_check_trusted_certs`).
pub(super) const UNTRUSTED: &str =
    "Trusted image certificates provided on host that does not support certificate validation.";

/// The arguments. What is only handed on to the next host when the build fails stays unread.
#[derive(Deserialize)]
pub struct BuildAndRunInstance {
    instance: Instance,
    #[serde(default)]
    image: Value,
    #[serde(default)]
    request_spec: Value,
    #[serde(default)]
    filter_properties: Value,
    #[serde(default)]
    admin_password: Value,
    #[serde(default)]
    injected_files: Value,
    #[serde(default)]
    requested_networks: Value,
    #[serde(default)]
    security_groups: Value,
    #[serde(default)]
    block_device_mapping: Value,
    #[serde(default)]
    host_list: Value,
    /// The instance has been made this host's.
    #[serde(skip)]
    taken: bool,
    /// Its disks.
    #[serde(skip)]
    disks: Vec<BlockDeviceMapping>,
    /// Neutron and the host's network may have something of it.
    #[serde(skip)]
    connecting: bool,
}

/// A build request that can be carried out.
struct Checked {
    disks: Vec<BlockDeviceMapping>,
    connection: Connection,
    spec: InstanceSpec,
}

impl Method for BuildAndRunInstance {
    const NAME: &'static str = "build_and_run_instance";
    /// The build has its own way of recording failures.
    const GUARDS: Guards = Guards::NONE;
    type Reply = ();

    /// No host can build it: ERROR, if it waits to be built still.
    async fn unreadable(call: &Call, subject: &Subject, why: &Error) {
        let fault = fault(&call.agent, &call.context, subject.uuid(), why);
        if let Err(error) = lost_builds::give_up(&call.agent, &call.context, subject, fault).await {
            tracing::error!(error = %Chain(&error), "the failed build could not be recorded");
        }
    }

    async fn run(mut self, call: &Call) -> Result<(), Error> {
        let agent = &call.agent;
        let acting = agent.acting(&self.instance).await?;
        // Within the lock, as in Nova: a delete that comes now waits for this build to unwind.
        let permit = tokio::select! {
            biased;
            () = acting.cancelled() => None,
            permit = agent.builds.turn() => permit,
        };
        let built = match &permit {
            Some(_) => self.build(call, &acting).await,
            None => Err(Error::Cancelled),
        };
        drop(permit);
        let Err(error) = built else {
            self.succeeded(call).await;
            let uuid = acting.uuid();
            // Whoever wants to do something with the instance need not wait for the rest.
            drop(acting);
            self.leave_notes(call, uuid).await;
            return Ok(());
        };
        self.failed(call, &acting, &error).await;
        event_finish(agent, &call.context, acting.uuid(), (EVENT, None)).await;
        Err(error)
    }
}

impl BuildAndRunInstance {
    /// The way to ACTIVE. What it made is removed by [`Self::failed`], if the instance was this host's.
    async fn build(&mut self, call: &Call, acting: &Acting) -> Result<(), Error> {
        let agent = &call.agent;
        agent.tracker.test(&self.instance)?;
        let (request, properties) = image_of_build(&self.image, &self.instance);
        // What cannot be built is refused after the instance is ours, so that Nova shows where it failed.
        let checked = instance_spec(&self.instance, properties).and_then(|spec| self.check(call, spec));
        let spec = checked.as_ref().ok().map(|checked| checked.spec.clone());
        let mut ahead = Ahead::new(agent, spec.as_ref(), &request);
        let built = self.build_beside(call, acting, (checked, &request, &mut ahead)).await;
        if built.is_err() {
            // Only what is there can be removed.
            let made = ahead.end().await;
            if !self.taken {
                discard(call, acting.uuid(), made).await;
            }
        }
        built
    }

    async fn build_beside(
        &mut self,
        call: &Call,
        acting: &Acting,
        (checked, request, ahead): (Result<Checked, Error>, &ImageRequest, &mut Ahead<'_>),
    ) -> Result<(), Error> {
        let (agent, context) = (&call.agent, &call.context);
        let alone = group::alone(agent, &self.request_spec).await;
        ahead.beside(take_over(call, &mut self.instance)).await?;
        self.taken = true;
        // The sandbox may be there already.
        self.connecting = checked.as_ref().is_ok_and(|checked| checked.connection.ask != Ask::Nothing);
        tracing::debug!(milliseconds = call.received.elapsed().as_millis(), "the instance is this host's");
        // The record says already that the instance is here: other hosts see it.
        ahead.beside(group::validate(agent, context, (&self.instance, &self.request_spec))).await?;
        drop(alone);
        let Checked { disks, connection, spec } = checked?;
        self.disks = disks;
        let spawn = async {
            if connection.ask == Ask::Nothing {
                let prepared = ahead.end().await.container;
                return spawn(agent, acting, context, (&spec, request, prepared)).await;
            }
            let container = (&spec, request, ahead);
            spawn_connected(agent, acting, context, (&self.instance, &connection), container).await
        };
        let (spawned, _) = tokio::join!(spawn, event_start(agent, context, acting.uuid(), EVENT));
        spawned?;
        tracing::debug!(milliseconds = call.received.elapsed().as_millis(), "the container runs");
        if agent.driver.has_config_drive(&spec) && !spec.config_drive {
            self.instance.set_config_drive("True");
        }
        self.instance.set_state(VmState::Active);
        self.instance.set_task(None);
        self.instance.set_power_state(PowerState::Running as i64);
        self.instance.set_launched_at(timestamp().as_str());
        let expect = Expect::one_of(&[Some(TaskState::Spawning)]);
        Ok(agent.conductor.save(context, &mut self.instance, expect).await?)
    }

    /// Reads the rest of the request, and refuses what a container cannot have yet.
    fn check(&self, call: &Call, spec: InstanceSpec) -> Result<Checked, Error> {
        call.agent.driver.check(&spec)?;
        let abort = |message: &str| Error::Refused {
            class: "BuildAbortException",
            code: 500,
            message: message.into(),
        };
        let unreadable = |_| abort("the build request cannot be read");
        if asks_for_certificates(&self.instance) {
            return Err(abort(UNTRUSTED));
        }
        let ask = Ask::read(&self.requested_networks).map_err(unreadable)?;
        let mut disks: Vec<BlockDeviceMapping> = match self.block_device_mapping.is_null() {
            true => Vec::new(),
            false => list_strictly(self.block_device_mapping.clone()).map_err(unreadable)?,
        };
        if disks.iter().any(BlockDeviceMapping::is_volume) {
            return Err(abort("volumes are not supported yet by this compute host; boot from an image"));
        }
        block_devices::name(&mut disks);
        let setup = guest_setup(&self.injected_files, &self.admin_password)?;
        let spec = InstanceSpec { sandboxed: ask != Ask::Nothing, setup, ..spec };
        let groups = security_groups(&self.security_groups);
        let connection = Connection { ask, groups, providers: provider_mapping(&self.request_spec) };
        Ok(Checked { disks, connection, spec })
    }

    /// What those who choose a host have to know, once the instance is ACTIVE.
    async fn succeeded(&self, call: &Call) {
        let agent = &call.agent;
        agent.metrics.boot_seconds.observe(call.received.elapsed().as_secs_f64());
        agent.tracker.note(&self.instance, PowerState::Running);
        agent.tracker.build_succeeded();
        tracing::info!(milliseconds = call.received.elapsed().as_millis(), "the instance runs");
        if let Err(error) = agent.conductor.scheduler_has(&call.context, &[&self.instance]).await {
            tracing::debug!(error = %Chain(&error), "the schedulers were not told");
        }
    }

    /// What nobody waits for: builds that do wait for their turn come first.
    async fn leave_notes(&mut self, call: &Call, uuid: InstanceUuid) {
        let agent = &call.agent;
        agent.builds.let_pass().await;
        let devices = async {
            let _acting = agent.locks.act(uuid).await;
            // A server that was deleted meanwhile has none any more.
            if agent.tracker.power(uuid).is_some() {
                save_devices(call, &mut self.disks).await;
            }
        };
        tokio::join!(event_finish(agent, &call.context, uuid, (EVENT, None)), devices);
    }

    /// Undoes a build and leaves the instance as Nova would (SEMANTICS §2.4).
    async fn failed(&mut self, call: &Call, acting: &Acting, error: &Error) {
        let (agent, uuid) = (&call.agent, acting.uuid());
        // A request that came twice finds an instance in another state. Its guest and its allocations are not touched.
        if !self.taken && error.is_unexpected_task_state() && !error.is_being_deleted() {
            return tracing::warn!(%error, "left a build alone that is not expected any more");
        }
        let mut outcome = outcome::of(error);
        tracing::error!(error = %Chain(error), ?outcome, "the build failed");
        if self.taken {
            if let Err(error) = self.undo(call, uuid).await {
                tracing::error!(error = %Chain(&error), "what a failed build has made could not be removed");
                // With something left here no other host may build it.
                if let Outcome::Abort(reason) | Outcome::Reschedule(reason) = outcome {
                    outcome = Outcome::Abort(format!("{reason}; and it could not be cleaned up: {error}"));
                }
            }
            agent.tracker.release(uuid);
        }
        match outcome {
            Outcome::Quiet => self.free(call, uuid).await,
            Outcome::Abort(reason) => {
                let message = format!("Build of instance {uuid} aborted: {reason}");
                self.give_up(call, acting, (&message, error)).await;
                agent.tracker.build_failed();
            }
            Outcome::Reschedule(reason) => self.reschedule(call, acting, (&reason, error)).await,
        }
    }

    /// Takes away what the build has made: container, NICs, ports.
    async fn undo(&self, call: &Call, uuid: InstanceUuid) -> Result<(), Error> {
        let agent = &call.agent;
        let destroyed = agent.driver.destroy(uuid).await;
        if self.connecting {
            let given = Ask::read(&self.requested_networks)
                .map_or_else(|_| <_>::default(), |ask| ask.given().map(str::to_owned).collect());
            network::release(agent, &call.context, uuid, (&NetworkInfo::new(), given)).await?;
        }
        Ok(destroyed?)
    }

    /// ERROR, for good.
    async fn give_up(&mut self, call: &Call, acting: &Acting, (message, error): (&str, &Error)) {
        let details = Chain(error).to_string();
        fault_text(&call.agent, &call.context, acting.uuid(), (500, message, &details)).await;
        self.leave_host(call, VmState::Error, None).await;
        self.free(call, acting.uuid()).await;
    }

    /// Another host, if there is one left.
    async fn reschedule(&mut self, call: &Call, acting: &Acting, (reason, error): (&str, &Error)) {
        let Some(filter_properties) = outcome::with_failure(&self.filter_properties, reason) else {
            self.give_up(call, acting, (reason, error)).await;
            return call.agent.tracker.build_failed();
        };
        // From here on no host has it until the conductor has found another.
        lost_builds::begin_giving_back(&call.agent, acting.uuid());
        self.leave_host(call, VmState::Building, Some(TaskState::Scheduling)).await;
        self.free(call, acting.uuid()).await;
        call.agent.tracker.build_failed();
        let build = Reschedule {
            filter_properties,
            image: self.image.take(),
            admin_password: self.admin_password.take(),
            injected_files: self.injected_files.take(),
            requested_networks: self.requested_networks.take(),
            security_groups: self.security_groups.take(),
            request_spec: self.request_spec.take(),
            host_list: self.host_list.take(),
        };
        if let Err(error) = call.agent.conductor.build_instances(&call.context, &self.instance, build).await {
            tracing::error!(error = %Chain(&error), "the build could not be given back; the instance is in ERROR");
            self.leave_host(call, VmState::Error, None).await;
        }
        call.agent.giving_back.end(acting.uuid());
    }

    /// The instance belongs to no host any more (Nova: `_nil_out_instance_obj_host_and_node`).
    async fn leave_host(&mut self, call: &Call, state: VmState, task: Option<TaskState>) {
        let instance = &mut self.instance;
        // What the failed attempt wanted to save must not be saved now.
        instance.object_mut().clear_changes();
        instance.set_host(None);
        instance.set_node(None);
        instance.set_compute_id(None);
        instance.set_launched_on(None);
        instance.set_launched_at(None);
        instance.set_power_state(PowerState::NoState as i64);
        instance.set_availability_zone(None);
        instance.set_state(state);
        instance.set_task(task);
        match call.agent.conductor.save(&call.context, instance, Expect::ANY).await {
            Err(error) if error.is_instance_not_found() => {}
            Err(error) => tracing::error!(error = %Chain(&error), "the failed build could not be recorded"),
            Ok(()) => {}
        }
    }

    async fn free(&self, call: &Call, uuid: InstanceUuid) {
        if let Err(error) = call.agent.provider.delete_allocations(&uuid.to_string()).await {
            tracing::error!(error = %Chain(&error), "the allocation of a failed build could not be deleted");
        }
    }
}

/// Removes what was made ahead for an instance that is not this host's.
async fn discard(call: &Call, uuid: InstanceUuid, made: Made) {
    let agent = &call.agent;
    let container = async {
        match made.container {
            Container::Absent => Ok(()),
            Container::Made | Container::Runs => Ok(agent.driver.destroy(uuid).await?),
        }
    };
    let sandbox = async { if made.sandbox { agent.nics.remove(uuid, &[]).await } else { Ok(()) } };
    if let Err(error) = container.await.and(sandbox.await) {
        tracing::error!(error = %Chain(&error), "what was made ahead could not be removed");
    }
}

/// Records the names that the disks got.
async fn save_devices(call: &Call, disks: &mut [BlockDeviceMapping]) {
    for disk in disks.iter_mut().filter(|disk| disk.object().changes().next().is_some()) {
        if let Err(error) = call.agent.conductor.save_block_device(&call.context, disk).await {
            tracing::warn!(error = %Chain(&error), "the name of a disk could not be recorded");
        }
    }
}

/// Makes the instance this host's; fails when somebody else has changed it since the scheduler decided.
async fn take_over(call: &Call, instance: &mut Instance) -> Result<(), Error> {
    let agent = &call.agent;
    let host = agent.config.host.as_str();
    instance.set_host(host);
    instance.set_launched_on(host);
    // Nova allows a node to change only together with its id.
    instance.set_node(agent.tracker.node_name().as_str());
    instance.set_compute_id(agent.tracker.node_id());
    instance.set_state(VmState::Building);
    instance.set_task(Some(TaskState::Spawning));
    instance.set_root_device_name(ROOT_DEVICE);
    let mut metadata = instance.system_metadata();
    metadata.insert("boot_roles".into(), call.context.roles().join(","));
    instance.set_system_metadata(metadata);
    // Stricter than Nova, which would begin to build an instance that runs when a request comes twice.
    let expect = Expect::one_of(&[Some(TaskState::Scheduling), None]).while_in(VmState::Building);
    agent.conductor.save(&call.context, instance, expect).await?;
    agent.tracker.note(instance, PowerState::NoState);
    Ok(())
}
