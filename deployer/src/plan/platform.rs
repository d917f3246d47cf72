//! The platform that the two files describe, with every name derived in one place.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use common::config::{Api, Config, Job, Network, Publish, SecretKind, Service};

/// Account of the services at the message broker.
pub(crate) const BROKER_USER: &str = "openstack";
/// Secret of [`BROKER_USER`].
pub(crate) const BROKER_SECRET: &str = "rabbitmq_password";
/// Secret of MariaDB's administrator, `root`.
pub(crate) const DATABASE_SECRET: &str = "mariadb_root_password";
/// Secret of the cloud's administrator.
pub(crate) const ADMIN_SECRET: &str = "admin_password";
/// Secret of the user that `demo` makes.
pub(crate) const DEMO_SECRET: &str = "demo_password";
/// Secret that keys the hashes in labels: labels are readable, and a plain hash of a password can be guessed.
pub(crate) const SPEC_SECRET: &str = "spec_key";
/// The service whose containers share cached tokens.
const CACHE_SERVICE: &str = "memcached";
const CACHE_PORT: u16 = 11211;
/// The service that carries consoles to browsers.
const CONSOLES: &str = "nova-serialproxy";

/// The services that are switched on, and the parts some of them play.
#[derive(Debug)]
pub(crate) struct Platform {
    /// Both files.
    pub(crate) config: Config,
    /// Enabled services by name.
    pub(crate) services: BTreeMap<String, Service>,
    /// Enabled services in the order of the file, for people.
    pub(crate) names: Vec<String>,
    /// The service with `ready: { mysql: {} }`: where databases are made.
    pub(crate) database: Option<String>,
    /// The service with `ready: { amqp: {} }`: where messages go.
    pub(crate) broker: Option<String>,
    /// The service with a catalogue entry of type identity: Keystone.
    pub(crate) identity: Option<String>,
    /// The service that publishes the APIs: HAProxy.
    pub(crate) front: Option<String>,
}

impl Platform {
    /// The platform of `config` with `profiles`.
    pub(crate) fn new(config: &Config, profiles: &[String]) -> Self {
        let names: Vec<String> = config.enabled(profiles).map(|(name, _)| name.to_owned()).collect();
        let mut services: BTreeMap<String, Service> =
            config.enabled(profiles).map(|(name, service)| (name.to_owned(), service.clone())).collect();
        // What another mechanism would need is not waited for.
        for service in services.values_mut() {
            service.depends_on.retain(|other| names.contains(&other.value));
        }
        let find =
            |wanted: &dyn Fn(&Service) -> bool| names.iter().find(|name| wanted(&services[*name])).cloned();
        Platform {
            database: find(&|service| service.ready.as_ref().is_some_and(|ready| ready.mysql.is_some())),
            broker: find(&|service| service.ready.as_ref().is_some_and(|ready| ready.amqp.is_some())),
            identity: find(&|service| catalogue_type(service) == Some("identity")),
            front: find(&|service| matches!(service.publish.as_deref(), Some(Publish::Api))),
            config: config.clone(),
            services,
            names,
        }
    }

    pub(crate) fn project(&self) -> &str {
        &self.config.configuration.project
    }

    pub(crate) fn release(&self) -> &str {
        &self.config.configuration.release
    }

    pub(crate) fn container(&self, service: &str) -> String {
        format!("{}-{service}", self.project())
    }

    pub(crate) fn job_container(&self, service: &str, job: &Job) -> String {
        format!("{}-{service}-{}", self.project(), job.name)
    }

    pub(crate) fn volume(&self, volume: &str) -> String {
        format!("{}-{volume}", self.project())
    }

    /// Name of the Docker network.
    pub(crate) fn network(&self) -> String {
        self.project().to_owned()
    }

    /// Name of the network's Linux bridge; at most 15 characters.
    pub(crate) fn bridge(&self) -> String {
        format!("oct-{}", self.project())
    }

