//! Checks of addresses, ports, Keystone's place, and of `configuration.yaml` itself.

use std::collections::BTreeMap;

use super::super::{Network, Publish, did_you_mean};
use super::{Checker, is_name};

/// The bridge is called `oct-<project>`, and Linux allows 15 characters.
const PROJECT_LENGTH: usize = 11;

impl Checker<'_> {
    pub(super) fn addresses(&mut self) {
        let mut seen: BTreeMap<u32, &str> = BTreeMap::new();
        let limit = self.how.subnet.dynamic_from();
        for (name, service) in self.what.services.iter() {
            let Some(address) = &service.address else { continue };
            if !(2..limit).contains(&address.value) {
                let message =
                    format!("address {address} of service `{name}` must lie between 2 and {}", limit - 1);
                self.service_problem(address.place, message, None);
            }
            let elsewhere = match &service.network.value {
                Network::Bridge => None,
                Network::Host => Some("the host's network".to_owned()),
                Network::Service(owner) => Some(format!("the network of `{owner}`")),
            };
            if let Some(elsewhere) = elsewhere {
                self.service_problem(
                    address.place,
                    format!("service `{name}` lives in {elsewhere} and has no address of its own"),
                    None,
                );
            }
            if let Some(other) = seen.insert(address.value, name) {
                self.service_problem(
                    address.place,
                    format!("services `{other}` and `{name}` both want address {address}"),
                    None,
                );
            }
        }
    }

    pub(super) fn ports(&mut self) {
        let mut seen: BTreeMap<u16, &str> = BTreeMap::new();
        for (name, service) in self.enabled() {
            for port in service.api.iter().map(|api| &api.port).chain(&service.ports) {
                if let Some(other) = seen.insert(port.value, name) {
                    self.service_problem(
                        port.place,
                        format!("services `{other}` and `{name}` both want port {port}"),
                        None,
                    );
                }
            }
        }
    }

    /// Keystone's users and catalogue need a Keystone, and one front that publishes the APIs.
    pub(super) fn identity(&mut self) {
        let identity = self.enabled().find(|(_, service)| catalogue_type(service) == Some("identity"));
        for (name, service) in self.enabled() {
            let Some(user) = &service.needs.keystone_user else { continue };
            match identity {
                None => {
                    let message = format!(
                        "service `{name}` needs a Keystone user, but no service has a catalogue entry of type identity"
                    );
                    self.service_problem(user.place, message, None);
                }
                Some((keystone, _)) if self.closure(keystone).contains(name.as_str()) => {
                    let message = format!(
                        "service `{name}` needs a Keystone user, but `{keystone}` itself depends on it"
                    );
                    self.service_problem(user.place, message, None);
                }
                Some(_) => {}
            }
        }
        let fronts: Vec<_> = self
            .enabled()
            .filter(|(_, service)| matches!(service.publish.as_deref(), Some(Publish::Api)))
            .collect();
        if let (Some((keystone, _)), []) = (identity, fronts.as_slice()) {
            let message = format!(
                "`{keystone}` has a catalogue, but no service has `publish: api`: nobody could reach it"
            );
            self.service_problem(keystone.place, message, None);
        }
        for (index, (name, service)) in fronts.iter().enumerate() {
            if index > 0 {
                self.service_problem(
                    name.place,
                    format!("services `{}` and `{name}` both publish the APIs", fronts[0].0),
                    None,
                );
            }
            if service.address.is_none() {
                let message = format!(
                    "service `{name}` publishes the APIs and needs a fixed `address` for the internal endpoints"
                );
                self.service_problem(name.place, message, None);
            }
        }
    }

    pub(super) fn configuration(&mut self) {
        let how = self.how;
        if self.what.services.get(&how.project).is_some() {
            let help = "logs of the two would share a folder".to_owned();
            let message = format!("the project cannot be called `{}` like a service", how.project);
            self.configuration_problem(how.project.place, message, Some(help));
        }
        if !is_name(&how.project) || how.project.len() > PROJECT_LENGTH {
            let help = format!(
                "lower-case letters, digits and dashes, a letter first, at most {PROJECT_LENGTH} characters"
            );
            self.configuration_problem(
                how.project.place,
                format!("`{}` cannot be the name of a project", how.project),
                Some(help),
            );
        }
        let tag = !how.release.is_empty()
            && how.release.len() <= 32
            && how.release.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
        if !tag {
            self.configuration_problem(
                how.release.place,
                format!("`{}` cannot be the name of a release", how.release),
                None,
            );
        }
        let releases = self.files.releases;
        if !releases.is_empty() && !releases.contains(how.release.as_str()) {
            let known = releases.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            self.configuration_problem(
                how.release.place,
                format!("`{}` is no release of OpenStack that can be deployed", how.release),
                Some(format!("known are {known}")),
            );
        }
        let title = &how.dashboard.title;
        if title.is_empty() || title.chars().any(|c| c.is_control() || "'\"\\".contains(c)) {
            let message =
                "the title of the dashboard is empty, or has quotes, backslashes or line ends in it";
            self.configuration_problem(title.place, message.to_owned(), None);
        }
        let base = &how.images.base;
        if base.from == super::super::BaseFrom::Tarball && base.path.is_none() {
            self.configuration_problem(
                how.project.place,
                "images.base.from is tarball, but images.base.path is not given".into(),
                None,
            );
        }
        if how.api_address.is_unspecified() || how.api_address.is_multicast() {
            let help =
                "an address the users of the cloud can reach; it stands in Keystone's catalogue".to_owned();
            self.configuration_problem(
                how.api_address.place,
                format!("api_address cannot be {}", how.api_address),
                Some(help),
            );
        }
        for (name, over) in how.services.iter() {
            if self.what.services.get(name).is_none() && !self.files.blanked.contains(&name.value) {
                let help = did_you_mean(name, self.what.services.names());
                self.configuration_problem(
                    name.place,
                    format!("there is no service `{name}` in services.yaml"),
                    help,
                );
            }
            if over.workers == Some(0) {
                self.configuration_problem(
                    name.place,
                    format!("service `{name}` needs at least one worker"),
                    None,
                );
            }
        }
    }
}

fn catalogue_type(service: &super::Service) -> Option<&str> {
    service.api.as_ref()?.catalogue.as_ref().map(|catalogue| catalogue.kind.as_str())
}
