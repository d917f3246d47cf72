//! What can be known to fail before anything is made.

use std::collections::BTreeSet;

use common::config::{Network, Service};

use super::{Apply, Error};
use crate::engine::ports;
use crate::plan::diff::{Observed, State};
use crate::plan::order;

impl Apply<'_> {
    /// The checks that need no image, before minutes are spent on building some.
    pub(crate) async fn preflight(&self, wanted: &[String]) -> Result<(), Error> {
        let names = order::with_dependencies(&self.platform.services, &self.selected(wanted)?);
        let observed = self.docker.observe(self.platform.project()).await?;
        self.check_network(&observed)?;
        self.check_ports(&names, &observed)
    }

    /// A network cannot change its subnet, and its containers cannot change their network while they run.
    pub(super) fn check_network(&self, observed: &Observed) -> Result<(), Error> {
        let wanted = self.platform.config.configuration.subnet.to_string();
        match &observed.network {
            Some(subnet) if !subnet.is_empty() && *subnet != wanted => {
                Err(Error::Subnet { present: subnet.clone(), wanted })
            }
            _ => Ok(()),
        }
    }

    /// Ports on the host that our containers want and do not have yet.
    pub(super) fn check_ports(&self, names: &BTreeSet<String>, observed: &Observed) -> Result<(), Error> {
        let runs = |name: &str| {
            let container = observed.containers.get(&self.platform.container(name));
            container.is_some_and(|container| {
                matches!(container.state, State::Running | State::Restarting | State::Paused)
            })
        };
        let front = self.platform.front.as_ref().filter(|front| names.contains(*front) && !runs(front));
        if front.is_some() {
            let address = *self.platform.config.configuration.api_address;
            for (name, api) in self.platform.apis() {
                ports::check(address, api.port.value, name)?;
            }
        }
        let on_host = |name: &&String| self.platform.services[*name].network == Network::Host && !runs(name);
        for name in names.iter().filter(on_host) {
            if let Some(port) = probed_port(&self.platform.services[name]) {
                ports::check(self.platform.own_address(name), port, name)?;
            }
        }
        Ok(())
    }
}

/// The port a service in the host's network listens on, as its readiness tells.
fn probed_port(service: &Service) -> Option<u16> {
    let ready = service.ready.as_ref()?;
    ready.http.as_ref().map(|http| http.port).or_else(|| ready.tcp.as_ref().map(|tcp| tcp.port))
}