    /// Full name of an image of `services.yaml`.
    pub(crate) fn image(&self, name: &str) -> String {
        self.config.configuration.image(name)
    }

    /// Named volumes of the enabled services.
    pub(crate) fn volumes(&self) -> Vec<String> {
        let mut volumes: Vec<String> = self
            .services
            .values()
            .flat_map(|service| service.volumes.names().map(|name| self.volume(name)).collect::<Vec<_>>())
            .collect();
        volumes.sort();
        volumes.dedup();
        volumes
    }

    /// APIs in the order of the file.
    pub(crate) fn apis(&self) -> impl Iterator<Item = (&str, &Api)> {
        self.names.iter().filter_map(|name| Some((name.as_str(), self.services[name].api.as_ref()?)))
    }

    /// Worker processes of a service.
    pub(crate) fn workers(&self, service: &str) -> u32 {
        let configuration = &self.config.configuration;
        configuration
            .services
            .get(service)
            .and_then(|over| over.workers)
            .unwrap_or_else(|| configuration.size.workers())
    }

    /// Memory limit of a service in bytes.
    pub(crate) fn memory(&self, service: &str) -> Option<u64> {
        let over = self.config.configuration.services.get(service).and_then(|over| over.memory);
        over.or_else(|| self.services.get(service)?.memory).map(|memory| memory.0)
    }

    /// The service's fixed address on the bridge.
    pub(crate) fn fixed_address(&self, service: &str) -> Option<Ipv4Addr> {
        Some(self.config.configuration.subnet.host(self.services.get(service)?.address.as_ref()?.value))
    }

    /// The service whose network namespace `service` lives in: itself, or the one it joins.
    pub(crate) fn home<'a>(&'a self, service: &'a str) -> &'a str {
        self.services.get(service).and_then(Service::joins).unwrap_or(service)
    }

    /// Containers of the services that join the network of `owner`.
    pub(crate) fn joined(&self, owner: &str) -> Vec<String> {
        let joins = |name: &&String| self.services[*name].joins() == Some(owner);
        self.names.iter().filter(joins).map(|name| self.container(name)).collect()
    }

    /// Ports the container of `service` publishes on `api_address`, each with the service it is for.
    pub(crate) fn published(&self, service: &str) -> impl Iterator<Item = (u16, &str)> {
        let found = self.services.get_key_value(service);
        let apis = found.is_some_and(|(_, service)| service.publish.is_some());
        let apis = self.apis().filter(move |_| apis).map(|(name, api)| (api.port.value, name));
        let own = found
            .into_iter()
            .flat_map(|(name, service)| service.ports.iter().map(move |port| (port.value, name.as_str())));
        apis.chain(own)
    }

    /// True when `service` lives in the host's network namespace.
    pub(crate) fn on_host(&self, service: &str) -> bool {
        self.services.get(service).is_some_and(|service| *service.network == Network::Host)
    }

    /// Where a service listens, seen from its own network: two platforms share the host's, so there each keeps to its
    /// `api_address`.
    pub(crate) fn own_address(&self, service: &str) -> Ipv4Addr {
        if self.on_host(service) { *self.config.configuration.api_address } else { Ipv4Addr::LOCALHOST }
    }

    /// How `service` is reached: by name on the bridge, by its fixed address from the host's network (`from_host`). What joins
    /// another's network is reached as that other.
    pub(crate) fn address(&self, service: &str, from_host: bool) -> Option<String> {
        let home = self.services.get_key_value(self.home(service))?.0;
        match (self.on_host(home), from_host) {
            (false, false) => Some(home.clone()),
            (false, true) => self.fixed_address(home).map(|address| address.to_string()),
            (true, true) => Some(self.own_address(home).to_string()),
            (true, false) => Some(self.config.configuration.subnet.gateway().to_string()),
        }
    }

