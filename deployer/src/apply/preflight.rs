//! What can be known to fail before anything is made.

use std::collections::BTreeSet;
use std::path::Path;

use common::config::Service;

use super::{Apply, Error};
use crate::engine::{ports, routes};
use crate::plan::diff::{Observed, State};
use crate::plan::order;

/// The service that gives the host its way to floating addresses.
const PROVIDER_ROUTE: &str = "provider-route";

impl Apply<'_> {
    /// The checks that need no image, before minutes are spent on building some.
    pub(crate) async fn preflight(&self, wanted: &[String]) -> Result<(), Error> {
        let names = order::with_dependencies(&self.platform.services, &self.selected(wanted)?);
        let observed = self.docker.observe(self.platform.project()).await?;
        self.check_network(&observed)?;
        self.check_host(&names, &observed)
    }

    /// What the host must have free, or must have.
    pub(super) fn check_host(&self, names: &BTreeSet<String>, observed: &Observed) -> Result<(), Error> {
        self.check_ports(names, observed)?;
        self.check_devices(names)?;
        if names.contains(PROVIDER_ROUTE) {
            let subnet = &self.platform.config.configuration.networks.provider_subnet;
            routes::check(subnet, &self.platform.bridge())?;
        }
        Ok(())
    }

    fn check_devices(&self, names: &BTreeSet<String>) -> Result<(), Error> {
        for name in names {
            let devices = &self.platform.services[name].devices;
            if let Some(missing) = devices.iter().find(|device| !Path::new(device.as_str()).exists()) {
                return Err(Error::NoDevice { service: name.clone(), device: missing.value.clone() });
            }
        }
        Ok(())
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
    fn check_ports(&self, names: &BTreeSet<String>, observed: &Observed) -> Result<(), Error> {
        let runs = |name: &str| {
            let container = observed.containers.get(&self.platform.container(name));
            container.is_some_and(|container| {
                matches!(container.state, State::Running | State::Restarting | State::Paused)
            })
        };
        let address = *self.platform.config.configuration.api_address;
        for name in names.iter().filter(|name| !runs(name)) {
            for (port, service) in self.platform.published(name) {
                ports::check(address, port, service)?;
            }
        }
        let on_host = |name: &&String| self.platform.on_host(name) && !runs(name);
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
