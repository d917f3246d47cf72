//! Every handle a method needs, and the order in which the agent comes up and goes down.

use std::sync::Arc;
use std::time::Duration;

use common::ids::InstanceUuid;
use common::messaging::{self, Amqp, Client, Handler, Options, Server, Topic, Transport};
use common::objects::Instance;
use common::openstack::glance::Glance;
use common::shutdown::Shutdown;
use futures_util::FutureExt;
use tokio::sync::Semaphore;

use crate::activity::Activity;
use crate::builds::{Builds, semaphore};
use crate::compute::{self, ENDPOINTS};
use crate::conductor::Conductor;
use crate::config::Config;
use crate::console::Consoles;
use crate::disk::Depot;
use crate::error::Error;
use crate::http::Health;
use crate::image::ImageStore;
use crate::instance::attaching::Attaching;
use crate::instance::changing::Changing;
use crate::instance::locks::{Acting, Locks};
use crate::instance::lost_builds;
use crate::instance::nics::Nics;
use crate::instance::notes::Notes;
use crate::instance::refusing::Refusal;
use crate::instance::stale::Settled;
use crate::metrics::Metrics;
use crate::network::{Events, Ports};
use crate::resources::{Provider, Tracker};
use crate::virt::Driver;
use crate::{periodic, startup};

/// How long running work may take after SIGTERM (Nova: `manager_shutdown_timeout`).
const DRAIN: Duration = Duration::from_secs(160);

/// What the agent is made of. The tests put simulated peers in the place of the real ones, at their sockets.
pub struct Parts {
    /// The operator's options.
    pub config: Arc<Config>,
    /// The broker.
    pub transport: Arc<dyn Transport>,
    /// The hypervisor.
    pub driver: Driver,
    /// The ports in Neutron.
    pub ports: Ports,
    /// The ports on this host.
    pub nics: Nics,
    /// How many builds at the same time.
    pub builds: Builds,
    /// The images.
    pub images: ImageStore,
    /// Glance, for what is not about booting.
    pub glance: Glance,
    /// Placement.
    pub provider: Provider,
    /// dockerd, for the facts of the host.
    pub engine: common::docker::Engine,
    /// Numbers for Prometheus.
    pub metrics: Metrics,
    /// What `/healthz` says.
    pub health: Arc<Health>,
    /// What was done lately, for the operator's page.
    pub activity: Arc<Activity>,
}

/// A running agent.
pub struct Agent {
    /// The operator's options.
    pub config: Arc<Config>,
    /// nova-conductor.
    pub conductor: Conductor,
    /// The hypervisor.
    pub driver: Driver,
    /// The ports in Neutron.
    pub ports: Ports,
    /// The ports on this host.
    pub nics: Nics,
    /// The images.
    pub images: ImageStore,
    /// Glance, for what is not about booting.
    pub glance: Glance,
    /// Placement.
    pub provider: Provider,
    /// dockerd, for the facts of the host.
    pub engine: common::docker::Engine,
    /// What the instances take.
    pub tracker: Tracker,
    /// Who acts on which instance.
    pub locks: Locks,
    /// Consoles in users' browsers.
    pub consoles: Consoles,
    /// Who changes the info cache of which instance.
    pub caches: Locks,
    /// Ports that instances are getting.
    pub attaching: Attaching,
    /// Instances whose ports change.
    pub changing: Changing,
    /// Moves to this host that it refuses.
    pub refusing: Notes<Refusal>,
    /// Builds that are given back to the conductor.
    pub giving_back: Notes<()>,
    /// Who waits for which events.
    pub events: Events,
    /// The disks that are on their way from here.
    pub depot: Depot,
    /// Held while it is decided whether a server group lets an instance in.
    pub groups: tokio::sync::Mutex<()>,
    /// How many builds at the same time.
    pub builds: Builds,
    /// How many snapshots at the same time.
    pub snapshots: Semaphore,
    /// Numbers for Prometheus.
    pub metrics: Metrics,
    /// What `/healthz` says.
    pub health: Arc<Health>,
    /// What was done lately, for the operator's page.
    pub activity: Arc<Activity>,
    /// When this run began to look at the instances.
    pub started: jiff::Timestamp,
    /// What was gone on with then.
    pub settled: Settled,
    /// Start and end of the process.
    pub life: Shutdown,
    transport: Arc<dyn Transport>,
}

/// Connects to RabbitMQ as the options say; returns at once and goes on trying for ever.
///
/// # Errors
/// When `transport_url` cannot be read.
pub fn amqp(config: &Config, life: &Shutdown) -> Result<Amqp, messaging::Error> {
    let rabbit = &config.rabbit;
    let options = Options {
        durable_queues: rabbit.amqp_durable_queues,
        auto_delete: rabbit.amqp_auto_delete,
        quorum_queue: rabbit.rabbit_quorum_queue,
        transient_quorum_queue: rabbit.rabbit_transient_quorum_queue,
        transient_ttl: Duration::from_secs(rabbit.rabbit_transient_queues_ttl),
        heartbeat: rabbit.heartbeat_timeout_threshold,
        connection_name: format!("nova-compute:{}:nova-docker-agent", std::process::id()),
    };
    Amqp::start(config.transport_url.reveal(), options, life)
}

