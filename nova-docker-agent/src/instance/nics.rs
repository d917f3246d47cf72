//! The host's side of an instance's network: sandbox, NICs, metadata; what has to be there before its container starts,
//! and what has to be done again after it did.
//!
//! ```text
//! with ports     sandbox ─ NICs plugged ─ metadata ─► the container starts, stops, restarts in it
//! without ports  the container starts ─► metadata; a NIC that is attached later: again after each start
//! ```

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use common::error_chain::Chain;
use common::ids::{InstanceUuid, PortId};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};

use crate::error::Error;
use crate::network;
use crate::network::metadata::{Identity, MetadataService};
use crate::network::model::{NetworkInfo, Vif};
use crate::network::plan::{NicPlan, nic_plan, nic_plans};
use crate::network::wiring::{self, Plugged, Wiring};
use crate::virt::{Driver, InstanceSpec, PowerState, Sandboxes};

/// An instance whose namespace is its container's: all of it is gone when the container stops.
#[derive(Debug, Clone)]
struct Homeless {
    identity: Identity,
    plans: BTreeMap<PortId, NicPlan>,
}

/// What plugs NICs: kernel and switch of this host ([`Wiring`]). Tests have one that only remembers.
pub trait Plug: std::fmt::Debug + Send + Sync {
    /// See [`Wiring::plug`].
    fn plug<'a>(&'a self, pid: u32, plan: &'a NicPlan) -> BoxFuture<'a, Result<(), wiring::Error>>;
    /// See [`Wiring::unplug`].
    fn unplug(&self, port: PortId) -> BoxFuture<'_, Result<(), wiring::Error>>;
    /// See [`Wiring::silence`].
    fn silence(&self, pid: u32, silent: bool) -> BoxFuture<'_, Result<(), wiring::Error>>;
    /// See [`Wiring::ready`].
    fn ready(&self, port: PortId) -> BoxFuture<'_, Result<(), wiring::Error>>;
    /// See [`Wiring::ports`].
    fn ports(&self) -> BoxFuture<'_, Result<Vec<Plugged>, wiring::Error>>;
    /// See [`Wiring::switch`].
    fn switch(&self) -> BoxFuture<'_, Option<Result<(), wiring::Error>>>;
}

impl Plug for Wiring {
    fn plug<'a>(&'a self, pid: u32, plan: &'a NicPlan) -> BoxFuture<'a, Result<(), wiring::Error>> {
        Self::plug(self, pid, plan).boxed()
    }

    fn unplug(&self, port: PortId) -> BoxFuture<'_, Result<(), wiring::Error>> {
        Self::unplug(self, port).boxed()
    }

    fn silence(&self, pid: u32, silent: bool) -> BoxFuture<'_, Result<(), wiring::Error>> {
        Self::silence(self, pid, silent).boxed()
    }

    fn ready(&self, port: PortId) -> BoxFuture<'_, Result<(), wiring::Error>> {
        Self::ready(self, port).boxed()
    }

    fn ports(&self) -> BoxFuture<'_, Result<Vec<Plugged>, wiring::Error>> {
        Self::ports(self).boxed()
    }

    fn switch(&self) -> BoxFuture<'_, Option<Result<(), wiring::Error>>> {
        Self::switch(self).boxed()
    }
}

/// The host's side of all instances' networks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Nics {
    wiring: Arc<dyn Plug>,
    metadata: Option<MetadataService>,
    sandboxes: Sandboxes,
    driver: Driver,
    homeless: Arc<Mutex<HashMap<InstanceUuid, Homeless>>>,
}

impl Nics {
    /// Without `metadata` instances cannot ask about themselves.
    pub fn new(
        (wiring, metadata): (Arc<dyn Plug>, Option<MetadataService>),
        (sandboxes, driver): (Sandboxes, Driver),
    ) -> Self {
        Self { wiring, metadata, sandboxes, driver, homeless: Arc::default() }
    }

    /// See [`Wiring::switch`].
    pub async fn switch(&self) -> Option<Result<(), wiring::Error>> {
        self.wiring.switch().await
    }

