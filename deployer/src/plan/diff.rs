//! Desired against observed: the steps, each with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

use super::platform::Platform;
use super::spec::{Attachment, Desired, changed_parts};

/// Everything wanted of one service, jobs in their order.
#[derive(Clone)]
pub(crate) struct DesiredService {
    pub(crate) container: Desired,
    pub(crate) jobs: Vec<(String, Desired)>,
}

/// What Docker has with our label.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// Containers by name.
    pub(crate) containers: BTreeMap<String, Container>,
    /// The subnet of the platform's network, when that exists.
    pub(crate) network: Option<String>,
    pub(crate) volumes: BTreeSet<String>,
}

/// A container as Docker's list shows it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) service: String,
    pub(crate) job: bool,
    /// Hash of the spec it was made from.
    pub(crate) spec: String,
    pub(crate) parts: String,
    pub(crate) image: String,
    pub(crate) state: State,
    /// For people: `Up 3 minutes (healthy)`.
    pub(crate) status: String,
    pub(crate) address: Option<Ipv4Addr>,
    /// Ports on the host.
    pub(crate) published: Vec<u16>,
    /// Id of the container whose network namespace it was made to join.
    pub(crate) joins: Option<String>,
}

/// States that matter to a plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    /// Crashes again and again.
    Restarting,
    /// Ended with code 0.
    Succeeded,
    /// Ended with another code.
    #[default]
    Failed,
    /// Created but never started: its maker was interrupted.
    Created,
    Paused,
}

/// One step and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    CreateNetwork(String),
    CreateVolume(String),
    /// A container of ours that no file asks for any more.
    Remove {
        container: String,
    },
    RunJob {
        service: String,
        job: String,
        reason: String,
    },
    Create {
        service: String,
    },
    Replace {
        service: String,
        reason: String,
    },
    Start {
        service: String,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::CreateNetwork(name) => write!(f, "create network {name}"),
            Step::CreateVolume(name) => write!(f, "create volume {name}"),
            Step::Remove { container } => write!(f, "remove {container}: no longer asked for"),
            Step::RunJob { service, job, reason } => write!(f, "run job {job} of {service}: {reason}"),
            Step::Create { service } => write!(f, "create {service}"),
            Step::Replace { service, reason } => write!(f, "replace {service}: {reason}"),
            Step::Start { service } => write!(f, "start {service}: it is stopped"),
        }
    }
}

/// Steps that belong to the whole platform: network, volumes, leftovers.
pub(crate) fn platform_steps(platform: &Platform, observed: &Observed, everything: bool) -> Vec<Step> {
    let network = observed.network.is_none().then(|| Step::CreateNetwork(platform.network()));
    let missing = platform.volumes().into_iter().filter(|volume| !observed.volumes.contains(volume));
    let leftovers = observed
        .containers
        .iter()
        .filter(|(name, container)| everything && !wanted(platform, name, container))
        .map(|(name, _)| Step::Remove { container: name.clone() });
    network.into_iter().chain(missing.map(Step::CreateVolume)).chain(leftovers).collect()
}

fn wanted(platform: &Platform, name: &str, container: &Container) -> bool {
    let services = &platform.config.services.services;
    let Some(service) = services.get(&container.service) else { return false };
    let mechanism = platform.config.configuration.networks.mechanism;
    // A service of a profile stays when the profile is not asked for this time; one that is switched off goes.
    let of_profile = service.profile.is_some() && service.is_of(mechanism);
    let enabled = platform.services.contains_key(&container.service) || of_profile;
    let known_job = service.init.iter().any(|job| platform.job_container(&container.service, job) == name);
    enabled && (!container.job || known_job)
}

/// Steps of one service, in their order. `all` holds what is wanted of it and of all it waits for.
pub(crate) fn service_steps(
    name: &str,
    all: &BTreeMap<String, DesiredService>,
    observed: &Observed,
) -> Vec<Step> {
    let desired = &all[name];
    let mut steps = Vec::new();
    for (job, wanted) in &desired.jobs {
        let reason = match observed.containers.get(&wanted.spec.name) {
            None => Some("never done".to_owned()),
            Some(container) if container.state != State::Succeeded => Some("did not end well".to_owned()),
            Some(container) if container.spec != wanted.hash => {
                Some(changed(&container.parts, &wanted.parts))
            }
            Some(_) => None,
        };
        steps.extend(reason.map(|reason| Step::RunJob {
            service: name.to_owned(),
            job: job.clone(),
            reason,
        }));
    }
    steps.extend(container_step(name, all, observed));
    steps
}

fn container_step(name: &str, all: &BTreeMap<String, DesiredService>, observed: &Observed) -> Option<Step> {
    let desired = &all[name].container;
    let service = name.to_owned();
    let Some(container) = observed.containers.get(&desired.spec.name) else {
        return Some(Step::Create { service });
    };
    if container.spec != desired.hash {
        return Some(Step::Replace { service, reason: changed(&container.parts, &desired.parts) });
    }
    if let Some(reason) = network_lost(desired, container, all, observed) {
        return Some(Step::Replace { service, reason });
    }
    match container.state {
        State::Running | State::Restarting => None,
        State::Paused => Some(Step::Replace { service, reason: "it is paused".into() }),
        State::Created | State::Succeeded | State::Failed => Some(Step::Start { service }),
    }
}

/// Why a container that joins the network namespace of another one has to be made anew: the namespace goes with the container
/// it belongs to, and Docker joins containers by their id.
fn network_lost(
    desired: &Desired,
    container: &Container,
    all: &BTreeMap<String, DesiredService>,
    observed: &Observed,
) -> Option<String> {
    let Attachment::Joined { service: owner, container: owner_container } = &desired.spec.network else {
        return None;
    };
    let stopped = matches!(container.state, State::Created | State::Succeeded | State::Failed);
    match container_step(owner, all, observed) {
        // A stopped one joins the namespace that is there when it starts.
        Some(Step::Start { .. }) if stopped => {}
        Some(_) => return Some(format!("the network of {owner} is made anew")),
        None => {}
    }
    let owner_id = observed.containers.get(owner_container).map(|owner| owner.id.as_str());
    (container.joins.as_deref() != owner_id).then(|| format!("it is in the network of an earlier {owner}"))
}

fn changed(old: &str, new: &str) -> String {
    match changed_parts(old, new).as_slice() {
        [] => "it was made by another version".to_owned(),
        [one] => format!("{one} changed"),
        [rest @ .., last] => format!("{} and {last} changed", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests;
