//! `configuration.yaml`: HOW the platform is set. Every key is optional; the defaults stand here.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::units::{Memory, Subnet};
use super::yaml::{At, Entries};

/// The whole file.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Configuration {
    /// Name of this platform on the host: prefix of its containers, volumes and network (default `octo`).
    pub project: At<String>,
    /// Release of OpenStack, the tag of the images (default `2026.2`).
    pub release: At<String>,
    /// Region in Keystone's catalogue (default `RegionOne`).
    pub region: String,
    /// Address of the host on which the APIs answer (default 127.0.0.1: the first release has no TLS).
    pub api_address: At<Ipv4Addr>,
    /// Subnet of the platform's bridge (default 172.31.250.0/24).
    pub subnet: At<Subnet>,
    /// Number of workers per service (default small).
    pub size: Size,
    /// Where images come from.
    pub images: Images,
    /// The cloud's first administrator.
    pub admin: Admin,
    /// This host as a hypervisor.
    pub compute: Compute,
    /// Networks of the cloud itself.
    pub networks: Networks,
    /// The web site.
    pub dashboard: Dashboard,
    /// Per-service settings by the service's name.
    pub services: Entries<Override>,
}

impl Default for Configuration {
    fn default() -> Self {
        Configuration {
            project: At::nowhere("octo".into()),
            release: At::nowhere("2026.2".into()),
            region: "RegionOne".into(),
            api_address: At::nowhere(Ipv4Addr::LOCALHOST),
            subnet: At::nowhere(Subnet::DEFAULT),
            size: Size::default(),
            images: Images::default(),
            admin: Admin::default(),
            compute: Compute::default(),
            networks: Networks::default(),
            dashboard: Dashboard::default(),
            services: Entries::default(),
        }
    }
}

impl Configuration {
    /// Name and tag of an image of `services.yaml`.
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}:{}", self.images.repository, self.release)
    }
}

/// How much of the host the control plane may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// One worker per service.
    #[default]
    Small,
    /// Two workers.
    Medium,
    /// Four workers.
    Large,
}

impl Size {
    /// Worker processes of a service that says nothing else.
    pub fn workers(self) -> u32 {
        match self {
            Size::Small => 1,
            Size::Medium => 2,
            Size::Large => 4,
        }
    }
}

/// Where images come from, and what they are called.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Images {
    /// First part of their names (default `octopenstack`): platforms of different builds on one Docker engine differ in it.
    pub repository: String,
    /// The Debian root file system below all images.
    pub base: Base,
}

impl Default for Images {
    fn default() -> Self {
        Images { repository: "octopenstack".into(), base: Base::default() }
    }
}

/// The Debian root file system below all images.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Base {
    /// How it is had (default auto: pulled when a registry answers, else made by debootstrap).
    pub from: BaseFrom,
    /// Archive of a root file system, for `from: tarball`.
    pub path: Option<At<String>>,
    /// Debian mirror for debootstrap, and so for apt in the images (default: debootstrap's own).
    pub mirror: Option<String>,
}

/// Ways to the Debian root file system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BaseFrom {
    /// `pull` when a registry answers within seconds, else `debootstrap`.
    #[default]
    Auto,
    /// `debian:trixie-slim` from a registry.
    Pull,
    /// Made on this host.
    Debootstrap,
    /// From a local archive.
    Tarball,
}

/// The cloud's first administrator; the password is generated.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// User name (default admin).
    pub user: String,
    /// Project name (default admin).
    pub project: String,
}

impl Default for Admin {
    fn default() -> Self {
        Admin { user: "admin".into(), project: "admin".into() }
    }
}

/// This host as a hypervisor: settings of the agent.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Compute {
    /// Name of the hypervisor in Nova (default: the host's name).
    pub host: String,
    /// Memory kept from instances, in MB (default 512).
    pub reserved_memory_mb: u64,
    /// Virtual CPUs per real one (default 4).
    pub cpu_allocation_ratio: f64,
    /// Seconds a boot waits until Neutron reports its ports as plugged; then it fails (default 300, as Nova's; 0 waits not at all).
    pub vif_plugging_timeout: u64,
}

impl Default for Compute {
    fn default() -> Self {
        Compute {
            host: host_name(),
            reserved_memory_mb: 512,
            cpu_allocation_ratio: 4.0,
            vif_plugging_timeout: 300,
        }
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".into() } else { name.into() }
}

/// Networks of the cloud itself, as its users see them.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Networks {
    /// Subnet of the provider network, whose addresses are the floating ones (default 10.20.0.0/24). Its first address is the
    /// hypervisor's, and the gateway.
    pub provider_subnet: At<Subnet>,
    /// What makes them (default ovn).
    pub mechanism: Mechanism,
}

impl Default for Networks {
    fn default() -> Self {
        Networks { provider_subnet: At::nowhere(Subnet::DEFAULT_PROVIDER), mechanism: Mechanism::default() }
    }
}

/// ML2's mechanism driver in Neutron, by its own name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mechanism {
    /// OVN: networks, routers, floating addresses, DHCP and DNS.
    #[default]
    Ovn,
    /// Neutron's agent for Open vSwitch on each hypervisor: networks, without routers and floating addresses.
    Openvswitch,
}

/// The web site.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dashboard {
    /// What the pages are called (default OctOpenStack).
    pub title: At<String>,
    /// How they look when a visitor has not chosen (default `default`).
    pub theme: Theme,
}

impl Default for Dashboard {
    fn default() -> Self {
        Dashboard { title: At::nowhere("OctOpenStack".into()), theme: Theme::default() }
    }
}

/// Horizon's themes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Theme {
    /// Plain.
    #[default]
    Default,
    /// After Google's Material Design.
    Material,
}

/// Settings of one service.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Override {
    /// Switch it on or off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Worker processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<u32>,
    /// Memory limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Further environment variables; these win.
    pub environment: Entries<String>,
}
