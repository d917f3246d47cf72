//! The agent's options: Nova's own names, files and defaults, plus one section `[docker]`.
//!
//! An operator may point the agent at the nova.conf of the nova-compute it replaces: options of Nova that the agent has
//! no use for are ignored, while `[docker]` is ours and every unknown option there is an error. Every option with its
//! default stands in `nova-docker-agent.conf.sample`; a test compares that file with the code.

mod ini;
mod options;
mod sections;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use ini::Ini;
use options::Options;

pub use common::openstack::session::{Credentials, Domain, EndpointFilter};
pub use common::secret::Secret;

/// The section whose options are ours alone.
const OWN_SECTION: &str = "docker";

/// What is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read the configuration file {path}")]
    Unreadable {
        /// The file as it was named on the command line.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// One or more options are wrong; all of them are told at once.
    #[error("the configuration is not usable:\n  {}", .0.join("\n  "))]
    Invalid(Vec<String>),
}

/// Everything the agent was told by its operator; complete and checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[DEFAULT] host`: name of the compute service and of its queues; the machine's host name unless set.
    pub host: String,
    /// `[DEFAULT] my_ip`: address by which other hosts reach this one (ComputeNode.host_ip).
    pub my_ip: String,
    /// `[DEFAULT] transport_url`: `rabbit://user:password@host:port/vhost`, several hosts separated by commas.
    pub transport_url: Secret,
    /// `[DEFAULT] control_exchange`: the exchange of Nova's RPC topics.
    pub control_exchange: String,
    /// `[DEFAULT] rpc_response_timeout`: seconds to wait for the conductor's answer.
    pub rpc_response_timeout: u64,
    /// `[DEFAULT] state_path`: directory of `compute_id`, of image archives while they are checked, and of files
    /// that dockerd mounts into instances.
    pub state_path: PathBuf,
    /// `[DEFAULT] debug`: log what was looked at and left alone, too.
    pub debug: bool,
    /// `[DEFAULT] reserved_host_memory_mb`: memory that placement does not give to instances, in MiB.
    pub reserved_host_memory_mb: u64,
    /// `[DEFAULT] reserved_host_disk_mb`: disk that placement does not give to instances, in MiB.
    pub reserved_host_disk_mb: u64,
    /// `[DEFAULT] reserved_host_cpus`: processors that placement does not give to instances.
    pub reserved_host_cpus: u64,
    /// `[DEFAULT] cpu_allocation_ratio`: how many vCPUs one processor counts for.
    pub cpu_allocation_ratio: f64,
    /// `[DEFAULT] ram_allocation_ratio`: how often memory may be given out.
    pub ram_allocation_ratio: f64,
    /// `[DEFAULT] disk_allocation_ratio`: how often disk may be given out.
    pub disk_allocation_ratio: f64,
    /// `[DEFAULT] max_concurrent_builds`: how many instances are built at the same time; 0 means no limit.
    pub max_concurrent_builds: usize,
    /// `[DEFAULT] max_concurrent_snapshots`: how many snapshots are taken at the same time; 0 means no limit.
    pub max_concurrent_snapshots: usize,
    /// `[DEFAULT] shutdown_timeout`: seconds a guest has to stop before it is killed.
    pub shutdown_timeout: u64,
    /// `[DEFAULT] report_interval`: seconds between two heartbeats of the service record.
    pub report_interval: u64,
    /// `[DEFAULT] update_resources_interval`: seconds between two audits of the host's resources.
    pub update_resources_interval: u64,
    /// `[DEFAULT] sync_power_state_interval`: seconds between two comparisons of power states; negative means never.
    pub sync_power_state_interval: i64,
    /// `[DEFAULT] resume_guests_state_on_host_boot`: start instances again that ran before the host went down.
    pub resume_guests_state_on_host_boot: bool,
    /// `[DEFAULT] force_config_drive`: every instance gets a config drive, asked for or not.
    pub force_config_drive: bool,
    /// `[DEFAULT] vif_plugging_timeout`: seconds that Neutron may take to report a port as plugged; 0 means no waiting.
    pub vif_plugging_timeout: u64,
    /// `[DEFAULT] vif_plugging_is_fatal`: a port that is not reported as plugged ends the build.
    pub vif_plugging_is_fatal: bool,
    /// `[DEFAULT] heal_instance_info_cache_interval`: seconds between two comparisons of the info caches with Neutron;
    /// 0 and less mean never.
    pub heal_instance_info_cache_interval: i64,
    /// `[DEFAULT] running_deleted_instance_action`: what happens to containers of instances that Nova has deleted.
    pub running_deleted_instance_action: RunningDeleted,
    /// `[DEFAULT] running_deleted_instance_poll_interval`: seconds between two searches for such containers.
    pub running_deleted_instance_poll_interval: u64,
    /// `[DEFAULT] instance_delete_interval`: seconds between two searches for what is left of deleted instances, of failed moves
    /// and of console sessions; negative means never.
    pub instance_delete_interval: i64,
    /// `[DEFAULT] resize_confirm_window`: seconds after which a resize is confirmed by itself; 0 means never.
    pub resize_confirm_window: u64,
    /// `[DEFAULT] reclaim_instance_interval`: seconds for which a deleted instance can be restored; 0 means not at all.
    pub reclaim_instance_interval: u64,
    /// `[DEFAULT] scheduler_instance_sync_interval`: seconds between two tellings of the schedulers which instances are
    /// here; negative means never.
    pub scheduler_instance_sync_interval: i64,
    /// `[DEFAULT] instance_build_timeout`: seconds after which a build counts as failed; 0 means never.
    pub instance_build_timeout: u64,
    /// `[DEFAULT] rescue_timeout`: seconds after which a rescue is ended; 0 means never.
    pub rescue_timeout: u64,
    /// `[DEFAULT] shelved_offload_time`: seconds after which a shelved instance leaves its host; negative means never.
    pub shelved_offload_time: i64,
    /// `[DEFAULT] shelved_poll_interval`: seconds between two searches for such instances; negative means never.
    pub shelved_poll_interval: i64,
    /// `[image_cache]`
    pub image_cache: ImageCache,
    /// `[DEFAULT] reboot_timeout`: seconds after which a soft reboot becomes a hard one; 0 means never.
    pub reboot_timeout: u64,
    /// `[oslo_messaging_rabbit]`
    pub rabbit: Rabbit,
    /// The service user that signs every request to Keystone: from `[placement]`, else `[service_user]`, else
    /// `[keystone_authtoken]`.
    pub auth: Credentials,
    /// `[placement]`: which endpoint of the catalogue.
    pub placement: EndpointFilter,
    /// `[glance]`: which endpoint of the catalogue.
    pub glance: EndpointFilter,
    /// `[neutron]`
    pub neutron: Neutron,
    /// `[ovs] ovsdb_connection`: where Open vSwitch's database listens; empty on a host without it.
    pub ovsdb_connection: String,
    /// `[serial_console]`
    pub serial_console: SerialConsole,
    /// `[consoleauth] token_ttl`: seconds for which the right to open a console is good.
    pub console_token_ttl: u64,
    /// `[docker]`
    pub docker: Docker,
    /// Options of Nova's that are set but mean nothing to this agent.
    pub ignored: Vec<String>,
}

