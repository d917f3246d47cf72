//! Knows what this host's instances take and keeps the hypervisor record true (Nova: `ResourceTracker`).
//!
//! Placement decides what fits; here only what no host of this size can hold is refused. The record in the database is
//! saved at most once in two seconds however many instances come and go, and audited against Nova's list each minute.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::messaging::RequestContext;
use common::objects::{ComputeNode, Instance, Versioned};
use tokio::sync::Notify;

use super::report::{Amount, InstanceReport, amounts};
use super::usage::{Tracked, describe};
use super::{HostFacts, Provider, inventory};
use crate::conductor::{self, Conductor};
use crate::config::Config;
use crate::error::Error;
use crate::instance::spec::Demand;
use crate::virt::PowerState;

/// Changes within this time go to the database together.
const COALESCE: Duration = Duration::from_secs(2);

struct State {
    node: ComputeNode,
    facts: HostFacts,
    instances: HashMap<InstanceUuid, (Tracked, Instant)>,
    /// What left the host lately, so that an audit that has begun before does not bring it back.
    released: HashMap<InstanceUuid, Instant>,
    failed_builds: u64,
    disabled: bool,
}

/// The resources of this host; one per agent.
pub struct Tracker {
    state: Mutex<State>,
    changed: Notify,
    saving: tokio::sync::Mutex<()>,
    conductor: Conductor,
    provider: Provider,
    config: Arc<Config>,
}

impl Tracker {
    /// Begins with the record of the hypervisor, made if it is not there.
    ///
    /// `uuid`: the node's, from the file `compute_id`; `service_id`: of our service record.
    ///
    /// # Errors
    /// When the conductor cannot be asked.
    pub async fn start(
        (conductor, provider, config): (Conductor, Provider, Arc<Config>),
        facts: HostFacts,
        (uuid, service_id): (&str, i64),
    ) -> Result<Self, conductor::Error> {
        let context = RequestContext::admin();
        let found = conductor.node(&context, uuid).await?;
        let node = match found {
            // What it uses is known after the first audit, which also saves what has changed of it.
            Some(mut node) => {
                if node.service_id() != Some(service_id) {
                    node.set_service_id(service_id);
                }
                node
            }
            None => {
                let mut node = ComputeNode::empty();
                describe(&mut node, &facts, &config, [].iter(), 0);
                node.set_uuid(uuid);
                node.set_service_id(service_id);
                node.set_supported_hv_specs(serde_json::json!([hv_spec(&facts.arch)]));
                conductor.create_node(&context, &mut node).await?;
                tracing::info!(node = facts.hypervisor_hostname, uuid, "made the hypervisor's record");
                node
            }
        };
        let state = State {
            node,
            facts,
            instances: HashMap::new(),
            released: HashMap::new(),
            failed_builds: 0,
            disabled: false,
        };
        Ok(Self {
            state: Mutex::new(state),
            changed: Notify::new(),
            saving: tokio::sync::Mutex::new(()),
            conductor,
            provider,
            config,
        })
    }

