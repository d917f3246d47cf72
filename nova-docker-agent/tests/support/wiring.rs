//! A host that plugs nothing and remembers what it was told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use common::ids::PortId;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use nova_docker_agent::instance::nics::Plug;
use nova_docker_agent::network::plan::NicPlan;
use nova_docker_agent::network::wiring::{Error, Plugged};

/// What the test sees.
#[derive(Debug, Default)]
pub(crate) struct Wiring {
    /// What is plugged, and how.
    pub(crate) plugged: Mutex<BTreeMap<PortId, NicPlan>>,
    /// Ports in the order in which they were plugged.
    pub(crate) history: Mutex<Vec<PortId>>,
    /// Namespaces that are silent, by a process in them.
    pub(crate) silent: Mutex<BTreeSet<u32>>,
    /// The next plug fails.
    pub(crate) refuse: Mutex<bool>,
}

impl Wiring {
    /// Ports that are plugged now.
    pub(crate) fn ports(&self) -> Vec<String> {
        self.plugged.lock().unwrap().keys().map(PortId::to_string).collect()
    }

    /// The addresses of each NIC that is plugged now.
    pub(crate) fn addresses(&self) -> BTreeMap<String, BTreeSet<String>> {
        let addresses = |plan: &NicPlan| plan.addresses.iter().map(|net| net.addr().to_string()).collect();
        self.plugged.lock().unwrap().iter().map(|(port, plan)| (port.to_string(), addresses(plan))).collect()
    }
}

impl Plug for Wiring {
    fn plug<'a>(&'a self, _pid: u32, plan: &'a NicPlan) -> BoxFuture<'a, Result<(), Error>> {
        if std::mem::take(&mut *self.refuse.lock().unwrap()) {
            return std::future::ready(Err(Error::Address("refused".into()))).boxed();
        }
        self.plugged.lock().unwrap().insert(plan.port, plan.clone());
        self.history.lock().unwrap().push(plan.port);
        std::future::ready(Ok(())).boxed()
    }

    fn unplug(&self, port: PortId) -> BoxFuture<'_, Result<(), Error>> {
        self.plugged.lock().unwrap().remove(&port);
        std::future::ready(Ok(())).boxed()
    }

    fn silence(&self, pid: u32, silent: bool) -> BoxFuture<'_, Result<(), Error>> {
        let mut namespaces = self.silent.lock().unwrap();
        match silent {
            true => namespaces.insert(pid),
            false => namespaces.remove(&pid),
        };
        std::future::ready(Ok(())).boxed()
    }

    fn ready(&self, _port: PortId) -> BoxFuture<'_, Result<(), Error>> {
        std::future::pending().boxed()
    }

    fn switch(&self) -> BoxFuture<'_, Option<Result<(), Error>>> {
        std::future::ready(Some(Ok(()))).boxed()
    }

    fn ports(&self) -> BoxFuture<'_, Result<Vec<Plugged>, Error>> {
        let plugged = self
            .plugged
            .lock()
            .unwrap()
            .iter()
            .map(|(port, plan)| Plugged { port: *port, instance: plan.instance, intact: true })
            .collect();
        std::future::ready(Ok(plugged)).boxed()
    }
}
