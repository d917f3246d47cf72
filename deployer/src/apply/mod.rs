//! Carries a plan out: every service in the order of its dependencies, as much at a time as they allow.

pub(crate) mod dag;
mod desire;
mod gate;
mod identity;
mod node;
mod preflight;
mod progress;
mod remove;
mod stop;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Mutex;

use common::secret::Secret;
use tokio::sync::watch;

use crate::bootstrap::mysql;
use crate::bootstrap::secrets::Secrets;
use crate::engine::{self, Docker};
use crate::health::Access;
use crate::plan::diff::{DesiredService, Observed, Step, platform_steps, service_steps};
use crate::plan::hash::Key;
use crate::plan::order;
use crate::plan::platform::{self, Platform};
use crate::render::Templates;
use crate::settings::{Paths, Settings};

pub(crate) use remove::Extent;

/// Why a step could not be carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Docker(#[from] engine::Error),
    #[error(transparent)]
    Files(#[from] engine::files::Error),
    #[error(transparent)]
    Port(#[from] engine::ports::Error),
    #[error(transparent)]
    Route(#[from] engine::routes::Error),
    /// A kernel module is not loaded.
    #[error("{service} needs the device {device}, which this host does not have{}", hint_for(device))]
    NoDevice { service: String, device: String },
    #[error(transparent)]
    Render(#[from] crate::render::Error),
    #[error(transparent)]
    Secrets(#[from] crate::bootstrap::secrets::Error),
    #[error(transparent)]
    Image(#[from] crate::images::Error),
    #[error("databases of {service}")]
    Database { service: String, source: mysql::Error },
    #[error("Keystone's users and catalogue")]
    Identity(#[source] common::openstack::Error),
    /// A service did not become ready.
    #[error("{container} is not ready after {seconds:.0} s: {condition}; the last answer: {answer}{log}")]
    Gate { container: String, seconds: f64, condition: String, answer: String, log: LastLines },
    /// A job failed.
    #[error("job {container} {how}{log}")]
    Job { container: String, how: String, log: LastLines },
    /// The image was not built.
    #[error("the image of {service}, {image}, does not exist; `octopenstack build` makes it")]
    NoImage { service: String, image: String },
    /// `subnet` was changed under a running platform.
    #[error(
        "the platform's network has the subnet {present}, but configuration.yaml says {wanted}; `octopenstack rm --keep-volumes` makes room for the change"
    )]
    Subnet { present: String, wanted: String },
    /// Keystone has no user for it.
    #[error("{service} was not started: it has no user in Keystone yet")]
    NoUser { service: String },
    /// A name on the command line.
    #[error("there is no service {name}{}", hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default())]
    Unknown { name: String, hint: Option<String> },
    /// Nothing to work on.
    #[error("{0}")]
    Nothing(String),
}

fn hint_for(device: &str) -> &'static str {
    if device == "/dev/net/tun" { ": `modprobe tun` makes it" } else { "" }
}

impl Error {
    /// True when the platform is partly up and the same command may go on.
    pub(crate) fn is_gate(&self) -> bool {
        matches!(self, Error::Gate { .. } | Error::Job { .. } | Error::Database { .. } | Error::Identity(_))
    }
}

/// The last lines of a container's log, under an error.
#[derive(Debug, Default)]
pub(crate) struct LastLines(pub(crate) Vec<String>);

impl std::fmt::Display for LastLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return write!(f, "\n  (its log is empty)");
        }
        write!(f, "\n  the last lines of its log:")?;
        self.0.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// Everything the verbs act with.
pub(crate) struct Apply<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) platform: Platform,
    pub(crate) docker: Docker,
    secrets: Secrets,
    key: Key,
    templates: Templates,
    http: reqwest::Client,
    /// Addresses of the services met so far.
    addresses: Mutex<BTreeMap<String, Ipv4Addr>>,
}

/// How `converge` differs between the verbs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mode {
    /// Run every job again.
    pub(crate) again: bool,
    /// The whole platform: containers nobody asks for any more are removed.
    pub(crate) everything: bool,
}

impl<'a> Apply<'a> {
    /// Reads secrets (making missing ones) and templates. `docker` is connected already.
    pub(crate) fn new(settings: &'a Settings, docker: Docker) -> Result<Self, Error> {
        let platform = Platform::new(&settings.config, &settings.profiles);
        let address = *settings.config.configuration.api_address;
        let wanted = platform.wanted_secrets();
        let secrets = crate::bootstrap::secrets::ensure(&settings.paths.secrets(), &wanted, address)?;
        let templates = Templates::load(&settings.config.templates)?;
        Ok(Self::with_secrets(settings, docker, platform, secrets, templates))
    }

