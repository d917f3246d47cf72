//! Everything that is to be said of a container before it exists.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig, HostConfigLogConfig,
    NetworkingConfig, PortBinding, RestartPolicy, RestartPolicyNameEnum,
};

use super::limits::{DiskIo, Ulimit};

/// A complete container: creating it needs no other input.
///
/// There is no way to ask for a privileged one: neither the services of the platform nor instances ever are.
/// Fields left at their default are left to Docker and to the image.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerSpec {
    /// Name, unique on the host.
    pub name: String,
    /// Image id or name.
    pub image: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Host name inside.
    pub hostname: Option<String>,
    /// `uid[:gid]` or names known to the image.
    pub user: Option<String>,
    /// `KEY=value`. Everybody who may inspect the container reads these: never secrets.
    pub env: Vec<String>,
    /// Instead of the image's entry point.
    pub entrypoint: Option<Vec<String>>,
    /// Instead of the image's command.
    pub command: Option<Vec<String>>,
    /// Instead of the image's working directory.
    pub working_dir: Option<String>,
    /// A terminal in the place of standard input and output; its input stays open although nobody types.
    pub tty: bool,
    /// Run Docker's small init as PID 1.
    pub init: bool,
    /// Instead of the image's stop signal.
    pub stop_signal: Option<String>,
    /// Seconds until SIGKILL follows the stop signal.
    pub stop_timeout: Option<i64>,
    /// How dockerd asks whether the service is well.
    pub healthcheck: Option<Healthcheck>,
    /// Limits by control groups.
    pub limits: Limits,
    /// Limits of the root disk's traffic.
    pub disk_io: Option<DiskIo>,
    /// Limits of each process.
    pub ulimits: Vec<Ulimit>,
    /// Bytes of `/dev/shm`; 0 means Docker's 64 MiB.
    pub shm_size: i64,
    /// Capabilities beyond the default set.
    pub cap_add: Vec<String>,
    /// Capabilities taken from the default set; `ALL` for all.
    pub cap_drop: Vec<String>,
    /// `no-new-privileges` and the like.
    pub security_opt: Vec<String>,
    /// Mount the root file system read-only.
    pub read_only: bool,
    /// `none`, `host`, or the name of a network.
    pub network: String,
    /// Leave its own network namespace to the runtime, which makes one with a loopback device and nothing else. Unlike
    /// `network: none`, dockerd then writes no `/etc/hosts` and `/etc/resolv.conf`, and a start takes half the time.
    pub network_disabled: bool,
    /// Names of this container on its network.
    pub network_aliases: Vec<String>,
    /// Fixed address on its network.
    pub ipv4_address: Option<String>,
    /// Ports published on the host.
    pub ports: Vec<PublishedPort>,
    /// `name:address` lines for `/etc/hosts`.
    pub extra_hosts: Vec<String>,
    /// `source:target[:ro]`; the source is a path of the host or the name of a volume.
    pub binds: Vec<String>,
    /// tmpfs mounts: path to options.
    pub tmpfs: BTreeMap<String, String>,
    /// Options of the storage driver (`size`).
    pub storage_opt: BTreeMap<String, String>,
    /// What dockerd does when the container's process ends.
    pub restart: Restart,
    /// Where the output goes.
    pub log: LogConfig,
    /// OCI runtime; Docker's default when absent.
    pub runtime: Option<String>,
}

/// Limits by control groups; 0 means none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Relative weight; 1024 is one usual share.
    pub cpu_shares: i64,
    /// Microseconds of a period; 0 means the kernel's 100 ms.
    pub cpu_period: i64,
    /// Microseconds of processor time in a period.
    pub cpu_quota: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes of memory and swap together; equal to `memory` means no swap.
    pub memory_swap: i64,
    /// Processes and threads.
    pub pids: i64,
}

