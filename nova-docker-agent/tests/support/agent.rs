//! The whole agent between a scripted Nova, placement and dockerd.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::docker::Engine;
use common::messaging::Memory;
use common::openstack::Session;
use common::openstack::glance::Glance;
use common::openstack::neutron::Neutron;
use common::openstack::placement::Placement;
use common::shutdown::Shutdown;
use nova_docker_agent::agent::{Agent, Parts};
use nova_docker_agent::config::Config;
use nova_docker_agent::http::Health;
use nova_docker_agent::image::ImageStore;
use nova_docker_agent::instance::nics::Nics;
use nova_docker_agent::metrics::Metrics;
use nova_docker_agent::network::Ports;
use nova_docker_agent::resources::Provider;
use nova_docker_agent::startup;
use nova_docker_agent::virt::{Driver, Sandboxes};
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use super::cloud::{self, Keystone};
use super::fuse::{Fuse, Step};
use super::nova::{Database, Nova};
use super::peer::{Answer, Peer, Received};
use super::wiring::Wiring;
use super::{Directory, dockerd, glance, neutron};

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
    /// What placement says has allocations on this host.
    pub(crate) consumers: Arc<Mutex<Vec<String>>>,
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
        let docker = dockerd::Shared::default();
        let keystone = Arc::new(Keystone::default());
        let state = Mutex::new(Provided { name: host.to_owned(), ..Provided::default() });
        let (neutron, glance) = (neutron::Shared::default(), glance::Shared::default());
        let (ports, images, fuse) = (neutron.clone(), glance.clone(), Fuse::default());
        let consumers: Arc<Mutex<Vec<String>>> = Arc::default();
        let asked = consumers.clone();
        let answer = move |request: &Received| match request.path.as_str() {
            path if path.starts_with("/v2.0/") => neutron::answer(&ports, request),
            path if path.starts_with("/v2/images") => glance::answer(&mut images.lock().unwrap(), request),
            _ => placement((&mut state.lock().unwrap(), &asked.lock().unwrap()), request),
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
        let nova = Nova::start(&life).await;
        nova.with(|db| db.fuse = fuse.clone());
        Self {
            host: host.to_owned(),
            nova,
            glance,
            consumers,
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

    /// Starts an agent; a second one is a restart.
    pub(crate) async fn agent(&self, life: &Shutdown) -> Result<Arc<Agent>, startup::Error> {
        start(self.config(), (self.nova.broker.clone(), self.wiring.clone()), life.clone()).await
    }

    /// As [`Cloud::agent`], in a runtime of its own: shut down, that ends the agent as a kill would.
    pub(crate) async fn agent_apart(&self) -> Runtime {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let peers = (self.nova.broker.clone(), self.wiring.clone());
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
    (broker, wiring): (Memory, Arc<Wiring>),
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
        driver,
        images: ImageStore::new(engine.clone(), glance.clone(), &config).unwrap(),
        provider: Provider::new(Placement::new(&session, config.placement.clone())),
        metrics: Metrics::register(&mut prometheus_client::registry::Registry::default()),
        health: Arc::new(Health::default()),
        glance,
        engine,
        config,
    };
    Agent::start(parts, life).await
}

/// What placement keeps of the host.
#[derive(Default)]
struct Provided {
    /// Its name.
    name: String,
    /// The provider was made.
    known: bool,
    inventories: Map<String, Value>,
    traits: Vec<Value>,
}

/// A placement that agrees to everything and keeps what it is told of the host.
fn placement((state, consumers): (&mut Provided, &[String]), request: &Received) -> Answer {
    let generation = 1;
    match (request.method.as_str(), request.path.rsplit('/').next().unwrap_or_default()) {
        ("GET", "traits") if request.query.starts_with("name=in:") => {
            let asked: Vec<&str> = request.query["name=in:".len()..].split(',').collect();
            Answer::Json(200, json!({"traits": asked}))
        }
        ("GET", _) if request.path.starts_with("/allocations/") => Answer::Json(
            200,
            json!({"allocations": {"rp": {"resources": {"VCPU": 1}}}, "consumer_generation": 3, "project_id": "p",
                   "user_id": "u"}),
        ),
        ("PUT", _) if request.path.starts_with("/allocations/") => Answer::Empty(204),
        ("GET", "allocations") => {
            let each = |uuid: &String| (uuid.clone(), json!({"resources": {"VCPU": 1}}));
            let all: Map<String, Value> = consumers.iter().map(each).collect();
            Answer::Json(200, json!({"allocations": all}))
        }
        ("POST", "resource_providers") => {
            state.known = true;
            Answer::Json(
                200,
                json!({"uuid": request.body["uuid"], "name": state.name, "generation": generation}),
            )
        }
        (method, kind @ ("inventories" | "traits")) => {
            if method == "PUT" && kind == "traits" {
                state.traits = request.body["traits"].as_array().cloned().unwrap();
            } else if method == "PUT" {
                state.inventories = request.body["inventories"].as_object().cloned().unwrap();
            }
            Answer::Json(
                200,
                json!({"inventories": state.inventories, "traits": state.traits, "resource_provider_generation": generation}),
            )
        }
        ("GET", _) if !state.known => Answer::Json(404, json!({"errors": []})),
        ("GET", uuid) => {
            Answer::Json(200, json!({"uuid": uuid, "name": state.name, "generation": generation}))
        }
        ("DELETE", _) => Answer::Empty(204),
        _ => Answer::Json(404, json!({"errors": []})),
    }
}
