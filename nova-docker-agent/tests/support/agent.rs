//! The whole agent between a scripted Nova, placement and dockerd.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::docker::Engine;
use common::openstack::Session;
use common::openstack::glance::Glance;
use common::openstack::neutron::Neutron;
use common::openstack::placement::Placement;
use common::shutdown::Shutdown;
use nova_docker_agent::activity::Activity;
use nova_docker_agent::agent::{Agent, Parts};
use nova_docker_agent::builds::Builds;
use nova_docker_agent::config::Config;
use nova_docker_agent::http::Health;
use nova_docker_agent::image::ImageStore;
use nova_docker_agent::instance::nics::Nics;
use nova_docker_agent::metrics::Metrics;
use nova_docker_agent::network::Ports;
use nova_docker_agent::resources::Provider;
use nova_docker_agent::startup;
use nova_docker_agent::virt::{Driver, Sandboxes};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::cloud::{self, Keystone};
use super::fuse::{Fuse, Step};
use super::nova::{Database, Host, Nova};
use super::peer::{Answer, Peer, Received};
use super::placement::{self, Ledger, Provided};
use super::tap::Tap;
use super::wiring::Wiring;
use super::{Directory, dockerd, glance, neutron};

/// The services that all hosts share.
struct Control {
    nova: Nova,
    neutron: neutron::Shared,
    glance: glance::Shared,
    ledger: Arc<Mutex<Option<Ledger>>>,
}

/// One agent and all its peers.
pub(crate) struct Cloud {
    /// The compute service's host.
    pub(crate) host: String,
    pub(crate) nova: Nova,
    pub(crate) docker: dockerd::Shared,
    /// Placement and Neutron, told apart by their paths.
    pub(crate) placement: Peer,
    pub(crate) neutron: neutron::Shared,
    pub(crate) glance: glance::Shared,
    /// What everybody holds of every host; without it placement says what a test wants.
    pub(crate) ledger: Arc<Mutex<Option<Ledger>>>,
    /// What placement says has allocations on this host.
    pub(crate) consumers: Arc<Mutex<Vec<String>>>,
    /// What else placement answers, by path.
    pub(crate) answers: Arc<Mutex<BTreeMap<String, Value>>>,
    /// Of all peers together.
    pub(crate) fuse: Fuse,
    pub(crate) wiring: Arc<Wiring>,
    pub(crate) engine: Peer,
    pub(crate) directory: Directory,
    pub(crate) life: Shutdown,
    /// Options that are not the usual ones.
    pub(crate) adjust: fn(&mut Config),
}

impl Cloud {
    pub(crate) async fn new(host: &str) -> Self {
        common::tls::install();
        let life = Shutdown::new();
        let nova = Nova::start(&life).await;
        let (neutron, glance) = (neutron::Shared::default(), glance::Shared::default());
        Self::with(host, life, Control { nova, neutron, glance, ledger: Arc::default() })
    }

    /// Another host of the same cloud.
    pub(crate) fn beside(&self, host: &str) -> Self {
        self.nova.with(|db| db.others.insert(host.to_owned(), Host::default()));
        let control = Control {
            nova: self.nova.clone(),
            neutron: self.neutron.clone(),
            glance: self.glance.clone(),
            ledger: self.ledger.clone(),
        };
        Self { adjust: self.adjust, ..Self::with(host, Shutdown::new(), control) }
    }