    /// For verbs that make nothing: secrets are read, not made.
    pub(crate) fn reader(settings: &'a Settings, docker: Docker) -> Result<Self, Error> {
        Self::reading(settings, docker, &settings.profiles)
    }

    /// The same with the services of all profiles: they may run.
    pub(crate) fn reader_of_all(settings: &'a Settings, docker: Docker) -> Result<Self, Error> {
        let services = settings.config.services.services.iter();
        let profiles: Vec<String> = services.filter_map(|(_, service)| service.profile.clone()).collect();
        Self::reading(settings, docker, &profiles)
    }

    fn reading(settings: &'a Settings, docker: Docker, profiles: &[String]) -> Result<Self, Error> {
        let platform = Platform::new(&settings.config, profiles);
        let secrets = crate::bootstrap::secrets::read(&settings.paths.secrets())?;
        let secrets = secrets.or_placeholders(&platform.wanted_secrets());
        let templates = Templates::load(&settings.config.templates)?;
        Ok(Self::with_secrets(settings, docker, platform, secrets, templates))
    }

    fn with_secrets(
        settings: &'a Settings,
        docker: Docker,
        platform: Platform,
        secrets: Secrets,
        templates: Templates,
    ) -> Self {
        let key = Key::new(secrets.get(platform::SPEC_SECRET).map_or("", Secret::reveal));
        let http = crate::health::client();
        Apply { settings, platform, docker, secrets, key, templates, http, addresses: Mutex::default() }
    }

    pub(crate) fn paths(&self) -> &Paths {
        &self.settings.paths
    }

    /// The named services, checked, or all.
    pub(crate) fn selected(&self, wanted: &[String]) -> Result<Vec<String>, Error> {
        for name in wanted {
            if !self.platform.services.contains_key(name) {
                let names = self.platform.names.iter().map(String::as_str);
                return Err(Error::Unknown {
                    name: name.clone(),
                    hint: common::config::did_you_mean(name, names),
                });
            }
        }
        Ok(wanted.to_vec())
    }

    /// The plan for people: what `converge` would do to containers now.
    pub(crate) async fn plan(&self, wanted: &[String]) -> Result<Vec<Step>, Error> {
        let names = order::with_dependencies(&self.platform.services, &self.selected(wanted)?);
        let observed = self.docker.observe(self.platform.project()).await?;
        let desired = self.desire(&names, false).await?;
        let mut steps = platform_steps(&self.platform, &observed, wanted.is_empty());
        for name in order::sorted(&self.platform.services, &names) {
            steps.extend(service_steps(&name, &desired, &observed));
        }
        Ok(steps)
    }

    /// Makes the platform what the files say. Returns the number of things done.
    pub(crate) async fn converge(&self, wanted: &[String], mode: Mode) -> Result<usize, Vec<Error>> {
        let one = |error| vec![error];
        let names = order::with_dependencies(&self.platform.services, &self.selected(wanted).map_err(one)?);
        // Everything that can be known to fail is found before the first change.
        let desired = self.desire(&names, true).await.map_err(one)?;
        let observed =
            self.docker.observe(self.platform.project()).await.map_err(|error| one(error.into()))?;
        self.check_network(&observed).and_then(|()| self.check_host(&names, &observed)).map_err(one)?;
        let steps = platform_steps(&self.platform, &observed, mode.everything);
        for step in &steps {
            self.platform_step(step).await.map_err(one)?;
        }
        let done = self.run_nodes(&names, &desired, &observed, mode).await?;
        self.prune(&names, &desired).map_err(one)?;
        Ok(steps.len() + done)
    }

