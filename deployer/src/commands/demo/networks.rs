//! The demo's networks: `public` with the floating addresses, `private` behind a router, and who may come in with which key.
//! Where the mechanism of the cloud's networks has no routers, servers that shall be reached are on `public` themselves.

use std::path::PathBuf;

use anyhow::{Context, Result};
use common::config::Mechanism;
use serde_json::{Value, json};

use crate::cloud::Cloud;
use crate::cloud::networks::{NETWORK, ROUTER, SECURITY_GROUP, SUBNET, SUBNET_POOL};
use crate::logins::secret_file;
use crate::settings::Settings;

/// The provider network.
const PUBLIC: &str = "public";
/// The tenants' network.
pub(crate) const PRIVATE: &str = "private";
/// Where Neutron cuts the subnets from that it makes for `openstack server create --nic auto`.
const AUTO_SUBNETS: &str = "10.224.0.0/12";
/// Length of their prefix.
const AUTO_PREFIX: u8 = 24;
/// The security group, the router, and the key pair.
pub(crate) const NAME: &str = "demo";

/// What the part of a project is called: the administrator sees those of all, so no name is there twice.
pub(crate) struct Tenant {
    /// Its network and subnet.
    pub(crate) network: &'static str,
    cidr: &'static str,
    router: &'static str,
    security_group: &'static str,
}

/// The project of the first server.
const OF_ADMIN: Tenant =
    Tenant { network: PRIVATE, cidr: "192.168.77.0/24", router: NAME, security_group: NAME };
/// The project of the plain user.
pub(crate) const OF_USER: Tenant = Tenant {
    network: "demo-net",
    cidr: "192.168.78.0/24",
    router: "demo-router",
    security_group: "demo-access",
};
/// SSH and the web server of the demo image.
const OPEN_PORTS: [u16; 2] = [22, 80];

/// What a server of the demo is made with.
pub(crate) struct Networks {
    /// Id of the provider network.
    pub(crate) public: String,
    /// Id of the tenants' network.
    pub(crate) private: String,
    /// Id of the router between them, where there are routers.
    pub(crate) router: Option<String>,
    /// File of the private key.
    pub(crate) key: PathBuf,
}

impl Networks {
    /// Id and name of the network on which a server has to be so that it can be reached, by a floating address or its own.
    pub(crate) fn reachable(&self) -> (&str, &'static str) {
        if self.router.is_some() { (&self.private, PRIVATE) } else { (&self.public, PUBLIC) }
    }
}

/// Whether the cloud has routers, and with them floating addresses.
fn has_routers(settings: &Settings) -> bool {
    settings.config.configuration.networks.mechanism == Mechanism::Ovn
}

/// Makes what is missing.
pub(crate) async fn ensure(settings: &Settings, cloud: &Cloud) -> Result<Networks> {
    let provider = &settings.config.configuration.networks.provider_subnet;
    let mut public =
        json!({ "name": PUBLIC, "provider:network_type": "flat", "provider:physical_network": "physnet1" });
    if has_routers(settings) {
        // The default one of the external networks, to which a project's own network is connected when Neutron makes it.
        (public["router:external"], public["is_default"]) = (json!(true), json!(true));
    } else {
        public["shared"] = json!(true);
    }
    let public = cloud.ensure_network_resource(NETWORK, public).await?;
    // The first ten addresses are for the gateway and whatever a person puts there by hand.
    let subnet = json!({ "name": PUBLIC, "network_id": public, "ip_version": 4, "cidr": provider.to_string(),
        "gateway_ip": provider.gateway().to_string(), "enable_dhcp": false,
        "allocation_pools": [{ "start": provider.host(10).to_string(),
            "end": provider.host(provider.size() - 2).to_string() }] });
    cloud.ensure_network_resource(SUBNET, subnet).await?;

    let pool = json!({ "name": "auto", "prefixes": [AUTO_SUBNETS], "default_prefixlen": AUTO_PREFIX,
        "is_default": true, "shared": true });
    cloud.ensure_network_resource(SUBNET_POOL, pool).await?;

    let (private, router) = tenant(settings, cloud, &public, &OF_ADMIN).await?;
    Ok(Networks { public, private, router, key: key(settings, cloud).await? })
}

/// The part of the plain user, in whose session `cloud` is.
pub(crate) async fn of_user(settings: &Settings, cloud: &Cloud, public: &str) -> Result<()> {
    tenant(settings, cloud, public, &OF_USER).await.map(drop)
}

/// A network behind a router, where there are routers, and who may come in. Ids of the network and of the router.
async fn tenant(
    settings: &Settings,
    cloud: &Cloud,
    public: &str,
    names: &Tenant,
) -> Result<(String, Option<String>)> {
    let provider = &settings.config.configuration.networks.provider_subnet;
    let network = cloud.ensure_network_resource(NETWORK, json!({ "name": names.network })).await?;
    let mut subnet =
        json!({ "name": names.network, "network_id": network, "ip_version": 4, "cidr": names.cidr });
    if has_routers(settings) {
        subnet["dns_nameservers"] = json!([provider.gateway().to_string()]);
    } else {
        subnet["gateway_ip"] = Value::Null;
    }
    let subnet = cloud.ensure_network_resource(SUBNET, subnet).await?;
    let mut router = None;
    if has_routers(settings) {
        let body = json!({ "name": names.router, "external_gateway_info": { "network_id": public } });
        let made = cloud.ensure_network_resource(ROUTER, body).await?;
        cloud.ensure_router_interface(&made, &subnet).await?;
        router = Some(made);
    }

    let group = json!({ "name": names.security_group, "description": "SSH, HTTP and ping from everywhere" });
    let group = cloud.ensure_network_resource(SECURITY_GROUP, group).await?;
    for port in OPEN_PORTS {
        cloud.ensure_ingress(&group, "tcp", Some(port)).await?;
    }
    cloud.ensure_ingress(&group, "icmp", None).await?;
    Ok((network, router))
}

/// The file of the private key. Nova keeps the public half only: when either half is missing both are made anew.
async fn key(settings: &Settings, cloud: &Cloud) -> Result<PathBuf> {
    let path = settings.paths.state.join("demo_key");
    if path.exists() && cloud.has_keypair(NAME).await? {
        return Ok(path);
    }
    let private = cloud.new_keypair(NAME).await?;
    secret_file(&path, private.reveal()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
