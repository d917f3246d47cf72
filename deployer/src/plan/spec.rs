//! Service + rendered files -> the container Docker shall run. Hashed, so that a second look tells whether it is still the same.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use common::config::{Health, Job, Network, Pid, Service};
use serde::Serialize;

use super::hash::Key;
use super::platform::Platform;
use crate::render::File;

/// Where `octo-init` is in every image.
const INIT: &str = "/usr/local/bin/octo-init";
/// Where a container finds its log folder.
const LOGS: &str = "/var/log/octopenstack";
/// More processes than any of our services has; a runaway one does not take the host with it.
const PIDS: i64 = 2048;

/// A container that stays, or one that runs to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Service,
    Job,
}

/// Everything Docker is told of a container. Ordered maps only: its JSON is hashed.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ContainerSpec {
    pub(crate) name: String,
    pub(crate) service: String,
    pub(crate) kind: Kind,
    pub(crate) image: String,
    /// Id of the image: a rebuilt image is another container.
    pub(crate) image_id: String,
    pub(crate) command: Vec<String>,
    pub(crate) user: u32,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) config: Vec<Mount>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) tmpfs: Vec<String>,
    pub(crate) capabilities: Vec<String>,
    // Parts that few have are left out of the hash of those that have none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) devices: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) groups: Vec<u32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) sysctls: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<Pid>,
    pub(crate) read_only: bool,
    pub(crate) network: Attachment,
    pub(crate) ports: Vec<(Ipv4Addr, u16)>,
    pub(crate) memory: Option<u64>,
    pub(crate) pids: i64,
    pub(crate) stop_timeout: u32,
    pub(crate) health: Option<Vec<String>>,
}

/// A path of the host, or a named volume, in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Mount {
    pub(crate) volume: bool,
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) read_only: bool,
}

/// How a container is attached to a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Attachment {
    Bridge {
        network: String,
        alias: Option<String>,
        address: Option<Ipv4Addr>,
    },
    Host,
    /// The network namespace of the container of another service.
    Joined {
        service: String,
        container: String,
    },
}

/// A folder of the host that must exist before the container: rendered files, or the log folder.
#[derive(Clone)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    pub(crate) owner: u32,
    /// Files below it, by their path in the container. Empty for a log folder.
    pub(crate) files: Vec<File>,
}

/// A container with all it needs on the host.
#[derive(Clone)]
pub(crate) struct Desired {
    pub(crate) spec: ContainerSpec,
    /// Keyed hash of `spec`.
    pub(crate) hash: String,
    /// Short keyed hashes of the parts of `spec`, to say what changed.
    pub(crate) parts: String,
    pub(crate) config: Folder,
    pub(crate) log: Folder,
    /// The service's own folder on the host, where it has one.
    pub(crate) host_folder: Option<PathBuf>,
    /// Seconds a job may take.
    pub(crate) timeout: u64,
}

/// What the specs of one service are made of.
pub(crate) struct Ingredients<'a> {
    pub(crate) platform: &'a Platform,
    pub(crate) key: &'a Key,
    /// Folder of rendered files of the project.
    pub(crate) rendered: &'a Path,
    /// Folder of the logs.
    pub(crate) logs: &'a Path,
    /// Where the service's own folder on the host is, if it wants one.
    pub(crate) host_folder: &'a Path,
    pub(crate) name: &'a str,
    pub(crate) service: &'a Service,
    pub(crate) image_id: &'a str,
    pub(crate) files: &'a [File],
    /// Values of `environment`, rendered.
    pub(crate) environment: &'a BTreeMap<String, String>,
}

