//! The picture of a platform: its services by layer, the ports it publishes, and who needs whom.
//!
//! [`Part`]s (what there is) ─► [`layout`] (where it goes; pure numbers) ─► [`svg`] (how it looks).

mod layout;
mod svg;

use std::collections::BTreeMap;

use common::config::{Network, Publish, Service};

use crate::plan::platform::Platform;

/// What is drawn of a service.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) description: String,
    /// As `status` says it; none when Docker was not asked.
    pub(crate) state: Option<&'static str>,
    pub(crate) version: Option<String>,
    /// Ports on the host.
    pub(crate) published: Vec<u16>,
    /// The port it listens on for the front.
    pub(crate) port: Option<u16>,
    /// Services it needs to be there first, and those it passes requests on to.
    pub(crate) needs: Vec<String>,
    layer: Layer,
}

/// The rows of the picture, from the top.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    /// Where requests come in.
    Front,
    /// Services with an API.
    Api,
    /// Services that work behind them.
    Worker,
    /// What others are built on.
    Base,
    /// What lives in the network namespace of the service named.
    Namespace(String),
    /// What lives in the host's network namespace.
    Host,
}

/// What is known of a service beside its entry in `services.yaml`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) state: Option<&'static str>,
    pub(crate) version: Option<String>,
    /// Ports on the host; `None` to take those that `services.yaml` says.
    pub(crate) published: Option<Vec<u16>>,
}

/// The picture as an SVG file. `seen` are the services to draw.
pub(crate) fn draw(platform: &Platform, seen: &BTreeMap<String, Seen>) -> String {
    let parts = parts(platform, seen);
    let title = format!("{} · OpenStack {}", platform.project(), platform.release());
    svg::write(&title, &parts, &layout::place(&parts))
}

fn parts(platform: &Platform, seen: &BTreeMap<String, Seen>) -> Vec<Part> {
    let drawn = |name: &&String| seen.contains_key(*name);
    let part = |name: &String| {
        let service = &platform.services[name];
        let Seen { state, version, published } = seen[name].clone();
        let planned = || {
            let mut ports: Vec<u16> = platform.published(name).map(|(port, _)| port).collect();
            ports.sort_unstable();
            ports
        };
        Part {
            name: name.clone(),
            description: service.description.clone(),
            state,
            version,
            published: published.unwrap_or_else(planned),
            port: service.api.as_ref().map(|api| *api.port),
            needs: needs(platform, name).into_iter().filter(|other| seen.contains_key(other)).collect(),
            layer: layer(platform, name, service),
        }
    };
    platform.names.iter().filter(drawn).map(part).collect()
}

/// What a service is connected to: what it waits for, and, for the front, the services behind it.
pub(crate) fn needs(platform: &Platform, name: &str) -> Vec<String> {
    let service = &platform.services[name];
    // That it lives in another's namespace is shown by the frame.
    let joined = service.joins();
    let mut needs: Vec<String> =
        service.waits_for().filter(|other| joined != Some(other)).map(str::to_owned).collect();
    if matches!(service.publish.as_deref(), Some(Publish::Api)) {
        needs.extend(platform.apis().map(|(api, _)| api.to_owned()));
        let sites = platform.apis().filter_map(|(_, api)| api.site.as_ref());
        needs.extend(sites.flat_map(|site| &site.routes).map(|route| route.service.value.clone()));
    }
    needs.retain(|other| platform.services.contains_key(other) && other != name);
    needs.sort();
    needs.dedup();
    needs
}

fn layer(platform: &Platform, name: &str, service: &Service) -> Layer {
    let is_front = |name: &str| platform.services[name].publish.is_some();
    let others = || platform.services.values();
    if is_front(name) {
        return Layer::Front;
    }
    match &*service.network {
        Network::Host => return Layer::Host,
        Network::Service(owner) if !is_front(owner) => return Layer::Namespace(owner.clone()),
        Network::Service(_) | Network::Bridge => {}
    }
    if others().any(|other| other.joins() == Some(name)) {
        Layer::Namespace(name.to_owned())
    } else if service.api.is_some() {
        Layer::Api
    } else if service.waits_for().next().is_none()
        && others().any(|other| other.waits_for().any(|needed| needed == name))
    {
        Layer::Base
    } else {
        Layer::Worker
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use common::config::{Sources, load};

    use super::*;

    /// The platform of this repository's files.
    fn shipped() -> Platform {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let config = load(&Sources { dir: root, configuration: None, sets: Vec::new() }).unwrap();
        Platform::new(&config, &[])
    }

    fn planned(platform: &Platform) -> BTreeMap<String, Seen> {
        let seen = |name: &String| {
            let version = crate::versions::planned(&platform.config, &platform.services[name]);
            (name.clone(), Seen { version, ..Seen::default() })
        };
        platform.names.iter().map(seen).collect()
    }

    #[test]
    fn the_picture_in_the_readme_is_that_of_services_yaml() {
        let platform = shipped();
        let shown = include_str!("../../platform.svg");
        assert!(
            draw(&platform, &planned(&platform)) == shown,
            "deployer/platform.svg is stale: ./octopenstack graph --planned deployer/platform.svg makes it anew"
        );
    }

    #[test]
    fn a_running_platform_shows_states_ports_and_only_what_is_there() {
        let platform = shipped();
        let seen = |state, ports: &[u16]| Seen {
            state: Some(state),
            version: Some("1.2 <&>".into()),
            published: Some(ports.to_vec()),
        };
        let seen = BTreeMap::from([
            ("mariadb".to_owned(), seen("ready", &[])),
            ("keystone".to_owned(), seen("running", &[])),
            ("horizon".to_owned(), seen("exited", &[])),
            ("haproxy".to_owned(), seen("ready", &[5000, 443])),
            ("hypervisor".to_owned(), seen("ready", &[9774])),
            ("nova-docker-agent".to_owned(), seen("ready", &[])),
        ]);
        insta::assert_snapshot!(draw(&platform, &seen));
    }

    #[test]
    fn every_service_has_its_layer() {
        let platform = shipped();
        let of = |name: &str| layer(&platform, name, &platform.services[name]);
        assert_eq!(of("haproxy"), Layer::Front);
        assert_eq!(of("nova-api"), Layer::Api);
        assert_eq!(of("nova-conductor"), Layer::Worker);
        assert_eq!(of("osctl"), Layer::Worker);
        assert_eq!(of("mariadb"), Layer::Base);
        assert_eq!(of("hypervisor"), Layer::Namespace("hypervisor".into()));
        assert_eq!(of("nova-docker-agent"), Layer::Namespace("hypervisor".into()));
        assert_eq!(of("provider-route"), Layer::Host);
    }
}