impl Agent {
    /// Brings the agent up: registers, recovers, publishes, then takes requests (RPC-SURFACE §5.1).
    ///
    /// # Errors
    /// When the agent must not run: see [`startup::Error`]. Peers that are away are waited for.
    pub async fn start(parts: Parts, life: Shutdown) -> Result<Arc<Self>, startup::Error> {
        Self::watch_transport(&parts, &life);
        let config = parts.config;
        let timeout = Duration::from_secs(config.rpc_response_timeout);
        let client =
            Client::start(Arc::clone(&parts.transport), &config.control_exchange, timeout, &life).await?;
        let conductor = Conductor::new(client, &config.host, parts.metrics.clone());
        let identity = startup::identify(&conductor, &config, (&parts.driver, &parts.engine)).await?;
        let tracker = Tracker::start(
            (conductor.clone(), parts.provider.clone(), Arc::clone(&config)),
            identity.facts.clone(),
            (&identity.node_uuid, identity.service.id().unwrap_or_default()),
        )
        .await?;
        let snapshots = config.max_concurrent_snapshots;
        let consoles = Consoles::new(parts.driver.clone(), life.clone());
        let agent = Arc::new(Self {
            conductor,
            tracker,
            attaching: Attaching::new(&config.state_path),
            changing: Changing::new(&config.state_path),
            refusing: Notes::new(&config.state_path, "refusing"),
            giving_back: Notes::new(&config.state_path, "giving-back"),
            depot: Depot::new(Arc::clone(&config), life.clone()),
            config,
            driver: parts.driver,
            ports: parts.ports,
            nics: parts.nics,
            images: parts.images,
            glance: parts.glance,
            provider: parts.provider,
            engine: parts.engine,
            consoles,
            locks: Locks::default(),
            caches: Locks::default(),
            events: Events::default(),
            groups: tokio::sync::Mutex::default(),
            builds: parts.builds,
            snapshots: semaphore(snapshots),
            metrics: parts.metrics,
            health: parts.health,
            activity: parts.activity,
            started: jiff::Timestamp::now(),
            settled: Settled::default(),
            life,
            transport: parts.transport,
        });
        let waiting = startup::recover(&agent).await?;
        startup::first_audit(&agent, &identity).await;
        agent.serve().await?;
        lost_builds::watch(&agent, waiting);
        periodic::start(&agent, identity.service);
        tracing::info!(host = agent.config.host, "serving");
        Ok(agent)
    }

    /// Begins to take requests.
    async fn serve(self: &Arc<Self>) -> Result<(), messaging::Error> {
        let agent = Arc::clone(self);
        let handler: Handler =
            Arc::new(move |request| compute::dispatch(Arc::clone(&agent), request).boxed());
        let server = Server::new(Arc::clone(&self.transport), ENDPOINTS.to_vec(), handler, self.life.clone());
        let topic = |name: &str| Topic {
            exchange: self.config.control_exchange.clone(),
            name: name.to_owned(),
            host: self.config.host.clone(),
        };
        // `compute-alt` is used by control planes from 2026.1 on and harmless before.
        server.serve(&[topic("compute"), topic("compute-alt")]).await
    }

    /// Waits for the right to act on an instance.
    ///
    /// # Errors
    /// [`Error::Arguments`] when the instance has no usable uuid.
    pub async fn acting(&self, instance: &Instance) -> Result<Acting, Error> {
        Ok(self.locks.act(self.acting_uuid(instance)?).await)
    }

    /// The uuid of the instance that a request is about.
    ///
    /// # Errors
    /// [`Error::Arguments`] when it has no usable one.
    pub fn acting_uuid(&self, instance: &Instance) -> Result<InstanceUuid, Error> {
        instance.instance_uuid().ok_or_else(|| Error::Arguments {
            method: "acting".into(),
            problem: "the instance has no uuid".into(),
        })
    }

    /// Keeps `/healthz` informed about the broker, from before the first answer of the conductor on.
    fn watch_transport(parts: &Parts, life: &Shutdown) {
        let (transport, health) = (Arc::clone(&parts.transport), Arc::clone(&parts.health));
        let life = life.clone();
        life.clone().spawn_service(async move {
            loop {
                health.amqp(transport.connected());
                tokio::select! {
                    () = life.closed() => return,
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                }
            }
        });
    }

    /// Stops: no new requests, running ones are finished, then the broker is left. The containers run on.
    pub async fn stop(&self) {
        tracing::info!("stopping; running work is finished first");
        // Queues first, then the work; the connection is needed for both and closed at the very end.
        self.life.stop();
        let transport = Arc::clone(&self.transport);
        let unfinished = self.life.finish_work(DRAIN).await;
        if unfinished > 0 {
            tracing::error!(unfinished, "work was cut off; it is picked up at the next start");
        }
        transport.close().await;
        self.life.drain(Duration::ZERO).await;
    }
}