/// `[oslo_messaging_rabbit]`: how queues are declared; it must equal what nova-api and nova-conductor are told.
#[derive(Debug, Clone)]
pub struct Rabbit {
    /// `amqp_durable_queues`
    pub amqp_durable_queues: bool,
    /// `amqp_auto_delete`
    pub amqp_auto_delete: bool,
    /// `rabbit_quorum_queue`
    pub rabbit_quorum_queue: bool,
    /// `rabbit_transient_quorum_queue`
    pub rabbit_transient_quorum_queue: bool,
    /// `rabbit_transient_queues_ttl`: seconds after which an unused reply or fanout queue goes away.
    pub rabbit_transient_queues_ttl: u64,
    /// `heartbeat_timeout_threshold`: seconds without a sign of life after which the connection counts as lost.
    pub heartbeat_timeout_threshold: u16,
}

/// `[neutron]`
#[derive(Debug, Clone)]
pub struct Neutron {
    /// Which endpoint of the catalogue.
    pub endpoint: EndpointFilter,
    /// The login of this section; the service user's is used when there is none.
    pub auth: Option<Credentials>,
    /// `extension_sync_interval`: seconds for which Neutron's list of extensions is believed.
    pub extension_sync_interval: u64,
    /// `metadata_proxy_shared_secret`: signs what instances ask of nova-metadata.
    pub metadata_proxy_shared_secret: Secret,
}

/// `[image_cache]`: images that no instance uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageCache {
    /// `manager_interval`: seconds between two searches for them; negative means never.
    pub manager_interval: i64,
    /// `remove_unused_base_images`: whether they are removed.
    pub remove_unused_base_images: bool,
    /// `remove_unused_original_minimum_age_seconds`: how long they stay.
    pub remove_unused_original_minimum_age_seconds: u64,
}