    async fn run_nodes(
        &self,
        names: &BTreeSet<String>,
        desired: &BTreeMap<String, DesiredService>,
        observed: &Observed,
        mode: Mode,
    ) -> Result<usize, Vec<Error>> {
        let identity = watch::Sender::new(None);
        let keystone = self.platform.identity.as_ref().filter(|name| names.contains(*name));
        let keystone_ready = watch::Sender::new(None);
        let edges =
            dag::edges(names, |name| self.platform.services[name].waits_for().map(str::to_owned).collect());
        let progress = progress::Tracker::new(&edges, &self.settings.printer);
        let node = |name: String| {
            let (identity, keystone_ready, progress) = (identity.subscribe(), &keystone_ready, &progress);
            async move {
                progress.begun(&name);
                let result = self.service(&name, desired, observed, identity, mode).await;
                if result.is_ok() {
                    progress.ready(&name);
                }
                if keystone == Some(&name) {
                    keystone_ready.send_replace(Some(result.is_ok()));
                }
                result
            }
        };
        let left_out = |name: &str| {
            if keystone.is_some_and(|keystone| keystone == name) {
                keystone_ready.send_replace(Some(false));
            }
        };
        let services = dag::run(&edges, node, left_out);
        let catalogue = async {
            if keystone.is_none() {
                identity.send_replace(Some(true));
                return Ok(0);
            }
            let ready = keystone_ready
                .subscribe()
                .wait_for(Option::is_some)
                .await
                .is_ok_and(|state| *state == Some(true));
            // Keystone's own failure is reported where it happened.
            let done = match keystone.filter(|_| ready) {
                Some(keystone) => self.identity(keystone).await,
                None => Ok(0),
            };
            identity.send_replace(Some(ready && done.is_ok()));
            done
        };
        let (services, catalogue) = tokio::join!(services, catalogue);
        let mut errors: Vec<Error> = Vec::new();
        let mut done = 0;
        for result in services.into_iter().chain([dag::Outcome::from(catalogue)]) {
            match result {
                dag::Outcome::Done(count) => done += count,
                dag::Outcome::Failed(error) => errors.push(error),
                dag::Outcome::Skipped { name, because } => {
                    self.settings.printer.step(&format!("{name}: left out, because {because} failed"));
                }
            }
        }
        if errors.is_empty() { Ok(done) } else { Err(errors) }
    }

    async fn platform_step(&self, step: &Step) -> Result<(), Error> {
        let project = self.platform.project();
        match step {
            Step::CreateNetwork(name) => {
                let subnet = *self.platform.config.configuration.subnet;
                self.docker.create_network(project, name, &self.platform.bridge(), &subnet).await?;
            }
            Step::CreateVolume(name) => self.docker.create_volume(project, name).await?,
            Step::Remove { container } => {
                self.docker.stop(container, 30).await?;
                self.docker.remove_container(container).await?;
            }
            // Steps of services are taken by their nodes.
            Step::RunJob { .. } | Step::Create { .. } | Step::Replace { .. } | Step::Start { .. } => {
                return Ok(());
            }
        }
        self.settings.printer.step(&step.to_string());
        Ok(())
    }

    /// Rendered folders that no container uses any more.
    fn prune(
        &self,
        names: &BTreeSet<String>,
        desired: &BTreeMap<String, DesiredService>,
    ) -> Result<(), Error> {
        for name in names {
            let service = &desired[name];
            let jobs = service.jobs.iter().map(|(_, job)| job.config.path.as_path());
            let keep: Vec<_> = jobs.chain([service.container.config.path.as_path()]).collect();
            engine::files::prune_config(&self.paths().rendered(), name, &keep)?;
        }
        Ok(())
    }

    /// What readiness conditions need beside the service's own entry.
    fn access(&self) -> Access {
        let broker = self.platform.broker.as_deref().and_then(|broker| self.address_of(broker));
        let login = broker.zip(self.secrets.get(platform::BROKER_SECRET));
        Access {
            database_password: self.secrets.get(platform::DATABASE_SECRET).cloned(),
            broker_url: login.map(|(address, password)| {
                Secret::new(format!(
                    "amqp://{}:{}@{address}:5672/%2f",
                    platform::BROKER_USER,
                    password.reveal()
                ))
            }),
        }
    }

    /// The address at which the host reaches a service; what joins another's network has that one's.
    pub(crate) fn address_of(&self, service: &str) -> Option<Ipv4Addr> {
        let service = self.platform.home(service);
        let known =
            self.addresses.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(service).copied();
        known.or_else(|| self.platform.fixed_address(service))
    }

    /// Keeps the address of a running service, and returns where it is reached.
    fn remember(&self, service: &str, address: Option<Ipv4Addr>) -> Ipv4Addr {
        let own = || self.platform.own_address(service);
        if self.platform.home(service) != service {
            return self.address_of(service).unwrap_or_else(own);
        }
        let address = address.unwrap_or_else(own);
        self.addresses
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(service.to_owned(), address);
        address
    }
}
