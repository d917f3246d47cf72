//! What templates can use. The list stands in README's section on templates; a name not in it is an error, not an empty string.

use std::collections::BTreeMap;
use std::path::Path;

use common::config::{Api, Config, Service, Subnet};
use serde_json::{Map, Value, json};
use tera::Context;

use crate::bootstrap::secrets::Secrets;
use crate::plan::platform::{self, Platform};

/// For configuration files of a service that has `host_folder` on the host: everything, secrets too.
pub(crate) fn service_context(
    platform: &Platform,
    secrets: &Secrets,
    (name, service): (&str, &Service),
    host_folder: &Path,
) -> Context {
    let mut context = command_context(platform, name, service, host_folder);
    let known: Map<String, Value> =
        secrets.iter().map(|(name, secret)| (name.to_owned(), json!(secret.reveal()))).collect();
    context.insert("secrets", &known);
    let from_host = platform.on_host(name);
    if let Some(host) = platform.database.as_ref().and_then(|database| platform.address(database, from_host))
    {
        context.insert("db", &databases(platform, secrets, &host));
    }
    let broker = platform.broker.as_ref().and_then(|broker| platform.address(broker, from_host));
    if let (Some(host), Some(password)) = (broker, secrets.get(platform::BROKER_SECRET)) {
        let url = format!("rabbit://{}:{}@{host}:5672/", platform::BROKER_USER, password.reveal());
        context.insert("transport_url", &url);
    }
    context
}

/// For commands and environments of a service that has `host_folder` on the host.
pub(crate) fn command_context(
    platform: &Platform,
    name: &str,
    service: &Service,
    host_folder: &Path,
) -> Context {
    let mut context = public_context(platform, name, service);
    context.insert("host_folder", host_folder);
    context
}

/// What `docker inspect` may show: everything but secrets.
pub(crate) fn public_context(platform: &Platform, name: &str, service: &Service) -> Context {
    let configuration = &platform.config.configuration;
    let from_host = platform.on_host(name);
    let mut context = Context::new();
    context.insert("project", platform.project());
    context.insert("release", platform.release());
    context.insert("region", &configuration.region);
    context.insert("api_address", &*configuration.api_address);
    context.insert("subnet", &*configuration.subnet);
    context.insert("bind", if from_host { "127.0.0.1" } else { "0.0.0.0" });
    context.insert("workers", &platform.workers(name));
    context.insert("admin", &configuration.admin);
    context.insert("config", configuration);
    context.insert("service", &described(name, service));
    context.insert("variables", &service.variables);
    context.insert("addresses", &addresses(platform, from_host));
    context.insert("fixed_addresses", &fixed_addresses(platform));
    if let Some(address) = platform.fixed_address(platform.home(name)) {
        context.insert("home_address", &address);
    }
    context.insert("joined", &platform.joined(name));
    context.insert("container", &platform.container(name));
    context.insert("provider", &provider(&configuration.networks.provider_subnet));
    context.insert("endpoints", &endpoints(platform));
    context.insert("site", &platform.site().unwrap_or_default());
    context.insert("apis", &apis(platform));
    if let Some(servers) = platform.memcached(from_host) {
        context.insert("memcached_servers", &servers);
    }
    context
}

/// For Dockerfiles. Images are shared by all projects of a host: nothing of a project belongs in here.
pub(crate) fn image_context(config: &Config, name: &str, from: &str) -> Context {
    let mut context = Context::new();
    context.insert("image", name);
    context.insert("from", from);
    context.insert("release", config.configuration.release.as_str());
    context
}

fn described(name: &str, service: &Service) -> Value {
    let api = service.api.as_ref().map(|api| json!({ "port": api.port.value, "check": api.check }));
    json!({ "name": name, "user": service.user.value, "api": api.unwrap_or_else(|| json!({})) })
}

/// SQLAlchemy URLs by database.
fn databases(platform: &Platform, secrets: &Secrets, host: &str) -> BTreeMap<String, String> {
    let mut urls = BTreeMap::new();
    for (name, service) in &platform.services {
        let user = Platform::database_user(name, service);
        let Some(password) = secrets.get(&platform::database_secret(&user)) else { continue };
        for database in &service.needs.databases {
            let url =
                format!("mysql+pymysql://{user}:{}@{host}/{database}?charset=utf8mb3", password.reveal());
            urls.insert(database.value.clone(), url);
        }
    }
    urls
}

/// Addresses of the services by their names, with underscores for dashes as Tera wants them.
fn addresses(platform: &Platform, from_host: bool) -> BTreeMap<String, String> {
    let reachable = |name: &String| Some((name.replace('-', "_"), platform.address(name, from_host)?));
    platform.names.iter().filter_map(reachable).collect()
}

/// The fixed addresses on the bridge, for programs that do not ask for names.
fn fixed_addresses(platform: &Platform) -> BTreeMap<String, String> {
    let fixed = |name: &String| Some((name.replace('-', "_"), platform.fixed_address(name)?.to_string()));
    platform.names.iter().filter_map(fixed).collect()
}

/// The provider network: its subnet, and the hypervisor's address in it.
fn provider(subnet: &Subnet) -> Value {
    json!({ "subnet": subnet, "gateway": subnet.gateway(), "prefix": subnet.prefix() })
}

/// URLs of the APIs by their catalogue type, with underscores for dashes.
fn endpoints(platform: &Platform) -> BTreeMap<String, Value> {
    let mut endpoints = BTreeMap::new();
    for (_, api) in platform.apis() {
        let Some(catalogue) = &api.catalogue else { continue };
        let (internal, public) = (platform.internal_url(api), platform.public_url(api));
        let urls = json!({
            "internal": format!("{internal}{}", catalogue.path),
            "public": format!("{public}{}", catalogue.path),
        });
        endpoints.insert(catalogue.kind.replace('-', "_"), urls);
    }
    endpoints
}

fn apis(platform: &Platform) -> Vec<Value> {
    let described = |(name, api): (&str, &Api)| {
        let routes = api.site.iter().flat_map(|site| &site.routes);
        let routes: Vec<_> = routes
            .filter(|route| platform.services.contains_key(&route.service.value))
            .map(|route| json!({ "path": route.path, "service": route.service.value, "port": route.port }))
            .collect();
        json!({ "name": name, "port": api.port.value, "check": api.check.as_deref().unwrap_or("/"),
            "description": platform.services[name].description, "site": api.site.is_some(), "routes": routes })
    };
    platform.apis().map(described).collect()
}