/// `[serial_console]`: consoles in users' browsers.
#[derive(Debug, Clone)]
pub struct SerialConsole {
    /// `enabled`
    pub enabled: bool,
    /// `base_url`: where users find nova-serialproxy.
    pub base_url: String,
    /// `port_range`: where it finds the consoles of this host.
    pub port_range: RangeInclusive<u16>,
    /// `proxyclient_address`: the address of this host on which it finds them.
    pub proxyclient_address: IpAddr,
}

/// `[docker]`: the agent's own section.
#[derive(Debug, Clone)]
pub struct Docker {
    /// `docker_url`: `unix://…` or `tcp://…`
    pub docker_url: String,
    /// `management_address`: where `/healthz` and `/metrics` are served.
    pub management_address: String,
    /// `management_port`; 0 means no management server.
    pub management_port: u16,
    /// `page_password`: of the operator's page, whose user is `operator`; the page is off without.
    pub page_password: Option<Secret>,
    /// `orphans`: what happens to containers, sandboxes and NICs of instances that Nova does not know.
    pub orphans: Orphans,
    /// `pids_limit`: how many processes an instance may have.
    pub pids_limit: i64,
    /// `allowed_image_properties`: which `docker_` properties of images are followed.
    pub allowed_image_properties: Vec<String>,
    /// `allowed_server_metadata`: which `docker_` metadata of servers is followed.
    pub allowed_server_metadata: Vec<String>,
    /// `allowed_capabilities`: what flavors may give by `docker:cap_add`, without `CAP_`.
    pub allowed_capabilities: Vec<String>,
    /// `security_opt`: what every instance runs under, as Docker's API takes it.
    pub security_opt: Vec<String>,
    /// `inject_password`: give the administrator of an instance the password of the request.
    pub inject_password: bool,
    /// `disk_device`: the device with Docker's files; found by itself when absent.
    pub disk_device: Option<String>,
    /// `runtime`: OCI runtime of the instances; Docker's default when empty.
    pub runtime: Option<String>,
    /// `dns_servers`: name servers of instances whose subnets name none (Neutron's own DHCP has the same option).
    pub dns_servers: Vec<IpAddr>,
    /// `metadata_url`: nova-metadata (`http://HOST:8775`); instances have no metadata service when it is absent.
    pub metadata_url: Option<String>,
    /// `migration_address`: where other agents fetch disks that move from; empty for `my_ip`.
    pub migration_address: String,
    /// `migration_port`: the port for it; 0 for any that is free.
    pub migration_port: u16,
    /// `log_max_size_mb`: console log of an instance before it rotates, in MiB.
    pub log_max_size_mb: u64,
    /// `image_max_size_gb`: largest image, unpacked, that is accepted, in GiB.
    pub image_max_size_gb: u64,
    /// `snapshot_pause`: an instance stands still while its file system is copied for a snapshot.
    pub snapshot_pause: bool,
    /// `service_version`: compute service version to announce; none means the control plane's (auto).
    pub service_version: Option<u32>,
}

/// `running_deleted_instance_action`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunningDeleted {
    /// Leave it.
    Noop,
    /// Log a warning.
    Log,
    /// Stop the container and keep it from starting.
    Shutdown,
    /// Remove the container.
    Reap,
}

/// `[docker] orphans`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orphans {
    /// Log a warning.
    Report,
    /// Remove them.
    Remove,
}

impl Config {
    /// Reads `files` in order (later files win) and checks everything.
    ///
    /// # Errors
    /// [`Error::Unreadable`] for a missing file, [`Error::Invalid`] with every mistake found.
    pub fn load<P: AsRef<Path>>(files: &[P]) -> Result<Self, Error> {
        let mut ini = Ini::default();
        let mut problems = Vec::new();
        for path in files {
            let path = path.as_ref();
            let text = std::fs::read_to_string(path)
                .map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
            ini.add(path, &text, &mut problems);
        }
        Self::from_ini(&ini, problems)
    }

    /// Reads one file's text, for tests of other modules.
    #[cfg(test)]
    pub(crate) fn from_text(text: &str) -> Result<Self, Error> {
        let (mut ini, mut problems) = (Ini::default(), Vec::new());
        ini.add(Path::new("agent.conf"), text, &mut problems);
        Self::from_ini(&ini, problems)
    }

    fn from_ini(ini: &Ini, mut problems: Vec<String>) -> Result<Self, Error> {
        let mut options = Options::new(ini);
        let mut config = sections::read(&mut options);
        let (_, wrong, ignored) = options.finish();
        config.ignored = ignored;
        problems.extend(wrong);
        if problems.is_empty() { Ok(config) } else { Err(Error::Invalid(problems)) }
    }
}