    /// Makes the sandbox of an instance ahead of [`Nics::prepare`], which then has to plug in any case. False when it has one.
    ///
    /// # Errors
    /// When dockerd does not do it.
    pub async fn house(&self, spec: &InstanceSpec) -> Result<bool, Error> {
        Ok(self.sandboxes.make(spec).await?)
    }

    /// Fills the config drive of an instance that has one, with what nova-metadata tells of it. The database must know its
    /// ports.
    ///
    /// # Errors
    /// When nova-metadata does not tell it, and nothing was there before.
    pub async fn fill_config_drive(
        &self,
        spec: &InstanceSpec,
        network_info: &NetworkInfo,
    ) -> Result<(), Error> {
        if !self.driver.has_config_drive(spec) {
            return Ok(());
        }
        let Some(metadata) = &self.metadata else {
            return Err(Error::Refused {
                class: "BuildAbortException",
                code: 500,
                message: "this compute host has no config drives: it was not told [docker] metadata_url"
                    .into(),
            });
        };
        match metadata.drive(&identity(spec, network_info)).await {
            Ok(files) => Ok(self.driver.fill_config_drive(spec, &files)?),
            Err(error) if self.driver.is_config_drive_filled(spec) => {
                tracing::warn!(instance_uuid = %spec.uuid, error = %Chain(&error), "the config drive stays as it was");
                Ok(())
            }
            Err(error) => Err(network::Error::from(error).into()),
        }
    }

    /// Makes ready what the instance's container needs in order to start: its sandbox runs, every NIC is plugged.
    /// `again`: plug also what is plugged.
    ///
    /// # Errors
    /// What the kernel, the switch or dockerd say.
    pub async fn prepare(
        &self,
        spec: &InstanceSpec,
        network_info: &NetworkInfo,
        again: bool,
    ) -> Result<(), Error> {
        let plans = nic_plans(spec.uuid, network_info).map_err(network::Error::from)?;
        self.homeless().remove(&spec.uuid);
        let sandbox = self.sandboxes.ensure(spec).await?;
        self.driver.tell_guest(spec, network_info)?;
        if !sandbox.fresh && !again {
            return Ok(());
        }
        let plugging = plans.iter().map(|plan| self.wiring.plug(sandbox.pid, plan));
        let identity = identity(spec, network_info);
        // Each to its end, so that what is left can be taken away.
        let (plugged, ()) = tokio::join!(join_all(plugging), self.attach_metadata(sandbox.pid, &identity));
        Ok(plugged.into_iter().collect::<Result<(), _>>().map_err(network::Error::from)?)
    }

    /// Plugs what is missing in a sandbox that runs, and makes its way to the metadata service anew: what an agent that
    /// starts has to do. `plugged`: what the switch has. False when the sandbox does not run.
    ///
    /// # Errors
    /// As [`Nics::prepare`].
    pub async fn adopt(
        &self,
        spec: &InstanceSpec,
        network_info: &NetworkInfo,
        plugged: &[Plugged],
    ) -> Result<bool, Error> {
        let Some(sandbox) = self.sandboxes.find(spec.uuid).await? else { return Ok(false) };
        for plan in nic_plans(spec.uuid, network_info).map_err(network::Error::from)? {
            if !plugged.iter().any(|plugged| plugged.port == plan.port && plugged.intact) {
                self.wiring.plug(sandbox.pid, &plan).await.map_err(network::Error::from)?;
            }
        }
        self.keep_silent(spec.uuid, sandbox.pid).await?;
        self.attach_metadata(sandbox.pid, &identity(spec, network_info)).await;
        Ok(true)
    }

    /// Remembers an instance that has no sandbox, so that [`Nics::started`] knows it.
    pub fn remember(&self, spec: &InstanceSpec, network_info: &NetworkInfo) {
        let plans = network_info
            .iter()
            .enumerate()
            .filter_map(|(index, vif)| nic_plan(spec.uuid, vif, index, &network_info[..index]).ok());
        let homeless = Homeless {
            identity: identity(spec, network_info),
            plans: plans.map(|plan| (plan.port, plan)).collect(),
        };
        self.homeless().insert(spec.uuid, homeless);
    }

    /// Does what has to be done after a start of the instance's container, whoever started it: a namespace that was its
    /// container's is new. Nothing for an instance with a sandbox.
    pub async fn started(&self, uuid: InstanceUuid) {
        self.settle(uuid, true).await;
    }

