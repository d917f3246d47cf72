//! Checks of network namespaces: who joins whose, what only their owner can have, and the cloud's own networks.

use super::super::{At, Network, Service, did_you_mean};
use super::Checker;

impl Checker<'_> {
    /// Services that join the network of another one, and what belongs to a network namespace.
    pub(super) fn namespaces(&mut self) {
        for (name, service) in self.what.services.iter() {
            if let Some(owner) = service.joins() {
                self.owner(name, service, owner);
            }
            for job in &service.init {
                if let Some(At { value: Network::Service(_), place }) = &job.network {
                    let message =
                        format!("job `{}` can run in its service's network, bridge, or host", job.name);
                    self.service_problem(*place, message, None);
                }
            }
            let owner = match &service.network.value {
                Network::Bridge => continue,
                Network::Host => "the host's".to_owned(),
                Network::Service(owner) => format!("that of `{owner}`"),
            };
            for port in &service.ports {
                let message = format!("service `{name}` cannot publish port {port}: its network is {owner}");
                self.service_problem(port.place, message, self.move_to_owner(service, "`ports`"));
            }
            for (setting, _) in service.sysctls.iter() {
                let message = format!("service `{name}` cannot set `{setting}`: its network is {owner}");
                self.service_problem(setting.place, message, self.move_to_owner(service, "`sysctls`"));
            }
        }
    }

    fn move_to_owner(&self, service: &Service, what: &str) -> Option<String> {
        service.joins().map(|owner| format!("write it below {what} of `{owner}`"))
    }

    fn owner(&mut self, name: &str, service: &Service, owner: &str) {
        let place = service.network.place;
        let Some(joined) = self.what.services.get(owner) else {
            if !self.files.blanked.contains(owner) {
                let message =
                    format!("service `{name}` joins the network of `{owner}`, which is not defined");
                let help = did_you_mean(owner, self.what.services.names());
                self.service_problem(place, message, help);
            }
            return;
        };
        let enabled = |wanted: &str| self.enabled().any(|(other, _)| other.as_str() == wanted);
        if enabled(name) && !enabled(owner) {
            let message = format!("service `{name}` joins the network of `{owner}`, which is switched off");
            self.service_problem(place, message, None);
        }
        let better = match &joined.network.value {
            // Joining oneself is a circle, which is told as one.
            Network::Bridge => return,
            Network::Service(_) if owner == name => return,
            Network::Host => "network: host".to_owned(),
            Network::Service(further) => format!("network: service:{further}"),
        };
        self.service_problem(
            place,
            format!("service `{name}` joins the network of `{owner}`, which is not its own"),
            Some(format!("write `{better}`")),
        );
    }

    /// Kernel settings that Docker may set for one container.
    pub(super) fn sysctls(&mut self) {
        const NAMESPACED: [&str; 5] = ["net.", "kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue."];
        for (name, service) in self.what.services.iter() {
            for (setting, _) in service.sysctls.iter() {
                if !NAMESPACED.iter().any(|prefix| setting.starts_with(prefix)) {
                    let message = format!(
                        "`{setting}` of service `{name}` is a setting of the whole host, not of a container"
                    );
                    let help = "containers have their own net.*, kernel.msg*, kernel.sem, kernel.shm* and fs.mqueue.*";
                    self.service_problem(setting.place, message, Some(help.to_owned()));
                }
            }
        }
    }

    /// Floating addresses are routed by the host: they cannot be those of the platform's bridge.
    pub(super) fn provider_subnet(&mut self) {
        let how = self.how;
        let provider = &how.networks.provider_subnet;
        if provider.overlaps(&how.subnet) {
            let place = if provider.place.line > 0 { provider.place } else { how.subnet.place };
            self.configuration_problem(
                place,
                format!(
                    "networks.provider_subnet {provider} overlaps the platform's own subnet {}",
                    how.subnet
                ),
                Some("floating addresses need a range of their own, for example 10.20.0.0/24".to_owned()),
            );
        }
    }
}
