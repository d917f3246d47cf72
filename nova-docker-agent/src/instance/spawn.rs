//! Image, container, network, start: the ways to a running container, for a build, a start and a reboot.

use std::pin::pin;
use std::time::Instant;

use common::messaging::RequestContext;
use common::objects::Instance;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::described;
use super::locks::Acting;
use super::moves;
use super::network::{self, Connection};
use super::spec::{image_of_instance, instance_spec};
use crate::agent::Agent;
use crate::error::Error;
use crate::image::{ImageHandle, ImageRequest, OnBehalf};
use crate::network::events::Watch;
use crate::network::model::NetworkInfo;
use crate::network::request::Ask;
use crate::virt::{self, InstanceSpec};

/// What an instance has to be read with so that its container can be made or its sandbox brought back.
pub const ATTRIBUTES: [&str; 4] = ["flavor", "metadata", "system_metadata", "info_cache"];

/// What is made while the conductor decides whether the instance may be built here, and Neutron makes its ports: the
/// container, if that needs no download, and the sandbox. Without ports and config drive the container is started, too: a guest
/// without a network, that runs for the moment until the conductor says no, has touched nobody. Whatever keeps them from being made,
/// those who need them will meet again.
pub struct Ahead<'a> {
    work: BoxFuture<'a, Made>,
    made: Option<Made>,
}

/// What was made ahead; what was there already is not.
#[derive(Debug, Default, Clone, Copy)]
pub struct Made {
    /// The container.
    pub container: Container,
    /// The sandbox.
    pub sandbox: bool,
}

/// How far a container is that was made ahead.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// There is none, or it is not ours to use.
    #[default]
    Absent,
    /// Made, but not started.
    Made,
    /// It runs, with all that the user wants in it.
    Runs,
}

impl<'a> Ahead<'a> {
    /// Begins when it is first awaited. Nothing is made without a `spec`.
    pub fn new(agent: &'a Agent, spec: Option<&'a InstanceSpec>, request: &'a ImageRequest) -> Self {
        let work = async move {
            let Some(spec) = spec else { return Made::default() };
            let sandbox = async { spec.sandboxed && agent.nics.house(spec).await.unwrap_or(false) };
            let (container, sandbox) = tokio::join!(container_ahead(agent, spec, request), sandbox);
            Made { container, sandbox }
        };
        Self { work: work.boxed(), made: None }
    }

    /// Goes on with it until `other` is done.
    pub async fn beside<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = pin!(other);
        loop {
            tokio::select! {
                biased;
                made = &mut self.work, if self.made.is_none() => self.made = Some(made),
                done = &mut other => return done,
            }
        }
    }

    /// Waits until all is made.
    pub async fn end(&mut self) -> Made {
        match self.made {
            Some(made) => made,
            None => *self.made.insert((&mut self.work).await),
        }
    }
}

async fn container_ahead(agent: &Agent, spec: &InstanceSpec, request: &ImageRequest) -> Container {
    let Some(image) = agent.images.cached(&request.id) else { return Container::Absent };
    if !agent.driver.create(spec, &image).await.unwrap_or(false) {
        return Container::Absent;
    }
    // A config drive tells the instance's zone, which is that of its host: there is none before the conductor says yes.
    if spec.sandboxed || agent.driver.has_config_drive(spec) {
        return Container::Made;
    }
    let start = async {
        agent.driver.set_up(spec).await?;
        agent.driver.power_on(spec.uuid).await
    };
    if start.await.is_err() { Container::Made } else { Container::Runs }
}

/// Makes and starts the container of an instance without ports; leaves none behind when it fails.
///
/// `prepared`: how far [`Ahead`] has come with it.
///
/// # Errors
/// [`Error::Cancelled`] when the instance is being deleted meanwhile, else what image store or hypervisor say.
pub async fn spawn(
    agent: &Agent,
    acting: &Acting,
    context: &RequestContext,
    (spec, request, prepared): (&InstanceSpec, &ImageRequest, Container),
) -> Result<(), Error> {
    let no_ports = NetworkInfo::new();
    if prepared != Container::Runs {
        tokio::try_join!(
            make(agent, acting, context, (spec, request, prepared)),
            agent.nics.fill_config_drive(spec, &no_ports),
        )?;
        agent.driver.start_new(spec).await?;
    }
    agent.nics.remember(spec, &no_ports);
    // Its namespace is there only now; nobody waits for the way to the metadata service.
    let (nics, uuid) = (agent.nics.clone(), spec.uuid);
    agent.life.spawn(async move { nics.started(uuid).await });
    Ok(())
}

