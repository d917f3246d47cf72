//! `services.yaml`: WHAT runs. One entry per image and per service; a new service is data here and templates, no Rust.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::configuration::Mechanism;
use super::units::Memory;
use super::yaml::{At, Entries};

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Services {
    /// Images by short name; the Docker name is `<images.repository>/<name>:<release>`.
    #[serde(default)]
    pub images: Entries<Image>,
    /// Services by name; the container is `<project>-<name>`.
    pub services: Entries<Service>,
}

/// How one image is built.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Template below `dockerfiles/`.
    pub dockerfile: At<String>,
    /// The image it sits on; absent: the Debian root file system, or nothing (`scratch`) when the Dockerfile says so.
    #[serde(default)]
    pub from: Option<At<String>>,
    /// Files below `dockerfiles/` put into the build context under the same path.
    #[serde(default)]
    pub files: Vec<At<String>>,
    /// Programs of this repository put into the build context under `bin/`.
    #[serde(default)]
    pub binaries: Vec<At<String>>,
}

/// One service: a container that stays, with what it needs before it starts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Image, by its name in `images`.
    pub image: At<String>,
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// Package whose version `status` shows: of the image's lock file of Python packages, else of Debian.
    #[serde(default)]
    pub package: Option<String>,
    /// Numeric user id, also used as group id.
    pub user: At<u32>,
    /// The program and its arguments; `octo-init` is put in front by the engine.
    pub command: Vec<String>,
    /// Path in the container -> template below `dockerfiles/`.
    #[serde(default)]
    pub config: Entries<At<String>>,
    /// What its templates read as `variables.<name>`: where services that share them differ.
    #[serde(default)]
    pub variables: BTreeMap<String, serde_json::Value>,
    /// Bridge (with the other services), the host's own network, or that of another service.
    #[serde(default)]
    pub network: At<Network>,
    /// Fixed host number in the platform's subnet; host-network services need one to reach it.
    #[serde(default)]
    pub address: Option<At<u32>>,
    /// Ports published on `api_address` under the same number, also for the services that join this one's network.
    #[serde(default)]
    pub ports: Vec<At<u16>>,
    /// Kernel settings of the network namespace, for example `net.ipv4.ip_forward: "1"`.
    #[serde(default)]
    pub sysctls: Entries<String>,
    /// `host`: sees the processes of the whole host.
    #[serde(default)]
    pub pid: Option<Pid>,
    /// Named volume -> path in the container.
    #[serde(default)]
    pub volumes: Entries<String>,
    /// A folder of its own on the host, at the same path in the container: what dockerd must find where the service
    /// says it is. The command has it as `{{ host_folder }}`.
    #[serde(default)]
    pub host_folder: bool,
    /// Path on the host -> path in the container (`:ro` may follow).
    #[serde(default)]
    pub mounts: Entries<String>,
    /// Paths in memory beside /tmp and /run.
    #[serde(default)]
    pub tmpfs: Vec<String>,
    /// Linux capabilities kept; all others are dropped.
    #[serde(default)]
    pub capabilities: Vec<At<String>>,
    /// Devices of the host, under the same path.
    #[serde(default)]
    pub devices: Vec<At<String>>,
    /// Further numeric group ids of the user: for files it shares with another service.
    #[serde(default)]
    pub groups: Vec<u32>,
    /// Read-only root file system.
    #[serde(default = "yes")]
    pub read_only: bool,
    /// Environment; values are templates. Secrets do not belong here: `docker inspect` shows them.
    #[serde(default)]
    pub environment: Entries<String>,
    /// `api`: publishes the port of every API on `api_address`. For the load balancer alone.
    #[serde(default)]
    pub publish: Option<At<Publish>>,
    /// Services that are ready before this one's jobs and start.
    #[serde(default)]
    pub depends_on: Vec<At<String>>,
    /// When the service counts as ready.
    #[serde(default)]
    pub ready: Option<At<Ready>>,
    /// Docker's own health check, run every 15 seconds through `octo-init probe`.
    #[serde(default)]
    pub health: Option<At<Health>>,
    /// Seconds between the stop signal and the kill.
    #[serde(default = "thirty")]
    pub stop_timeout: u32,
    /// Memory limit.
    #[serde(default)]
    pub memory: Option<Memory>,
    /// An API behind the load balancer.
    #[serde(default)]
    pub api: Option<Api>,
    /// Databases, users and secrets.
    #[serde(default)]
    pub needs: Needs,
    /// Jobs before the start, in order.
    #[serde(default)]
    pub init: Vec<Job>,
    /// Off unless `configuration.yaml` says otherwise.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Present only when this profile is asked for.
    #[serde(default)]
    pub profile: Option<String>,
    /// Present only when this mechanism makes the cloud's networks (`networks.mechanism` in `configuration.yaml`). Who depends on
    /// it does without it otherwise.
    #[serde(default)]
    pub mechanism: Option<Mechanism>,
}

impl Service {
    /// The service whose network namespace it lives in, when that is not its own.
    pub fn joins(&self) -> Option<&str> {
        match &self.network.value {
            Network::Service(owner) => Some(owner),
            Network::Bridge | Network::Host => None,
        }
    }

    /// Whether it has a part in a cloud whose networks are made by `mechanism`.
    pub fn is_of(&self, mechanism: Mechanism) -> bool {
        self.mechanism.is_none_or(|wanted| wanted == mechanism)
    }