    /// As [`Nics::started`] for a container that ran on while the agent was away: its NICs are plugged again only when one
    /// is `missing`; the way to the metadata service led to the last agent.
    pub async fn restarted(&self, uuid: InstanceUuid, missing: bool) {
        self.settle(uuid, missing).await;
    }

    async fn settle(&self, uuid: InstanceUuid, plug: bool) {
        let Some(homeless) = self.homeless().get(&uuid).cloned() else { return };
        if homeless.plans.is_empty() && self.metadata.is_none() {
            return;
        }
        let pid = match self.driver.pid(uuid).await {
            Ok(Some(pid)) => pid,
            Ok(None) => return,
            Err(error) => {
                return tracing::warn!(instance_uuid = %uuid, error = %Chain(&error), "its NICs are not plugged");
            }
        };
        for plan in homeless.plans.values().filter(|_| plug) {
            if let Err(error) = self.wiring.plug(pid, plan).await {
                let port = plan.port;
                tracing::error!(instance_uuid = %uuid, %port, error = %Chain(&error), "the NIC is not plugged");
            }
        }
        // Without ports there is nothing that could answer, and most boots without ports end here.
        if !homeless.plans.is_empty()
            && let Err(error) = self.keep_silent(uuid, pid).await
        {
            tracing::warn!(instance_uuid = %uuid, error = %Chain(&error), "the addresses of a frozen instance may answer");
        }
        self.attach_metadata(pid, &homeless.identity).await;
    }

    /// Plugs one more NIC into an instance that may be running. `earlier`: the ports that it has.
    ///
    /// # Errors
    /// What the kernel or the switch say; nothing is left then.
    pub async fn attach(&self, uuid: InstanceUuid, vif: &Vif, earlier: &[Vif]) -> Result<(), Error> {
        let plan = nic_plan(uuid, vif, earlier.len(), earlier).map_err(network::Error::from)?;
        let pid = match self.sandboxes.find(uuid).await? {
            Some(sandbox) => Some(sandbox.pid),
            None => {
                if let Some(homeless) = self.homeless().get_mut(&uuid) {
                    homeless.plans.insert(plan.port, plan.clone());
                }
                self.driver.pid(uuid).await?
            }
        };
        // A stopped container gets it when it starts.
        let Some(pid) = pid else { return Ok(()) };
        let plugged = self.wiring.plug(pid, &plan).await;
        if plugged.is_err() {
            self.forget(uuid, plan.port);
        }
        plugged.map_err(network::Error::from)?;
        self.keep_silent(uuid, pid).await
    }

    /// Keeps the NICs of an instance silent that is frozen, or about to be, or lets them speak again. One that is down has
    /// none.
    ///
    /// # Errors
    /// What the kernel or dockerd say.
    pub async fn silence(&self, uuid: InstanceUuid, silent: bool) -> Result<(), Error> {
        let pid = match self.sandboxes.find(uuid).await? {
            Some(sandbox) => Some(sandbox.pid),
            None => self.driver.pid(uuid).await?,
        };
        let Some(pid) = pid else { return Ok(()) };
        Ok(self.wiring.silence(pid, silent).await.map_err(network::Error::from)?)
    }

    /// A NIC that was plugged into a frozen instance is silent, too.
    async fn keep_silent(&self, uuid: InstanceUuid, pid: u32) -> Result<(), Error> {
        if self.driver.power_state(uuid).await? == PowerState::Paused {
            self.wiring.silence(pid, true).await.map_err(network::Error::from)?;
        }
        Ok(())
    }

    /// Unplugs a NIC; an absent one is fine.
    ///
    /// # Errors
    /// What the kernel or the switch say.
    pub async fn detach(&self, uuid: InstanceUuid, port: PortId) -> Result<(), Error> {
        self.forget(uuid, port);
        Ok(self.wiring.unplug(port).await.map_err(network::Error::from)?)
    }

