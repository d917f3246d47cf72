//! Coming up (Nova: `init_host` and `Service.start`): who am I, may I run, what did I leave behind.
//!
//! ```text
//! identify: conductor answers ─ profile ─ service record ─ compute_id ─ rename guard ─ register
//! recover:  instances of this host (startup/recover.rs)
//! first_audit: resources into the record and into placement
//! ```
//! Only then are requests taken. Running containers are not touched by any of this.

mod recover;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::docker::Engine;
use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::messaging::{self, RequestContext};
use common::objects::{Service, Versioned};
use common::retry;

use crate::agent::Agent;
use crate::conductor::{self, Conductor};
use crate::config::Config;
use crate::profile::{self, Profile};
use crate::virt::{self, Driver, HostFacts};

pub use recover::recover;

/// Why the agent must not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The conductor refused something that everything else needs.
    #[error(transparent)]
    Conductor(#[from] conductor::Error),
    /// The broker.
    #[error(transparent)]
    Messaging(#[from] messaging::Error),
    /// The release of the control plane.
    #[error(transparent)]
    Profile(#[from] profile::Error),
    /// dockerd.
    #[error(transparent)]
    Virt(#[from] virt::Error),
    /// The file with the node's identity.
    #[error("cannot use {path}")]
    Identity {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is there but holds something else.
    #[error("{path} does not hold a uuid; restore it, it is the identity of this host in placement")]
    NoUuid {
        /// The file.
        path: PathBuf,
    },
    /// Not the first start, and the identity is gone (Nova: InvalidConfiguration).
    #[error(
        "no local node identity found in {path}, but this is not the first start of the compute service {host}; \
         refusing to start. Put the uuid of the hypervisor's record (openstack hypervisor list) into the file"
    )]
    IdentityLost {
        /// The file.
        path: PathBuf,
        /// The service.
        host: String,
    },
    /// The identity belongs to another name.
    #[error(
        "possible rename detected: the node {uuid} belongs to {recorded}, but this host is called {host}; set [DEFAULT] \
         host to the old name"
    )]
    Renamed {
        /// The node.
        uuid: String,
        /// The name in the database.
        recorded: String,
        /// The name in the configuration.
        host: String,
    },
    /// A service that Nova has never seen, with guests (Nova: `_sanity_check_new_host`).
    #[error(
        "this is a new compute service for Nova, but Docker has {count} containers of instances of {host}, among them \
         {example}. Restore the database, or remove them (docker rm -f) if their instances are gone"
    )]
    GuestsOnNewHost {
        /// How many.
        count: usize,
        /// One of them.
        example: InstanceUuid,
        /// The service.
        host: String,
    },
}

/// Who this agent is.
pub struct Identity {
    /// The service's record.
    pub service: Service,
    /// The node's uuid.
    pub node_uuid: String,
    /// The machine.
    pub facts: HostFacts,
}

/// Waits for the peers, negotiates the release and registers the service.
///
/// # Errors
/// See [`Error`].
pub async fn identify(
    conductor: &Conductor,
    config: &Config,
    (driver, engine): (&Driver, &Engine),
) -> Result<Identity, Error> {
    wait_for_conductor(conductor).await;
    let context = RequestContext::admin();
    let profile = negotiate(conductor, &context, config).await?;
    let facts = virt::facts(engine, &config.host).await?;
    let found = conductor.service(&context).await?;
    if found.is_none() {
        refuse_guests_of_a_new_service(driver, config).await?;
    }
    let node_uuid = node_identity(conductor, &context, (config, found.as_ref())).await?;
    refuse_rename(conductor, &context, (config, &node_uuid)).await?;
    let service = register(conductor, &context, (found, profile)).await?;
    Ok(Identity { service, node_uuid, facts })
}

async fn wait_for_conductor(conductor: &Conductor) {
    for delay in retry::connect() {
        match conductor.ping(Duration::from_secs(10)).await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "waiting for nova-conductor to answer");
                tokio::time::sleep(delay.min(Duration::from_secs(3))).await;
            }
        }
    }
}