    fn with<T>(&self, action: impl FnOnce(&mut State) -> T) -> T {
        action(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// `ComputeNode.id`
    pub fn node_id(&self) -> Option<i64> {
        self.with(|state| state.node.id())
    }

    /// `ComputeNode.uuid`: the resource provider's, too.
    pub fn node_uuid(&self) -> String {
        self.with(|state| state.node.uuid().unwrap_or_default().to_owned())
    }

    /// `ComputeNode.hypervisor_hostname`
    pub fn node_name(&self) -> String {
        self.with(|state| state.facts.hypervisor_hostname.clone())
    }

    /// Refuses an instance that no host of this size can hold.
    ///
    /// # Errors
    /// [`Error::Refused`] as Nova's ComputeResourcesUnavailable, naming the first amount that does not fit.
    pub fn test(&self, instance: &Instance) -> Result<(), Error> {
        let facts = self.with(|state| state.facts.clone());
        fits(&Demand::of(instance), &facts, &self.config)
    }

    /// Takes over what is known of an instance of this host.
    pub fn note(&self, instance: &Instance, power: PowerState) {
        let Some(uuid) = instance.instance_uuid() else { return };
        let tracked = Tracked::of(instance, power);
        self.with(|state| {
            state.released.remove(&uuid);
            state.instances.insert(uuid, (tracked, Instant::now()));
        });
        self.changed.notify_one();
    }

    /// Takes over the states of an instance, of which no more may be known.
    pub fn refresh_state(&self, instance: &Instance) {
        let Some(uuid) = instance.instance_uuid() else { return };
        self.with(|state| {
            if let Some((tracked, _)) = state.instances.get_mut(&uuid) {
                tracked.task = instance.task();
                if instance.vm_state().is_some() {
                    tracked.vm_state = instance.state();
                }
            }
        });
        self.changed.notify_one();
    }

    /// An instance has left this host.
    pub fn release(&self, uuid: InstanceUuid) {
        self.with(|state| {
            state.instances.remove(&uuid);
            state.released.insert(uuid, Instant::now());
        });
        self.changed.notify_one();
    }

    /// What the hypervisor said last.
    pub fn power(&self, uuid: InstanceUuid) -> Option<PowerState> {
        self.with(|state| state.instances.get(&uuid).map(|(tracked, _)| tracked.power))
    }

    /// The hypervisor says something new.
    pub fn set_power(&self, uuid: InstanceUuid, power: PowerState) {
        self.with(|state| {
            if let Some((tracked, _)) = state.instances.get_mut(&uuid) {
                tracked.power = power;
            }
        });
    }

    /// Instances by vm_state, for the metrics.
    pub fn counts(&self) -> HashMap<&'static str, i64> {
        self.with(|state| {
            let mut counts = HashMap::new();
            for (tracked, _) in state.instances.values() {
                *counts.entry(tracked.vm_state.as_str()).or_default() += 1;
            }
            counts
        })
    }

    /// The instances of this host, in no order.
    pub fn instances(&self) -> Vec<InstanceReport> {
        let report =
            |(uuid, (tracked, _)): (&InstanceUuid, &(Tracked, Instant))| InstanceReport::of(*uuid, tracked);
        self.with(|state| state.instances.iter().map(report).collect())
    }

    /// What the host has and what is taken of it.
    pub fn amounts(&self) -> Vec<Amount> {
        self.with(|state| {
            let tracked = state.instances.values().map(|(tracked, _)| tracked);
            amounts(&state.facts, &self.config, tracked).into()
        })
    }

    /// The service takes no new instances.
    pub fn disabled(&self) -> bool {
        self.with(|state| state.disabled)
    }

    /// The schedulers' BuildFailureWeigher counts.
    pub fn build_failed(&self) {
        self.with(|state| state.failed_builds += 1);
        self.changed.notify_one();
    }

    /// A success makes up for all failures (Nova: `Stats.build_succeeded`).
    pub fn build_succeeded(&self) {
        self.with(|state| state.failed_builds = 0);
    }

    /// The service was disabled or enabled.
    pub fn set_disabled(&self, disabled: bool) {
        self.with(|state| state.disabled = disabled);
    }

    /// Compares what is known with Nova's list and with the machine, and publishes it (Nova:
    /// `update_available_resource`).
    ///
    /// # Errors
    /// When conductor or placement cannot be told; the next audit tries again.
    pub async fn audit(&self, context: &RequestContext, facts: HostFacts) -> Result<(), Error> {
        let begun = Instant::now();
        let attrs = ["system_metadata", "flavor"];
        let instances = self.conductor.instances_of_host(context, &attrs).await?;
        let service = self.conductor.service(context).await?;
        let disabled = service.is_some_and(|service| service.disabled());
        self.with(|state| {
            state.facts = facts.clone();
            state.disabled = disabled;
            state.adopt(&instances, begun);
        });
        let uuid = self.node_uuid();
        let inventories = inventory::plan(&facts, &self.config);
        let traits = inventory::traits(&facts, disabled);
        self.provider.publish(&uuid, &facts.hypervisor_hostname, &inventories, &traits).await?;
        Ok(self.save(context).await?)
    }

    /// Saves the hypervisor record as far as it has changed.
    async fn save(&self, context: &RequestContext) -> Result<(), conductor::Error> {
        let _saving = self.saving.lock().await;
        let mut node = self.with(|state| {
            let State { node, facts, instances, failed_builds, .. } = state;
            let tracked = instances.values().map(|(tracked, _)| tracked);
            describe(node, facts, &self.config, tracked, *failed_builds);
            node.clone()
        });
        if node.object().changes().next().is_none() {
            return Ok(());
        }
        self.conductor.save_node(context, &mut node).await?;
        self.with(|state| state.node = node);
        Ok(())
    }

    /// Saves changes, several at once; runs until it is dropped.
    pub async fn keep_saved(&self) {
        loop {
            self.changed.notified().await;
            tokio::time::sleep(COALESCE).await;
            if let Err(error) = self.save(&RequestContext::admin()).await {
                tracing::warn!(error = %Chain(&error), "the hypervisor's record is saved at the next audit");
            }
        }
    }
}

impl State {
    /// Replaces what is known by Nova's list, except for what has changed since it was asked for.
    fn adopt(&mut self, instances: &[Instance], asked: Instant) {
        let mut known = std::mem::take(&mut self.instances);
        for instance in instances {
            let Some(uuid) = instance.instance_uuid() else { continue };
            if self.released.contains_key(&uuid) {
                continue;
            }
            let before = known.remove(&uuid);
            let entry = match before {
                Some((tracked, since)) if since >= asked => (tracked, since),
                Some((tracked, _)) => (Tracked::of(instance, tracked.power), asked),
                None => (Tracked::of(instance, recorded_power(instance)), asked),
            };
            self.instances.insert(uuid, entry);
        }
        self.instances.extend(known.into_iter().filter(|(_, (_, since))| *since >= asked));
        self.released.retain(|_, since| *since >= asked);
    }
}

fn recorded_power(instance: &Instance) -> PowerState {
    match instance.power_state() {
        Some(1) => PowerState::Running,
        Some(3) => PowerState::Paused,
        Some(4) => PowerState::Shutdown,
        Some(6) => PowerState::Crashed,
        Some(7) => PowerState::Suspended,
        _ => PowerState::NoState,
    }
}

/// What guests the hypervisor runs, in Nova's words.
fn hv_spec(arch: &str) -> common::objects::HvSpec {
    let mut spec = common::objects::HvSpec::empty();
    spec.set_arch(arch);
    spec.set_hv_type("docker");
    spec.set_vm_mode("exe");
    spec
}

/// Compares one instance with the whole host.
fn fits(demand: &Demand, facts: &HostFacts, config: &Config) -> Result<(), Error> {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "amounts of a host are far below 2^52"
    )]
    let limit = |total: u64, ratio: f64| (total as f64 * ratio) as u64;
    let amounts = [
        ("vCPUs", demand.vcpus, limit(facts.vcpus, config.cpu_allocation_ratio)),
        ("MiB of memory", demand.memory_mb, limit(facts.memory_mb, config.ram_allocation_ratio)),
        ("GiB of disk", demand.disk_gb, limit(facts.local_gb, config.disk_allocation_ratio)),
    ];
    match amounts.iter().find(|(_, wanted, limit)| wanted > limit) {
        None => Ok(()),
        Some((what, wanted, limit)) => Err(Error::Refused {
            class: "ComputeResourcesUnavailable",
            code: 500,
            message: format!(
                "Insufficient compute resources: the flavor asks for {wanted} {what}, this host can give {limit}."
            ),
        }),
    }
}