    /// Takes an instance that was stopped off the network: its addresses must not answer. It gets its NICs back when it
    /// starts ([`Nics::prepare`]). Nothing to do for one without sandbox, or whose sandbox is down.
    ///
    /// # Errors
    /// The first step that fails; the others were taken all the same.
    pub async fn rest(&self, uuid: InstanceUuid) -> Result<(), Error> {
        if self.is_homeless(uuid) || self.sandboxes.find(uuid).await?.is_none() {
            return Ok(());
        }
        if let Some(metadata) = &self.metadata {
            metadata.detach(uuid).await;
        }
        let mut result = Ok(());
        for port in self.plugged_of(uuid).await? {
            let unplugged = self.wiring.unplug(port).await;
            result = result.and(unplugged.map_err(|error| network::Error::from(error).into()));
        }
        result.and(self.sandboxes.stop(uuid).await.map_err(Error::from))
    }

    /// Removes all that an instance had, after its container is gone. What is not there is fine.
    ///
    /// # Errors
    /// The first step that fails; the others were taken all the same.
    pub async fn remove(&self, uuid: InstanceUuid, ports: &[PortId]) -> Result<(), Error> {
        if let Some(metadata) = &self.metadata {
            metadata.detach(uuid).await;
        }
        self.homeless().remove(&uuid);
        let mut result = Ok(());
        for port in ports {
            let unplugged = self.wiring.unplug(*port).await;
            result = result.and(unplugged.map_err(|error| network::Error::from(error).into()));
        }
        result.and(self.sandboxes.remove(uuid).await.map_err(Error::from))
    }

    /// What is plugged on this host.
    ///
    /// # Errors
    /// What the switch says.
    pub async fn plugged(&self) -> Result<Vec<Plugged>, Error> {
        Ok(self.wiring.ports().await.map_err(network::Error::from)?)
    }

    /// What is plugged of an instance.
    ///
    /// # Errors
    /// What the switch says.
    pub async fn plugged_of(&self, uuid: InstanceUuid) -> Result<Vec<PortId>, Error> {
        let of_it = self.plugged().await?.into_iter().filter(|plugged| plugged.instance == uuid);
        Ok(of_it.map(|plugged| plugged.port).collect())
    }

    /// Resolves when the switch says that the flows of these ports are there; for ever where no switch tells.
    pub async fn ready(&self, ports: &[PortId]) {
        for port in ports {
            if let Err(error) = self.wiring.ready(*port).await {
                tracing::debug!(%port, error = %Chain(&error), "the switch does not tell whether the port is ready");
                std::future::pending::<()>().await;
            }
        }
    }

    /// Instances that have a sandbox, running or not.
    ///
    /// # Errors
    /// When dockerd does not answer.
    pub async fn sandboxed(&self) -> Result<Vec<InstanceUuid>, Error> {
        Ok(self.sandboxes.list().await?)
    }

    /// Whether the sandbox of an instance runs.
    ///
    /// # Errors
    /// When dockerd does not answer.
    pub async fn has_running_sandbox(&self, uuid: InstanceUuid) -> Result<bool, Error> {
        Ok(self.sandboxes.find(uuid).await?.is_some())
    }

    /// True for an instance that is known to have no sandbox.
    pub fn is_homeless(&self, uuid: InstanceUuid) -> bool {
        self.homeless().contains_key(&uuid)
    }

    /// An instance runs without metadata, too: it is not worth a failed boot.
    async fn attach_metadata(&self, pid: u32, identity: &Identity) {
        let Some(metadata) = &self.metadata else { return };
        if let Err(error) = metadata.attach(pid, identity).await {
            let uuid = identity.instance;
            tracing::error!(instance_uuid = %uuid, error = %Chain(&error), "the instance has no metadata service");
        }
    }

    fn forget(&self, uuid: InstanceUuid, port: PortId) {
        if let Some(homeless) = self.homeless().get_mut(&uuid) {
            homeless.plans.remove(&port);
        }
    }

    fn homeless(&self) -> std::sync::MutexGuard<'_, HashMap<InstanceUuid, Homeless>> {
        self.homeless.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn identity(spec: &InstanceSpec, network_info: &NetworkInfo) -> Identity {
    let addresses = network_info.iter().flat_map(Vif::fixed_ips);
    Identity {
        instance: spec.uuid,
        project_id: spec.project_id.clone(),
        address: addresses.into_iter().next(),
    }
}