async fn negotiate(
    conductor: &Conductor,
    context: &RequestContext,
    config: &Config,
) -> Result<Profile, Error> {
    let conductors = conductor.minimum_version(context, &["nova-conductor"]).await?;
    let computes = conductor.minimum_version(context, &["nova-compute"]).await?;
    let profile = profile::choose(conductors, computes, config.docker.service_version)?;
    if conductors > profile::newest() {
        tracing::warn!(
            conductors,
            announced = profile.service_version,
            "the control plane is newer than this agent"
        );
    }
    tracing::info!(%profile, "negotiated the service version");
    Ok(profile)
}

async fn refuse_guests_of_a_new_service(driver: &Driver, config: &Config) -> Result<(), Error> {
    let guests = driver.instances().await?;
    match guests.first() {
        None => Ok(()),
        Some((example, _)) => {
            Err(Error::GuestsOnNewHost { count: guests.len(), example: *example, host: config.host.clone() })
        }
    }
}

/// The node's uuid: from the file `compute_id`, which is made at the first start (Nova: `nova.virt.node`).
async fn node_identity(
    conductor: &Conductor,
    context: &RequestContext,
    (config, service): (&Config, Option<&Service>),
) -> Result<String, Error> {
    let path = config.state_path.join("compute_id");
    if let Some(uuid) = read_identity(&path)? {
        return Ok(uuid);
    }
    let lost = || Error::IdentityLost { path: path.clone(), host: config.host.clone() };
    let uuid = match service.and_then(Service::version) {
        None if service.is_none() => uuid::Uuid::new_v4().to_string(),
        // A service from before the file existed: its only node is this one.
        Some(version) if version < profile::NODE_IDENTITY => {
            let nodes = conductor.nodes_of_host(context).await?;
            let [node] = nodes.as_slice() else { return Err(lost()) };
            node.uuid().ok_or_else(lost)?.to_owned()
        }
        _ => return Err(lost()),
    };
    let unusable = |source| Error::Identity { path: path.clone(), source };
    std::fs::create_dir_all(&config.state_path).map_err(unusable)?;
    std::fs::write(&path, &uuid).map_err(unusable)?;
    tracing::info!(uuid, path = %path.display(), "wrote the node's identity");
    Ok(uuid)
}

fn read_identity(path: &Path) -> Result<Option<String>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => match text.trim().parse::<uuid::Uuid>() {
            Ok(uuid) => Ok(Some(uuid.to_string())),
            Err(_) => Err(Error::NoUuid { path: path.to_owned() }),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Identity { path: path.to_owned(), source }),
    }
}

async fn refuse_rename(
    conductor: &Conductor,
    context: &RequestContext,
    (config, uuid): (&Config, &str),
) -> Result<(), Error> {
    let nodes = conductor.nodes_by_uuid(context, &[uuid]).await?;
    let names = nodes.iter().flat_map(|node| [node.host(), node.hypervisor_hostname()]).flatten();
    match names.into_iter().find(|name| *name != config.host) {
        None => Ok(()),
        Some(recorded) => Err(Error::Renamed {
            uuid: uuid.to_owned(),
            recorded: recorded.to_owned(),
            host: config.host.clone(),
        }),
    }
}

async fn register(
    conductor: &Conductor,
    context: &RequestContext,
    (found, profile): (Option<Service>, Profile),
) -> Result<Service, Error> {
    let Some(mut service) = found else {
        let mut service = Service::empty();
        service.set_report_count(0);
        service.set_version(profile.service_version);
        conductor.create_service(context, &mut service).await?;
        tracing::info!("registered the compute service");
        return Ok(service);
    };
    if service.version() != Some(profile.service_version) {
        service.set_version(profile.service_version);
        conductor.save_service(context, &mut service).await?;
    }
    Ok(service)
}

/// The first audit: without it the scheduler does not see this host. What fails is tried again each minute.
pub async fn first_audit(agent: &Agent, identity: &Identity) {
    if let Err(error) = agent.tracker.audit(&RequestContext::admin(), identity.facts.clone()).await {
        tracing::error!(error = %Chain(&error), "resources could not be published; trying again at the next audit");
    }
}