/// A port of the container on an address of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedPort {
    /// Address of the host.
    pub host_ip: String,
    /// Port of the host.
    pub host_port: u16,
    /// TCP port of the container.
    pub container_port: u16,
}

/// How dockerd asks whether a service is well. Times and numbers of zero are left to the image and to Docker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// A command inside the container; exit code 0 means well. Nothing is asked when it is empty.
    pub command: Vec<String>,
    /// Time between two checks.
    pub interval: Duration,
    /// Time a check may take.
    pub timeout: Duration,
    /// Failures in a row that make it unhealthy.
    pub retries: i64,
    /// Failures in this time after the start do not count.
    pub start_period: Duration,
}

/// What dockerd does when the container's process ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Restart {
    /// Nothing.
    #[default]
    No,
    /// Starts it again, also after a boot of the host, unless somebody stopped it.
    UnlessStopped,
}

/// Where the output goes; the daemon's default when `driver` is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// `json-file`, `local` …
    pub driver: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

impl ContainerSpec {
    /// The body of `POST /containers/create`.
    pub(super) fn body(&self) -> ContainerCreateBody {
        ContainerCreateBody {
            image: Some(self.image.clone()),
            hostname: self.hostname.clone(),
            user: self.user.clone(),
            env: filled(&self.env),
            entrypoint: self.entrypoint.clone(),
            cmd: self.command.clone(),
            working_dir: self.working_dir.clone(),
            tty: self.tty.then_some(true),
            open_stdin: self.tty.then_some(true),
            labels: Some(hash_map(&self.labels)),
            stop_signal: self.stop_signal.clone(),
            stop_timeout: self.stop_timeout,
            healthcheck: self.healthcheck.as_ref().map(Healthcheck::body),
            exposed_ports: filled(&self.ports.iter().map(PublishedPort::key).collect::<Vec<_>>()),
            networking_config: self.networking(),
            network_disabled: self.network_disabled.then_some(true),
            host_config: Some(self.host_config()),
            ..ContainerCreateBody::default()
        }
    }

    fn host_config(&self) -> HostConfig {
        let limits = &self.limits;
        let throttled = |of: fn(&DiskIo) -> i64| self.disk_io.as_ref().and_then(|io| io.throttle(of(io)));
        HostConfig {
            blkio_device_read_bps: throttled(|io| io.read_bytes_sec),
            blkio_device_write_bps: throttled(|io| io.write_bytes_sec),
            blkio_device_read_iops: throttled(|io| io.read_iops_sec),
            blkio_device_write_iops: throttled(|io| io.write_iops_sec),
            ulimits: filled(&self.ulimits.iter().map(Ulimit::body).collect::<Vec<_>>()),
            shm_size: limit(self.shm_size),
            cpu_shares: limit(limits.cpu_shares),
            cpu_period: limit(limits.cpu_period),
            cpu_quota: limit(limits.cpu_quota),
            memory: limit(limits.memory),
            memory_swap: limit(limits.memory_swap),
            pids_limit: limit(limits.pids),
            init: self.init.then_some(true),
            cap_add: filled(&self.cap_add),
            cap_drop: filled(&self.cap_drop),
            security_opt: filled(&self.security_opt),
            readonly_rootfs: Some(self.read_only),
            network_mode: Some(self.network.clone()),
            port_bindings: self.port_bindings(),
            extra_hosts: filled(&self.extra_hosts),
            binds: filled(&self.binds),
            tmpfs: (!self.tmpfs.is_empty()).then(|| hash_map(&self.tmpfs)),
            storage_opt: (!self.storage_opt.is_empty()).then(|| hash_map(&self.storage_opt)),
            restart_policy: Some(self.restart.body()),
            log_config: self.log.body(),
            runtime: self.runtime.clone(),
            privileged: Some(false),
            ..HostConfig::default()
        }
    }

