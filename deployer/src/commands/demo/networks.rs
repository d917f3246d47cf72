//! The demo's networks: `public` with the floating addresses, `private` behind a router, and who may come in with which key.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use crate::cloud::Cloud;
use crate::cloud::networks::{NETWORK, ROUTER, SECURITY_GROUP, SUBNET};
use crate::settings::Settings;

/// The provider network.
const PUBLIC: &str = "public";
/// The tenants' network.
pub(crate) const PRIVATE: &str = "private";
/// Subnet of [`PRIVATE`].
const PRIVATE_SUBNET: &str = "192.168.77.0/24";
/// The security group, the router, and the key pair.
pub(crate) const NAME: &str = "demo";
/// SSH and the web server of the demo image.
const OPEN_PORTS: [u16; 2] = [22, 80];

/// What a server of the demo is made with.
pub(crate) struct Networks {
    /// Id of the provider network.
    pub(crate) public: String,
    /// Id of the tenants' network.
    pub(crate) private: String,
    /// Id of the router between them.
    pub(crate) router: String,
    /// File of the private key.
    pub(crate) key: PathBuf,
}

/// Makes what is missing.
pub(crate) async fn ensure(settings: &Settings, cloud: &Cloud) -> Result<Networks> {
    let provider = &settings.config.configuration.networks.provider_subnet;
    let public = json!({ "name": PUBLIC, "router:external": true,
        "provider:network_type": "flat", "provider:physical_network": "physnet1" });
    let public = cloud.ensure_network_resource(NETWORK, public).await?;
    // The first ten addresses are for the gateway and whatever a person puts there by hand.
    let subnet = json!({ "name": PUBLIC, "network_id": public, "ip_version": 4, "cidr": provider.to_string(),
        "gateway_ip": provider.gateway().to_string(), "enable_dhcp": false,
        "allocation_pools": [{ "start": provider.host(10).to_string(),
            "end": provider.host(provider.size() - 2).to_string() }] });
    cloud.ensure_network_resource(SUBNET, subnet).await?;

    let private = cloud.ensure_network_resource(NETWORK, json!({ "name": PRIVATE })).await?;
    let subnet = json!({ "name": PRIVATE, "network_id": private, "ip_version": 4, "cidr": PRIVATE_SUBNET,
        "dns_nameservers": [provider.gateway().to_string()] });
    let subnet = cloud.ensure_network_resource(SUBNET, subnet).await?;
    let router = json!({ "name": NAME, "external_gateway_info": { "network_id": public } });
    let router = cloud.ensure_network_resource(ROUTER, router).await?;
    cloud.ensure_router_interface(&router, &subnet).await?;

    let group = json!({ "name": NAME, "description": "SSH, HTTP and ping from everywhere" });
    let group = cloud.ensure_network_resource(SECURITY_GROUP, group).await?;
    for port in OPEN_PORTS {
        cloud.ensure_ingress(&group, "tcp", Some(port)).await?;
    }
    cloud.ensure_ingress(&group, "icmp", None).await?;
    Ok(Networks { public, private, router, key: key(settings, cloud).await? })
}

/// The file of the private key. Nova keeps the public half only: when either half is missing both are made anew.
async fn key(settings: &Settings, cloud: &Cloud) -> Result<PathBuf> {
    let path = settings.paths.state.join("demo_key");
    if path.exists() && cloud.has_keypair(NAME).await? {
        return Ok(path);
    }
    let private = cloud.new_keypair(NAME).await?;
    write(&path, private.reveal()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// For its owner only, from the first byte on.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let _ = std::fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(new, path)
}