    /// The services that are ready before this one: those it depends on, and the one whose network it joins.
    pub fn waits_for(&self) -> impl Iterator<Item = &str> {
        self.depends_on.iter().map(|other| other.as_str()).chain(self.joins())
    }
}

fn yes() -> bool {
    true
}

fn thirty() -> u32 {
    30
}

/// The network a container lives in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Network {
    /// The platform's own bridge.
    #[default]
    Bridge,
    /// The host's network.
    Host,
    /// `service:<name>`: the network namespace of that service's container.
    Service(String),
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match (text.as_str(), text.strip_prefix("service:")) {
            ("bridge", _) => Ok(Network::Bridge),
            ("host", _) => Ok(Network::Host),
            (_, Some(owner)) => Ok(Network::Service(owner.trim().to_owned())),
            (other, None) => {
                Err(D::Error::unknown_variant(other, &["bridge", "host", "service:<name of a service>"]))
            }
        }
    }
}

/// The process namespace a container lives in, when that is not its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pid {
    /// The host's.
    Host,
}

/// What a service publishes on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Publish {
    /// Every `api.port` of the enabled services.
    Api,
}

/// A readiness gate: exactly one probe, and how long to wait for it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// A GET answered with 200..399 (or 300, as version documents are).
    #[serde(default)]
    pub http: Option<HttpProbe>,
    /// A port that accepts connections.
    #[serde(default)]
    pub tcp: Option<TcpProbe>,
    /// MariaDB answers a query of its root account.
    #[serde(default)]
    pub mysql: Option<Empty>,
    /// RabbitMQ accepts our login.
    #[serde(default)]
    pub amqp: Option<Empty>,
    /// An RPC server consumes this topic.
    #[serde(default)]
    pub rpc: Option<RpcProbe>,
    /// This text appears in the log since the start.
    #[serde(default)]
    pub log: Option<String>,
    /// This program, run in the container, ends with code 0.
    #[serde(default)]
    pub exec: Option<Vec<String>>,
    /// Seconds.
    #[serde(default = "two_minutes")]
    pub timeout: u64,
}

fn two_minutes() -> u64 {
    120
}

/// `{}`: a probe without settings.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// GET `http://<container>:<port><path>`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpProbe {
    /// Port in the container.
    pub port: u16,
    /// Path with its leading slash.
    #[serde(default = "root_path")]
    pub path: String,
}

fn root_path() -> String {
    "/".into()
}

/// Connect to a port of the container.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpProbe {
    /// Port in the container.
    pub port: u16,
}

/// A topic of oslo.messaging.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcProbe {
    /// For example `conductor`.
    pub topic: String,
}

/// Docker's health check; exactly one of the two.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// GET on a port of the container itself.
    #[serde(default)]
    pub http: Option<HttpProbe>,
    /// Connect to a port of the container itself.
    #[serde(default)]
    pub tcp: Option<TcpProbe>,
}

/// An HTTP API or a web site: becomes a frontend of the load balancer, and an API an entry of Keystone's catalogue.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// The classic port, the same in the container, at the load balancer and on the host.
    pub port: At<u16>,
    /// Path the load balancer checks, expecting 200..399; absent: it checks the port.
    #[serde(default)]
    pub check: Option<String>,
    /// Entry of Keystone's catalogue.
    #[serde(default)]
    pub catalogue: Option<Catalogue>,
    /// A web site: the load balancer speaks TLS for it, and shows what runs while it comes up.
    #[serde(default)]
    pub site: Option<Site>,
}

/// What a web site has more than an API.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Paths that other services answer.
    #[serde(default)]
    pub routes: Vec<Route>,
}

/// A path of a site that another service answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// How the path begins, for example `/serial/`.
    pub path: String,
    /// The service.
    pub service: At<String>,
    /// Its port in its container.
    pub port: u16,
}

/// A service in Keystone's catalogue.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Service type, for example `compute`.
    #[serde(rename = "type")]
    pub kind: At<String>,
    /// Service name, for example `nova`.
    pub name: String,
    /// Path appended to the endpoint's URL.
    #[serde(default)]
    pub path: String,
}

/// What must exist before a service's jobs run.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Needs {
    /// Databases, created with character set utf8mb3 as OpenStack's migrations expect.
    #[serde(default)]
    pub databases: Vec<At<String>>,
    /// Account of these databases; default: the service's name with underscores.
    #[serde(default)]
    pub database_user: Option<At<String>>,
    /// User in Keystone's project `service` with the roles admin and service.
    #[serde(default)]
    pub keystone_user: Option<At<String>>,
    /// Further secrets by name.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretKind>,
}

/// How a secret is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretKind {
    /// 32 characters of letters and digits.
    Password,
    /// A Fernet key: 32 random bytes in URL-safe base64.
    Fernet,
    /// 32 random bytes as 64 hexadecimal digits.
    Hex,
    /// A private key and its certificate for `api_address`, signed by itself: PEM, the key first.
    Certificate,
}

/// A container that runs once, to its end.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Name; the container is `<project>-<service>-<name>`.
    pub name: At<String>,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// User id when it differs from the service's.
    #[serde(default)]
    pub user: Option<u32>,
    /// Network when it differs from the service's.
    #[serde(default)]
    pub network: Option<At<Network>>,
    /// Seconds the job may take.
    #[serde(default = "ten_minutes")]
    pub timeout: u64,
}

fn ten_minutes() -> u64 {
    600
}