    fn networking(&self) -> Option<NetworkingConfig> {
        if self.network_aliases.is_empty() && self.ipv4_address.is_none() {
            return None;
        }
        let endpoint = EndpointSettings {
            aliases: filled(&self.network_aliases),
            ipam_config: self.ipv4_address.clone().map(|address| EndpointIpamConfig {
                ipv4_address: Some(address),
                ..EndpointIpamConfig::default()
            }),
            ..EndpointSettings::default()
        };
        Some(NetworkingConfig { endpoints_config: Some(HashMap::from([(self.network.clone(), endpoint)])) })
    }

    fn port_bindings(&self) -> Option<HashMap<String, Option<Vec<PortBinding>>>> {
        let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
        for port in &self.ports {
            let binding = PortBinding {
                host_ip: Some(port.host_ip.clone()),
                host_port: Some(port.host_port.to_string()),
            };
            bindings.entry(port.key()).or_default().get_or_insert_default().push(binding);
        }
        (!bindings.is_empty()).then_some(bindings)
    }
}

impl PublishedPort {
    fn key(&self) -> String {
        format!("{}/tcp", self.container_port)
    }
}

impl Healthcheck {
    fn body(&self) -> HealthConfig {
        let nanoseconds = |duration: Duration| i64::try_from(duration.as_nanos()).ok();
        let kind = if self.command.is_empty() { "NONE" } else { "CMD" };
        let test = std::iter::once(kind.to_owned()).chain(self.command.iter().cloned()).collect();
        HealthConfig {
            test: Some(test),
            interval: nanoseconds(self.interval),
            timeout: nanoseconds(self.timeout),
            retries: Some(self.retries),
            start_period: nanoseconds(self.start_period),
            ..HealthConfig::default()
        }
    }
}

impl Restart {
    fn body(self) -> RestartPolicy {
        let name = match self {
            Self::No => RestartPolicyNameEnum::NO,
            Self::UnlessStopped => RestartPolicyNameEnum::UNLESS_STOPPED,
        };
        RestartPolicy { name: Some(name), maximum_retry_count: None }
    }
}

impl LogConfig {
    fn body(&self) -> Option<HostConfigLogConfig> {
        (!self.driver.is_empty()).then(|| HostConfigLogConfig {
            typ: Some(self.driver.clone()),
            config: Some(hash_map(&self.options)),
        })
    }
}

fn limit(value: i64) -> Option<i64> {
    (value != 0).then_some(value)
}

fn filled<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

fn hash_map(map: &BTreeMap<String, String>) -> HashMap<String, String> {
    map.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_spec_is_neither_privileged_nor_restarted() {
        let body = ContainerSpec::default().body();
        let host = body.host_config.unwrap();
        assert_eq!(host.privileged, Some(false));
        assert_eq!(host.restart_policy.unwrap().name, Some(RestartPolicyNameEnum::NO));
        assert_eq!((host.memory, host.cpu_shares, host.init), (None, None, None));
    }

    #[test]
    fn two_host_addresses_may_publish_one_port() {
        let port = |ip: &str| PublishedPort { host_ip: ip.into(), host_port: 5000, container_port: 80 };
        let spec =
            ContainerSpec { ports: vec![port("127.0.0.1"), port("127.0.0.2")], ..ContainerSpec::default() };
        let bindings = spec.body().host_config.unwrap().port_bindings.unwrap();
        assert_eq!(bindings["80/tcp"].as_ref().unwrap().len(), 2);
    }

    #[test]
    fn a_fixed_address_goes_to_the_named_network() {
        let spec = ContainerSpec {
            network: "octo".into(),
            ipv4_address: Some("172.31.250.10".into()),
            ..ContainerSpec::default()
        };
        let networks = spec.body().networking_config.unwrap().endpoints_config.unwrap();
        let address = networks["octo"].ipam_config.as_ref().unwrap().ipv4_address.clone();
        assert_eq!(address.as_deref(), Some("172.31.250.10"));
    }
}