/// As [`spawn`], with ports: they, the image and the sandbox are got side by side, and the container starts when its NICs are there.
///
/// Ports and what is on the host stay when it fails: the caller takes all of it away.
///
/// # Errors
/// As [`spawn`], and what [`network::allocate`] and [`network::wait_plugged`] say.
pub async fn spawn_connected(
    agent: &Agent,
    acting: &Acting,
    context: &RequestContext,
    (instance, connection): (&Instance, &Connection),
    (spec, request, ahead): (&InstanceSpec, &ImageRequest, &mut Ahead<'_>),
) -> Result<(), Error> {
    let (uuid, begun) = (acting.uuid(), Instant::now());
    // Before anything is bound, so that no event is missed.
    let mut watch = agent.events.watch(uuid);
    let allocate = async {
        let allocated = network::allocate(agent, context, instance, connection).await;
        tracing::debug!(
            milliseconds = begun.elapsed().as_millis(),
            ok = allocated.is_ok(),
            "Neutron has answered"
        );
        allocated
    };
    let make = async {
        let prepared = ahead.end().await.container;
        let made = make(agent, acting, context, (spec, request, prepared)).await;
        tracing::debug!(milliseconds = begun.elapsed().as_millis(), ?prepared, "the container is made");
        made
    };
    let (allocated, made) = tokio::join!(allocate, make);
    let network_info = allocated?;
    made?;
    let wanted = match &connection.ask {
        Ask::These(wanted) => wanted.as_slice(),
        _ => &[],
    };
    let record = async {
        if !network_info.is_empty() {
            let _alone = agent.caches.act(uuid).await;
            network::record(agent, context, uuid, (&NetworkInfo::new(), &network_info, wanted)).await?;
        }
        agent.nics.fill_config_drive(spec, &network_info).await
    };
    tokio::try_join!(record, agent.nics.prepare(spec, &network_info, true))?;
    tracing::debug!(milliseconds = begun.elapsed().as_millis(), "the ports are plugged and recorded");
    start_plugged(agent, acting, (&mut watch, spec, &network_info)).await
}

/// Makes and starts the container of an instance that was on no host, or on another: its ports are there and are bound to
/// this host now.
///
/// Ports and what is on the host stay when it fails: the caller takes all of it away.
///
/// # Errors
/// As [`spawn_connected`].
pub async fn spawn_bound(
    agent: &Agent,
    acting: &Acting,
    context: &RequestContext,
    (instance, spec, request): (&Instance, InstanceSpec, &ImageRequest),
) -> Result<(), Error> {
    let uuid = acting.uuid();
    let mut watch = agent.events.watch(uuid);
    let network_info = network::bind(agent, context, instance).await?;
    if network_info.is_empty() {
        return spawn(agent, acting, context, (&spec, request, Container::Absent)).await;
    }
    let spec = InstanceSpec { sandboxed: true, ..spec };
    let (made, filled, prepared) = tokio::join!(
        make(agent, acting, context, (&spec, request, Container::Absent)),
        agent.nics.fill_config_drive(&spec, &network_info),
        agent.nics.prepare(&spec, &network_info, true),
    );
    made?;
    filled?;
    prepared?;
    start_plugged(agent, acting, (&mut watch, &spec, &network_info)).await
}

/// Starts a container that is ready when the flows of its ports are.
async fn start_plugged(
    agent: &Agent,
    acting: &Acting,
    (watch, spec, network_info): (&mut Watch, &InstanceSpec, &NetworkInfo),
) -> Result<(), Error> {
    let waiting: Vec<_> = network_info.iter().filter(|vif| !vif.active).map(|vif| vif.id).collect();
    let mut plugged = pin!(network::wait_plugged(agent, acting, (watch, &waiting)));
    tokio::select! {
        biased;
        plugged = &mut plugged => {
            plugged?;
            Ok(agent.driver.start_new(spec).await?)
        }
        // The switch knows earlier than Neutron; the guest loses no packet from here on.
        () = agent.nics.ready(&waiting) => {
            tracing::debug!("the switch is ready");
            let start = async { Ok(agent.driver.start_new(spec).await?) };
            tokio::try_join!(start, plugged).map(drop)
        }
    }
}

/// Starts the container of an instance that exists. Its sandbox is brought back first if it is down, as after a restart
/// of Docker. `again`: its NICs are plugged again in any case.
///
/// # Errors
/// [`virt::Error::NotFound`] when there is no container.
pub async fn start(
    agent: &Agent,
    acting: &Acting,
    context: &RequestContext,
    again: bool,
) -> Result<(), Error> {
    ready_network(agent, acting, context, again).await?;
    // One that ended while it was frozen has the namespace of before.
    agent.nics.silence(acting.uuid(), false).await?;
    agent.driver.power_on(acting.uuid()).await?;
    agent.nics.started(acting.uuid()).await;
    Ok(())
}

/// A missing container is not made again silently: its disk is gone with it.
pub fn with_advice(error: Error) -> Error {
    match error {
        Error::Virt(virt::Error::NotFound { uuid }) => Error::Refused {
            class: "InstancePowerOnFailure",
            code: 500,
            message: format!(
                "The container of instance {uuid} is missing on its host. A hard reboot makes a new one from the image."
            ),
        },
        other => other,
    }
}

/// Makes sure that the sandbox of an instance that has one runs, with its NICs.
///
/// # Errors
/// What conductor, dockerd, kernel or switch say.
pub async fn ready_network(
    agent: &Agent,
    acting: &Acting,
    context: &RequestContext,
    again: bool,
) -> Result<(), Error> {
    let uuid = acting.uuid();
    if agent.nics.is_homeless(uuid) || (!again && agent.nics.has_running_sandbox(uuid).await?) {
        return Ok(());
    }
    if !agent.nics.sandboxed().await?.contains(&uuid) {
        return Ok(());
    }
    let instance = agent.conductor.instance(context, uuid, &ATTRIBUTES).await?;
    let network_info = network::network_info(agent, context, &instance).await?;
    let (_, properties) = image_of_instance(&instance);
    let spec = InstanceSpec { sandboxed: true, ..instance_spec(&instance, properties)? };
    agent.nics.prepare(&spec, &network_info, again).await
}

/// Makes the container of an instance again that lost it, from its image, and starts it.
///
/// # Errors
/// As [`spawn`].
pub async fn make_anew(agent: &Agent, acting: &Acting, context: &RequestContext) -> Result<(), Error> {
    let uuid = acting.uuid();
    let instance = agent.conductor.instance(context, uuid, &ATTRIBUTES).await?;
    let network_info = network::network_info(agent, context, &instance).await?;
    if let Some(disk) = agent.driver.moved(uuid).await? {
        // It came with its disk.
        return moves::land(agent, acting, (&instance, &disk), (&network_info, true)).await;
    }
    let (request, properties) = image_of_instance(&instance);
    let spec = instance_spec(&instance, properties)?;
    spawn_again(agent, acting, context, (spec, &request, &network_info)).await
}

/// Makes and starts a container for an instance that has had one here: what it had of the network stays.
///
/// # Errors
/// As [`spawn`].
pub async fn spawn_again(
    agent: &Agent,
    acting: &Acting,
    context: &RequestContext,
    (spec, request, network_info): (InstanceSpec, &ImageRequest, &NetworkInfo),
) -> Result<(), Error> {
    let sandboxed = !network_info.is_empty() || agent.nics.sandboxed().await?.contains(&spec.uuid);
    let spec = InstanceSpec { sandboxed, ..spec };
    if !sandboxed {
        return spawn(agent, acting, context, (&spec, request, Container::Absent)).await;
    }
    make(agent, acting, context, (&spec, request, Container::Absent)).await?;
    agent.nics.fill_config_drive(&spec, network_info).await?;
    agent.nics.prepare(&spec, network_info, true).await?;
    Ok(agent.driver.start_new(&spec).await?)
}

/// The container of an instance, not started, with what the user wants in it.
async fn make(
    agent: &Agent,
    acting: &Acting,
    context: &RequestContext,
    (spec, request, prepared): (&InstanceSpec, &ImageRequest, Container),
) -> Result<(), Error> {
    let spec = described::whole(agent, context, spec).await?;
    let spec = spec.as_ref();
    if prepared == Container::Absent {
        let image = ensure(agent, acting, context, request).await?;
        match agent.driver.make(spec, &image).await {
            // Somebody removed the image behind our back: fetch it and try once more.
            Err(virt::Error::ImageGone { .. }) => {
                agent.images.forget(&request.id).await;
                let image = ensure(agent, acting, context, request).await?;
                agent.driver.make(spec, &image).await?;
            }
            other => other?,
        }
    }
    Ok(agent.driver.set_up(spec).await?)
}

/// The image in Docker; gives up as soon as the instance is being deleted, for a download may take minutes.
async fn ensure(
    agent: &Agent,
    acting: &Acting,
    context: &RequestContext,
    request: &ImageRequest,
) -> Result<ImageHandle, Error> {
    let behalf = OnBehalf { user_token: context.auth_token(), request_id: Some(context.request_id()) };
    tokio::select! {
        biased;
        () = acting.cancelled() => Err(Error::Cancelled),
        image = agent.images.ensure(request, behalf) => Ok(image?),
    }
}