    /// URL of an API or a web site for users, without its path.
    pub(crate) fn public_url(&self, api: &Api) -> String {
        let address = *self.config.configuration.api_address;
        match (&api.site, *api.port) {
            (Some(_), 443) => format!("https://{address}"),
            (Some(_), port) => format!("https://{address}:{port}"),
            (None, port) => format!("http://{address}:{port}"),
        }
    }

    /// URL of a page that a service serves by itself at a published port, with `/healthz` beside it; `None` when it has none.
    pub(crate) fn page_url(&self, service: &str) -> Option<String> {
        let http = self.services.get(service)?.health.as_ref()?.value.http.as_ref()?;
        let home = self.services.get(self.home(service))?;
        let published = home.ports.iter().any(|port| port.value == http.port);
        published.then(|| format!("http://{}:{}/", *self.config.configuration.api_address, http.port))
    }

    /// URL of the web site; `None` when there is none.
    pub(crate) fn site(&self) -> Option<String> {
        let mut sites = self.apis().filter(|(_, api)| api.site.is_some());
        sites.next().map(|(_, api)| self.public_url(api))
    }

    /// URL below which the consoles of instances are: the path of the web site that leads to Nova's proxy. `None` without one.
    pub(crate) fn consoles(&self) -> Option<String> {
        let routes = self.apis().filter_map(|(_, api)| Some((api, api.site.as_ref()?)));
        let mut paths = routes.flat_map(|(api, site)| site.routes.iter().map(move |route| (api, route)));
        let (api, route) = paths.find(|(_, route)| route.service.value == CONSOLES)?;
        Some(format!("{}{}", self.public_url(api), route.path))
    }

    /// URL of an API for services, without its path: the load balancer's address on the bridge, reachable from both networks.
    pub(crate) fn internal_url(&self, api: &Api) -> String {
        let front = self.front.as_deref().and_then(|front| self.fixed_address(front));
        front.map_or_else(|| self.public_url(api), |address| format!("http://{address}:{}", api.port))
    }

    /// `host:port` of the cache, as [`Platform::address`].
    pub(crate) fn memcached(&self, from_host: bool) -> Option<String> {
        Some(format!("{}:{CACHE_PORT}", self.address(CACHE_SERVICE, from_host)?))
    }

    /// MariaDB account of a service that needs databases.
    pub(crate) fn database_user(name: &str, service: &Service) -> String {
        service.needs.database_user.as_ref().map_or_else(|| name.replace('-', "_"), |user| user.value.clone())
    }

    /// Every secret the platform needs.
    pub(crate) fn wanted_secrets(&self) -> BTreeMap<String, SecretKind> {
        let mut wanted = BTreeMap::from([(SPEC_SECRET.to_owned(), SecretKind::Hex)]);
        let implied = [
            (&self.database, DATABASE_SECRET),
            (&self.broker, BROKER_SECRET),
            (&self.identity, ADMIN_SECRET),
        ];
        for (_, secret) in implied.into_iter().filter(|(part, _)| part.is_some()) {
            wanted.insert(secret.to_owned(), SecretKind::Password);
        }
        for (name, service) in &self.services {
            wanted.extend(service.needs.secrets.clone());
            if !service.needs.databases.is_empty() {
                wanted.insert(database_secret(&Self::database_user(name, service)), SecretKind::Password);
            }
            if let Some(user) = &service.needs.keystone_user {
                wanted.insert(keystone_secret(user), SecretKind::Password);
            }
        }
        wanted
    }
}

/// Name of a MariaDB account's secret.
pub(crate) fn database_secret(user: &str) -> String {
    format!("{user}_db_password")
}

/// Name of a Keystone user's secret.
pub(crate) fn keystone_secret(user: &str) -> String {
    format!("{}_keystone_password", user.replace('-', "_"))
}

fn catalogue_type(service: &Service) -> Option<&str> {
    service.api.as_ref()?.catalogue.as_ref().map(|catalogue| catalogue.kind.as_str())
}