impl Ingredients<'_> {
    /// The service's own container.
    pub(crate) fn service(&self, command: &[String]) -> Desired {
        let platform = self.platform;
        let network =
            self.attachment(&self.service.network, Some(self.name), platform.fixed_address(self.name));
        let address = *platform.config.configuration.api_address;
        let ports = platform.published(self.name).map(|(port, _)| (address, port)).collect();
        let spec = ContainerSpec {
            name: platform.container(self.name),
            kind: Kind::Service,
            network,
            ports,
            sysctls: self
                .service
                .sysctls
                .iter()
                .map(|(setting, value)| (setting.value.clone(), value.clone()))
                .collect(),
            health: self
                .service
                .health
                .as_deref()
                .and_then(|health| health_command(health, platform.own_address(self.name))),
            ..self.common(self.service.user.value, self.name, command)
        };
        self.desired(spec, self.name, 0)
    }

    /// One of the service's jobs.
    pub(crate) fn job(&self, job: &Job, command: &[String]) -> Desired {
        let network = self.attachment(job.network.as_ref().unwrap_or(&self.service.network), None, None);
        let log = format!("{}-{}", self.name, job.name);
        let spec = ContainerSpec {
            name: self.platform.job_container(self.name, job),
            kind: Kind::Job,
            network,
            ..self.common(job.user.unwrap_or(self.service.user.value), &log, command)
        };
        self.desired(spec, &log, job.timeout)
    }

    fn attachment(&self, network: &Network, alias: Option<&str>, address: Option<Ipv4Addr>) -> Attachment {
        match network {
            Network::Host => Attachment::Host,
            Network::Bridge => Attachment::Bridge {
                network: self.platform.network(),
                alias: alias.map(str::to_owned),
                address,
            },
            Network::Service(owner) => {
                Attachment::Joined { service: owner.clone(), container: self.platform.container(owner) }
            }
        }
    }

    fn common(&self, user: u32, log: &str, command: &[String]) -> ContainerSpec {
        let log_file = format!("{LOGS}/{log}.log");
        let run = [INIT, "run", "--log", &log_file, "--"].map(str::to_owned);
        ContainerSpec {
            name: String::new(),
            service: self.name.to_owned(),
            kind: Kind::Service,
            image: self.platform.image(&self.service.image),
            image_id: self.image_id.to_owned(),
            command: run.into_iter().chain(command.iter().cloned()).collect(),
            user,
            environment: self.environment.clone(),
            config: Vec::new(),
            mounts: self.mounts(),
            tmpfs: ["/tmp", "/run"]
                .into_iter()
                .map(str::to_owned)
                .chain(self.service.tmpfs.iter().cloned())
                .collect(),
            capabilities: self
                .service
                .capabilities
                .iter()
                .map(|capability| capability.value.clone())
                .collect(),
            devices: self.service.devices.iter().map(|device| device.value.clone()).collect(),
            groups: self.service.groups.clone(),
            sysctls: BTreeMap::new(),
            pid: self.service.pid,
            read_only: self.service.read_only,
            network: Attachment::Host,
            ports: Vec::new(),
            memory: self.platform.memory(self.name),
            pids: PIDS,
            stop_timeout: self.service.stop_timeout,
            health: None,
        }
    }

    fn mounts(&self) -> Vec<Mount> {
        let volumes = self.service.volumes.iter().map(|(volume, path)| Mount {
            volume: true,
            source: self.platform.volume(volume),
            target: path.clone(),
            read_only: false,
        });
        let paths = self.service.mounts.iter().map(|(source, target)| Mount {
            volume: false,
            source: source.value.clone(),
            target: target.strip_suffix(":ro").unwrap_or(target).to_owned(),
            read_only: target.ends_with(":ro"),
        });
        let own = self.host_folder().map(|folder| Mount {
            volume: false,
            source: folder.display().to_string(),
            target: folder.display().to_string(),
            read_only: false,
        });
        volumes.chain(paths).chain(own).collect()
    }

    fn host_folder(&self) -> Option<PathBuf> {
        self.service.host_folder.then(|| self.host_folder.to_owned())
    }

    fn desired(&self, mut spec: ContainerSpec, log: &str, timeout: u64) -> Desired {
        let config = self.config_folder(spec.user);
        let mount = |file: &File| Mount {
            volume: false,
            source: host_path(&config.path, &file.path).display().to_string(),
            target: file.path.clone(),
            read_only: true,
        };
        spec.config = config.files.iter().map(mount).collect();
        let log = Folder { path: self.logs.join(log), owner: spec.user, files: Vec::new() };
        spec.mounts.push(Mount {
            volume: false,
            source: log.path.display().to_string(),
            target: LOGS.to_owned(),
            read_only: false,
        });
        Desired {
            hash: self.key.hash_json(&spec),
            parts: parts(self.key, &spec),
            spec,
            config,
            log,
            host_folder: self.host_folder(),
            timeout,
        }
    }

    /// The folder is named after what is in it, so that it never changes under a running container.
    fn config_folder(&self, owner: u32) -> Folder {
        let owner_text = owner.to_string();
        let parts = self.files.iter().flat_map(|file| [file.path.as_bytes(), file.content.as_slice()]);
        let hash = self.key.hash([owner_text.as_bytes()].into_iter().chain(parts));
        Folder { path: self.rendered.join(self.name).join(&hash[..12]), owner, files: self.files.to_vec() }
    }
}

/// Where a file of the container lies below its folder on the host.
pub(crate) fn host_path(folder: &Path, path: &str) -> PathBuf {
    folder.join(path.trim_start_matches('/'))
}

fn health_command(health: &Health, address: Ipv4Addr) -> Option<Vec<String>> {
    let (kind, target) = match (&health.http, &health.tcp) {
        (Some(http), _) => ("http", format!("http://{address}:{}{}", http.port, http.path)),
        (None, Some(tcp)) => ("tcp", format!("{address}:{}", tcp.port)),
        (None, None) => return None,
    };
    Some(vec!["CMD".into(), INIT.into(), "probe".into(), kind.into(), target])
}

/// `name=hash` for each part of a spec, separated by blanks.
fn parts(key: &Key, spec: &ContainerSpec) -> String {
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(spec) else { return String::new() };
    let short =
        |(name, value): (&String, &serde_json::Value)| format!("{name}={}", &key.hash_json(value)[..8]);
    fields.iter().map(short).collect::<Vec<_>>().join(" ")
}

/// Names of the parts that differ between two [`parts`] texts.
pub(crate) fn changed_parts(old: &str, new: &str) -> Vec<String> {
    let old: Vec<&str> = old.split(' ').collect();
    new.split(' ')
        .filter(|part| !old.contains(part))
        .filter_map(|part| part.split_once('='))
        .filter(|(name, _)| *name != "image")
        .map(|(name, _)| if name == "image_id" { "image".to_owned() } else { name.replace('_', " ") })
        .collect()
}
