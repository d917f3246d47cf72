//! Checks of each service alone, and of what services say of one another.

use std::collections::{BTreeMap, BTreeSet};

use super::super::graph::cycle;
use super::super::{Place, Service};
use super::{Checker, is_identifier, is_name};

/// Capabilities a container may keep. Docker would refuse others late, at the creation of the container.
const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "KILL",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_ADMIN",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PTRACE",
    "SYS_RESOURCE",
];

impl Checker<'_> {
    pub(super) fn services(&mut self) {
        let images: Vec<&str> = self.what.images.names().collect();
        for (name, service) in self.what.services.iter() {
            if !is_name(name) {
                let help = "lower-case letters, digits and dashes, a letter first".to_owned();
                self.service_problem(
                    name.place,
                    format!("`{name}` cannot be the name of a service"),
                    Some(help),
                );
            }
            self.known(&service.image, images.clone(), |image| {
                format!("service `{name}` runs image `{image}`, which is not defined")
            });
            if service.command.is_empty() {
                self.service_problem(name.place, format!("the command of service `{name}` is empty"), None);
            }
            for (path, template) in service.config.iter() {
                self.absolute(path.place, path, "config");
                self.template(template, &format!("service `{name}`"));
            }
            self.paths(service);
            for route in service.api.iter().filter_map(|api| api.site.as_ref()).flat_map(|site| &site.routes)
            {
                let services: Vec<&str> = self.what.services.names().collect();
                self.known(&route.service, services, |other| {
                    format!("service `{name}` has a route to `{other}`, which is not defined")
                });
            }
            self.capabilities(service);
            self.probes(name, service);
            self.needs(service);
            self.jobs(name, service);
        }
    }

    fn absolute(&mut self, place: Place, path: &str, key: &str) {
        if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
            self.service_problem(place, format!("`{key}` names `{path}`, which is no absolute path"), None);
        }
    }

    fn paths(&mut self, service: &Service) {
        for (volume, path) in service.volumes.iter() {
            if !is_name(volume) {
                self.service_problem(
                    volume.place,
                    format!("`{volume}` cannot be the name of a volume"),
                    None,
                );
            }
            self.absolute(volume.place, path, "volumes");
        }
        for (from, to) in service.mounts.iter() {
            self.absolute(from.place, from, "mounts");
            self.absolute(from.place, to.strip_suffix(":ro").unwrap_or(to), "mounts");
        }
        for device in &service.devices {
            self.absolute(device.place, device, "devices");
        }
    }

    fn capabilities(&mut self, service: &Service) {
        for capability in &service.capabilities {
            self.known(capability, CAPABILITIES.to_vec(), |name| {
                format!("`{name}` is no capability a container may keep")
            });
        }
    }

    fn probes(&mut self, name: &str, service: &Service) {
        if let Some(ready) = &service.ready {
            let kinds = [
                ready.http.is_some(),
                ready.tcp.is_some(),
                ready.mysql.is_some(),
                ready.amqp.is_some(),
                ready.rpc.is_some(),
                ready.log.is_some(),
                ready.exec.as_ref().is_some_and(|command| !command.is_empty()),
            ];
            if kinds.into_iter().filter(|given| *given).count() != 1 {
                let message = format!(
                    "`ready` of service `{name}` needs exactly one of http, tcp, mysql, amqp, rpc, log, exec"
                );
                self.service_problem(ready.place, message, None);
            }
        }
        if let Some(health) = &service.health
            && health.http.is_some() == health.tcp.is_some()
        {
            self.service_problem(
                health.place,
                format!("`health` of service `{name}` needs exactly one of http, tcp"),
                None,
            );
        }
    }

    fn needs(&mut self, service: &Service) {
        let needs = &service.needs;
        for text in needs.databases.iter().chain(&needs.database_user).chain(&needs.keystone_user) {
            let fits = is_identifier(&text.replace('-', "_"));
            if !fits {
                self.service_problem(
                    text.place,
                    format!("`{text}` may hold lower-case letters, digits and underscores only"),
                    None,
                );
            }
        }
    }

    /// Databases need a server that is ready first.
    pub(super) fn databases(&mut self) {
        let is_server = |service: &Service| service.ready.as_ref().is_some_and(|ready| ready.mysql.is_some());
        for (name, service) in self.what.services.iter() {
            if !service.needs.databases.is_empty() && !self.reaches(name, is_server) {
                let message = format!(
                    "service `{name}` needs databases, but depends on no service with `ready: {{ mysql: {{}} }}`"
                );
                self.service_problem(name.place, message, None);
            }
        }
    }

    fn jobs(&mut self, name: &str, service: &Service) {
        let mut seen = BTreeSet::new();
        for job in &service.init {
            if !is_name(&job.name) {
                self.service_problem(
                    job.name.place,
                    format!("`{}` cannot be the name of a job", job.name),
                    None,
                );
            }
            if !seen.insert(job.name.as_str()) {
                self.service_problem(
                    job.name.place,
                    format!("service `{name}` has two jobs called `{}`", job.name),
                    None,
                );
            }
            if job.command.is_empty() {
                self.service_problem(
                    job.name.place,
                    format!("the command of job `{}` is empty", job.name),
                    None,
                );
            }
        }
    }

    pub(super) fn dependencies(&mut self) {
        let names: Vec<&str> = self.what.services.names().collect();
        let enabled: BTreeSet<&str> = self.enabled().map(|(name, _)| name.as_str()).collect();
        for (name, service) in self.what.services.iter() {
            for other in &service.depends_on {
                self.known(other, names.clone(), |other| {
                    format!("service `{name}` depends on `{other}`, which is not defined")
                });
                let wanted = |service: &Service| service.is_of(self.how.networks.mechanism);
                let off =
                    self.what.services.get(other).is_some_and(wanted) && !enabled.contains(other.as_str());
                if off && enabled.contains(name.as_str()) {
                    self.service_problem(
                        other.place,
                        format!("service `{name}` depends on `{other}`, which is switched off"),
                        None,
                    );
                }
            }
        }
        let edges: BTreeMap<&str, Vec<&str>> = self
            .what
            .services
            .iter()
            .map(|(name, service)| (name.as_str(), service.waits_for().collect()))
            .collect();
        if let Some(cycle) = cycle(&edges) {
            let place = self.what.services.get(cycle[0]).map(|service| {
                let named = service.depends_on.iter().find(|other| other.as_str() == cycle[1]);
                named.map_or(service.network.place, |other| other.place)
            });
            self.service_problem(
                place.unwrap_or_default(),
                format!("services depend on one another in a circle: {}", cycle.join(" -> ")),
                None,
            );
        }
    }

    /// True when `name` or something it depends on, however far, satisfies `wanted`.
    fn reaches(&self, name: &str, wanted: impl Fn(&Service) -> bool) -> bool {
        self.closure(name).into_iter().filter_map(|name| self.what.services.get(name)).any(wanted)
    }

    /// `name` and all it depends on, however far.
    pub(super) fn closure<'b>(&'b self, name: &'b str) -> BTreeSet<&'b str> {
        let mut queue = vec![name];
        let mut seen = BTreeSet::new();
        while let Some(next) = queue.pop() {
            if seen.insert(next) {
                queue.extend(self.what.services.get(next).into_iter().flat_map(Service::waits_for));
            }
        }
        seen
    }
}