    fn with(host: &str, life: Shutdown, control: Control) -> Self {
        let Control { nova, neutron, glance, ledger } = control;
        let docker = dockerd::Shared::default();
        let keystone = Arc::new(Keystone::default());
        let state = Mutex::new(Provided::new(host));
        let (ports, images, fuse) = (neutron.clone(), glance.clone(), Fuse::default());
        let consumers: Arc<Mutex<Vec<String>>> = Arc::default();
        let asked = consumers.clone();
        let answers: Arc<Mutex<BTreeMap<String, Value>>> = Arc::default();
        let recorded = answers.clone();
        let answer = move |request: &Received| match request.path.as_str() {
            path if path.starts_with("/v2.0/") => neutron::answer(&ports, request),
            path if path.starts_with("/v2/images") => glance::answer(&mut images.lock().unwrap(), request),
            path if request.method == "GET" && recorded.lock().unwrap().contains_key(path) => {
                Answer::Json(200, recorded.lock().unwrap()[path].clone())
            }
            _ => placement::answer((&mut state.lock().unwrap(), &asked.lock().unwrap()), request),
        };
        let held = ledger.clone();
        let answer = move |request: &Received| {
            let shared =
                held.lock().unwrap().as_mut().and_then(|ledger| placement::of_ledger(ledger, request));
            shared.unwrap_or_else(|| answer(request))
        };
        let burning = fuse.clone();
        let rest = move |request: &Received| match burning.step(request.method != "GET") {
            Step::Go => answer(request),
            Step::Dead => Answer::Silence,
            Step::Last => {
                answer(request);
                Answer::Silence
            }
        };
        docker.lock().unwrap().fuse = fuse.clone();
        Self {
            host: host.to_owned(),
            nova,
            glance,
            ledger,
            consumers,
            answers,
            fuse,
            placement: cloud::start(keystone, rest),
            neutron,
            wiring: Arc::default(),
            engine: dockerd::start(docker.clone()),
            docker,
            directory: Directory::new(),
            life,
            adjust: |_| {},
        }
    }

    fn config(&self) -> Arc<Config> {
        let url = self.engine.url.replace("http://", "tcp://");
        let more = format!("docker_url = {url}\nmanagement_port = 0\n");
        let auth = format!("{}/identity", self.placement.url);
        let mut config = (*super::config(&self.directory, &self.host, &auth, &more)).clone();
        config.rpc_response_timeout = 1;
        config.vif_plugging_timeout = 1;
        (self.adjust)(&mut config);
        Arc::new(config)
    }

    fn tap(&self) -> Tap {
        Tap { broker: self.nova.broker.clone(), fuse: self.fuse.clone() }
    }

    /// Starts an agent; a second one is a restart.
    pub(crate) async fn agent(&self, life: &Shutdown) -> Result<Arc<Agent>, startup::Error> {
        start(self.config(), (self.tap(), self.wiring.clone()), life.clone()).await
    }

    /// As [`Cloud::agent`], in a runtime of its own: shut down, that ends the agent as a kill would.
    pub(crate) async fn agent_apart(&self) -> Runtime {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let peers = (self.tap(), self.wiring.clone());
        runtime.spawn(start(self.config(), peers, Shutdown::new())).await.unwrap().unwrap();
        runtime
    }

    /// A cloud with a running agent and an empty log.
    pub(crate) async fn running(host: &str) -> Self {
        let cloud = Self::new(host).await;
        cloud.agent(&cloud.life).await.unwrap();
        cloud.nova.with(Database::take_names);
        cloud.placement.take();
        cloud
    }

    pub(crate) fn docker<T>(&self, look: impl FnOnce(&mut dockerd::State) -> T) -> T {
        look(&mut self.docker.lock().unwrap())
    }
}

async fn start(
    config: Arc<Config>,
    (broker, wiring): (Tap, Arc<Wiring>),
    life: Shutdown,
) -> Result<Arc<Agent>, startup::Error> {
    let session = Session::new(config.auth.clone()).unwrap();
    let glance = Glance::new(&session, config.glance.clone());
    let engine = Engine::connect(&config.docker.docker_url).await.unwrap();
    let driver = Driver::new(engine.clone(), config.clone());
    let neutron = Neutron::new(&session, config.neutron.endpoint.clone());
    let sandboxes = Sandboxes::new(engine.clone(), config.clone());
    let parts = Parts {
        transport: Arc::new(broker),
        ports: Ports::new(neutron, &config.host, Duration::from_secs(600)),
        nics: Nics::new((wiring, None), (sandboxes, driver.clone())),
        builds: Builds::new(config.max_concurrent_builds),
        driver,
        images: ImageStore::new(engine.clone(), glance.clone(), &config).unwrap(),
        provider: Provider::new(Placement::new(&session, config.placement.clone())),
        metrics: Metrics::register(&mut prometheus_client::registry::Registry::default()),
        health: Arc::new(Health::default()),
        activity: Arc::new(Activity::default()),
        glance,
        engine,
        config,
    };
    Agent::start(parts, life).await
}
