//! Which option goes into which field, with Nova's defaults.

use std::net::{IpAddr, UdpSocket};

use common::messaging::TransportUrl;

use super::options::Options;
use super::{
    Config, Credentials, Docker, Domain, EndpointFilter, ImageCache, Neutron, Orphans, Rabbit,
    RunningDeleted, Secret, SerialConsole,
};
use crate::virt::wishes::{self, NAMES};

/// Sections that may hold the service user's login, in the order in which they are tried.
const LOGINS: [&str; 3] = ["placement", "service_user", "keystone_authtoken"];

const DEFAULT: &str = "DEFAULT";

/// A day: longer periods are mistakes.
const DAY: u64 = 86_400;

/// Reads every section. Wrong values are noted in `options` and replaced, so that all of them are found in one go.
pub(super) fn read(options: &mut Options<'_>) -> Config {
    let host = options.optional(DEFAULT, "host").unwrap_or_else(host_name);
    let initial_cpu = options.number(DEFAULT, "initial_cpu_allocation_ratio", 4.0, 0.0..=1e6);
    let initial_ram = options.number(DEFAULT, "initial_ram_allocation_ratio", 1.0, 0.0..=1e6);
    let initial_disk = options.number(DEFAULT, "initial_disk_allocation_ratio", 1.0, 0.0..=1e6);
    Config {
        host,
        my_ip: options.optional(DEFAULT, "my_ip").unwrap_or_else(outgoing_address),
        transport_url: transport_url(options),
        control_exchange: options.text(DEFAULT, "control_exchange", "nova"),
        rpc_response_timeout: options.number(DEFAULT, "rpc_response_timeout", 60, 1..=DAY),
        state_path: options.text(DEFAULT, "state_path", "/var/lib/nova").into(),
        debug: options.boolean(DEFAULT, "debug", false),
        reserved_host_memory_mb: options.number(DEFAULT, "reserved_host_memory_mb", 512, 0..=u64::MAX),
        reserved_host_disk_mb: options.number(DEFAULT, "reserved_host_disk_mb", 0, 0..=u64::MAX),
        reserved_host_cpus: options.number(DEFAULT, "reserved_host_cpus", 0, 0..=u64::MAX),
        cpu_allocation_ratio: ratio(options, "cpu_allocation_ratio", initial_cpu),
        ram_allocation_ratio: ratio(options, "ram_allocation_ratio", initial_ram),
        disk_allocation_ratio: ratio(options, "disk_allocation_ratio", initial_disk),
        max_concurrent_builds: options.number(DEFAULT, "max_concurrent_builds", 10, 0..=10_000),
        max_concurrent_snapshots: options.number(DEFAULT, "max_concurrent_snapshots", 5, 0..=10_000),
        shutdown_timeout: options.number(DEFAULT, "shutdown_timeout", 60, 0..=DAY),
        report_interval: options.number(DEFAULT, "report_interval", 10, 1..=DAY),
        update_resources_interval: update_resources_interval(options),
        sync_power_state_interval: options.number(DEFAULT, "sync_power_state_interval", 600, -1..=86_400),
        resume_guests_state_on_host_boot: options.boolean(DEFAULT, "resume_guests_state_on_host_boot", false),
        force_config_drive: options.boolean(DEFAULT, "force_config_drive", false),
        vif_plugging_timeout: options.number(DEFAULT, "vif_plugging_timeout", 300, 0..=DAY),
        vif_plugging_is_fatal: options.boolean(DEFAULT, "vif_plugging_is_fatal", true),
        heal_instance_info_cache_interval: options.number(
            DEFAULT,
            "heal_instance_info_cache_interval",
            -1,
            -1..=86_400,
        ),
        running_deleted_instance_action: running_deleted(options),
        running_deleted_instance_poll_interval: options.number(
            DEFAULT,
            "running_deleted_instance_poll_interval",
            1800,
            1..=DAY,
        ),
        instance_delete_interval: options.number(DEFAULT, "instance_delete_interval", 300, -1..=86_400),
        resize_confirm_window: options.number(DEFAULT, "resize_confirm_window", 0, 0..=365 * DAY),
        reclaim_instance_interval: options.number(DEFAULT, "reclaim_instance_interval", 0, 0..=365 * DAY),
        scheduler_instance_sync_interval: options.number(
            DEFAULT,
            "scheduler_instance_sync_interval",
            120,
            -1..=86_400,
        ),
        instance_build_timeout: options.number(DEFAULT, "instance_build_timeout", 0, 0..=DAY),
        rescue_timeout: options.number(DEFAULT, "rescue_timeout", 0, 0..=365 * DAY),
        shelved_offload_time: options.number(DEFAULT, "shelved_offload_time", 0, -1..=i64::MAX),
        shelved_poll_interval: options.number(DEFAULT, "shelved_poll_interval", 3600, -1..=86_400),
        image_cache: image_cache(options),
        reboot_timeout: options.number(DEFAULT, "reboot_timeout", 0, 0..=DAY),
        rabbit: rabbit(options),
        auth: login(options),
        placement: endpoint(options, "placement"),
        glance: glance(options),
        neutron: neutron(options),
        ovsdb_connection: ovsdb_connection(options),
        serial_console: serial_console(options),
        console_token_ttl: options.number("consoleauth", "token_ttl", 600, 1..=DAY),
        docker: docker(options),
        ignored: Vec::new(),
    }
}

fn transport_url(options: &mut Options<'_>) -> Secret {
    let url = options.required(DEFAULT, "transport_url", "the agent needs rabbit://user:password@host:5672/");
    if !url.is_empty()
        && let Err(error) = TransportUrl::parse(&url)
    {
        options.wrong(DEFAULT, "transport_url", &error.to_string());
    }
    Secret::new(url)
}

/// `<kind>_allocation_ratio`; unset and 0.0 mean the initial one. (nova-compute writes the initial ratio only when it
/// creates an inventory, so that operators may change it by API; here the configuration decides always.)
fn ratio(options: &mut Options<'_>, name: &'static str, initial: f64) -> f64 {
    options.optional_number(DEFAULT, name, 0.0..=1e6).filter(|ratio| *ratio > 0.0).unwrap_or(initial)
}

/// 0 means Nova's default rate of periodic tasks, 60 s.
fn update_resources_interval(options: &mut Options<'_>) -> u64 {
    match options.number(DEFAULT, "update_resources_interval", 60, 0..=DAY) {
        0 => 60,
        seconds => seconds,
    }
}

fn running_deleted(options: &mut Options<'_>) -> RunningDeleted {
    let choices = [
        ("noop", RunningDeleted::Noop),
        ("log", RunningDeleted::Log),
        ("shutdown", RunningDeleted::Shutdown),
        ("reap", RunningDeleted::Reap),
    ];
    options.choice(DEFAULT, "running_deleted_instance_action", &choices, choices[3])
}

fn rabbit(options: &mut Options<'_>) -> Rabbit {
    const SECTION: &str = "oslo_messaging_rabbit";
    Rabbit {
        amqp_durable_queues: options.boolean(SECTION, "amqp_durable_queues", false),
        amqp_auto_delete: options.boolean(SECTION, "amqp_auto_delete", false),
        rabbit_quorum_queue: options.boolean(SECTION, "rabbit_quorum_queue", false),
        rabbit_transient_quorum_queue: options.boolean(SECTION, "rabbit_transient_quorum_queue", false),
        rabbit_transient_queues_ttl: options.number(SECTION, "rabbit_transient_queues_ttl", 1800, 1..=DAY),
        heartbeat_timeout_threshold: options.number(SECTION, "heartbeat_timeout_threshold", 60, 0..=3600),
    }
}

/// The first section that begins a login must complete it.
fn login(options: &mut Options<'_>) -> Credentials {
    // Every section's options are read so that all are known; only one of them is checked.
    let mut found: Vec<(&str, Credentials)> =
        LOGINS.map(|section| (section, login_of(options, section))).into();
    let begun = found.iter().position(|(_, login)| !login.auth_url.is_empty() || !login.username.is_empty());
    let (section, login) = found.swap_remove(begun.unwrap_or(0));
    if begun.is_none() {
        options.problem(format!(
            "there is no login for Keystone: set auth_url, username, password and project_name in one of [{}]",
            LOGINS.join("], [")
        ));
    } else {
        check(options, section, &login);
    }
    login
}

/// A login that was begun must be complete.
fn check(options: &mut Options<'_>, section: &'static str, login: &Credentials) {
    let missing: Vec<&str> = [
        ("auth_url", login.auth_url.is_empty()),
        ("username", login.username.is_empty()),
        ("password", login.password.reveal().is_empty()),
        ("project_name", login.project_name.is_empty()),
    ]
    .into_iter()
    .filter_map(|(name, missing)| missing.then_some(name))
    .collect();
    if !missing.is_empty() {
        options.problem(format!("the login in [{section}] lacks {}", missing.join(", ")));
    } else if !login.auth_url.starts_with("http://") && !login.auth_url.starts_with("https://") {
        options.wrong(section, "auth_url", "it must begin with http:// or https://");
    }
}

/// Nova may have a user of its own for Neutron; without one the service user asks.
fn neutron(options: &mut Options<'_>) -> Neutron {
    const SECTION: &str = "neutron";
    let own = login_of(options, SECTION);
    let begun = !own.auth_url.is_empty() || !own.username.is_empty();
    if begun {
        check(options, SECTION, &own);
    }
    let secret = options.optional(SECTION, "metadata_proxy_shared_secret").unwrap_or_default();
    Neutron {
        endpoint: endpoint(options, SECTION),
        auth: begun.then_some(own),
        extension_sync_interval: options.number(SECTION, "extension_sync_interval", 600, 0..=DAY),
        metadata_proxy_shared_secret: Secret::new(secret),
    }
}

/// As Neutron's agents are told where the database is; `none` on a host that has only bridges of the kernel.
fn ovsdb_connection(options: &mut Options<'_>) -> String {
    let connection = options.text("ovs", "ovsdb_connection", "unix:/run/openvswitch/db.sock");
    if connection == "none" {
        return String::new();
    }
    if !connection.starts_with("unix:/") && !connection.starts_with("tcp:") {
        options.wrong("ovs", "ovsdb_connection", "it must be unix:/PATH, tcp:HOST:PORT or none");
    }
    connection
}

fn image_cache(options: &mut Options<'_>) -> ImageCache {
    const SECTION: &str = "image_cache";
    ImageCache {
        manager_interval: options.number(SECTION, "manager_interval", 2400, -1..=86_400),
        remove_unused_base_images: options.boolean(SECTION, "remove_unused_base_images", true),
        remove_unused_original_minimum_age_seconds: options.number(
            SECTION,
            "remove_unused_original_minimum_age_seconds",
            DAY,
            0..=u64::MAX,
        ),
    }
}

fn login_of(options: &mut Options<'_>, section: &'static str) -> Credentials {
    Credentials {
        auth_url: options.optional(section, "auth_url").unwrap_or_default(),
        username: options.optional(section, "username").unwrap_or_default(),
        password: Secret::new(options.optional(section, "password").unwrap_or_default()),
        project_name: options.optional(section, "project_name").unwrap_or_default(),
        user_domain: domain(options, section, "user_domain_id", "user_domain_name"),
        project_domain: domain(options, section, "project_domain_id", "project_domain_name"),
        cafile: options.optional(section, "cafile").map(Into::into),
        insecure: options.boolean(section, "insecure", false),
    }
}

fn domain(options: &mut Options<'_>, section: &'static str, id: &'static str, name: &'static str) -> Domain {
    let (by_id, by_name) = (options.optional(section, id), options.optional(section, name));
    by_id.map(Domain::Id).or(by_name.map(Domain::Name)).unwrap_or_else(|| Domain::Id("default".into()))
}

fn endpoint(options: &mut Options<'_>, section: &'static str) -> EndpointFilter {
    let endpoint_override = options.optional(section, "endpoint_override");
    if endpoint_override
        .as_ref()
        .is_some_and(|url| !url.starts_with("http://") && !url.starts_with("https://"))
    {
        options.wrong(section, "endpoint_override", "it must begin with http:// or https://");
    }
    EndpointFilter {
        region_name: options.optional(section, "region_name"),
        valid_interfaces: options.list(section, "valid_interfaces", "internal,public"),
        endpoint_override,
    }
}

/// `api_servers` is glance's older way to say `endpoint_override`; one server is enough, the cloud has a balancer.
fn glance(options: &mut Options<'_>) -> EndpointFilter {
    let mut filter = endpoint(options, "glance");
    let servers = options.list("glance", "api_servers", "");
    filter.endpoint_override = filter.endpoint_override.or_else(|| servers.into_iter().next());
    filter
}

fn serial_console(options: &mut Options<'_>) -> SerialConsole {
    const SECTION: &str = "serial_console";
    let enabled = options.boolean(SECTION, "enabled", false);
    let base_url = options.text(SECTION, "base_url", "ws://127.0.0.1:6083/");
    if !base_url.starts_with("ws://") && !base_url.starts_with("wss://") {
        options.wrong(SECTION, "base_url", "it must begin with ws:// or wss://");
    }
    let range = options.text(SECTION, "port_range", "10000:20000");
    let ends =
        range.split_once(':').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    let port_range = match ends {
        Some((first, last)) if 0 < first && first <= last => first..=last,
        _ => {
            options.wrong(SECTION, "port_range", &format!("{range} is not FIRST:LAST, two ports"));
            10_000..=20_000
        }
    };
    let address = options.text(SECTION, "proxyclient_address", "127.0.0.1");
    let proxyclient_address = address.parse().unwrap_or_else(|_| {
        options.wrong(SECTION, "proxyclient_address", &format!("{address} is not an IP address"));
        IpAddr::from([127, 0, 0, 1])
    });
    SerialConsole { enabled, base_url, port_range, proxyclient_address }
}

fn docker(options: &mut Options<'_>) -> Docker {
    const SECTION: &str = super::OWN_SECTION;
    let docker_url = options.text(SECTION, "docker_url", "unix:///var/run/docker.sock");
    if !docker_url.starts_with("unix:///") && !docker_url.starts_with("tcp://") {
        options.wrong(SECTION, "docker_url", "it must begin with unix:/// or tcp://");
    }
    let management_address = options.text(SECTION, "management_address", "127.0.0.1");
    if management_address.parse::<IpAddr>().is_err() {
        options.wrong(SECTION, "management_address", &format!("{management_address} is not an IP address"));
    }
    let metadata_url = options.optional(SECTION, "metadata_url");
    if metadata_url.as_ref().is_some_and(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
        options.wrong(SECTION, "metadata_url", "it must begin with http:// or https://");
    }
    let servers = options.list(SECTION, "dns_servers", "");
    let dns_servers = servers.iter().filter_map(|server| match server.parse() {
        Ok(server) => Some(server),
        Err(_) => {
            options.wrong(SECTION, "dns_servers", &format!("{server} is not an IP address"));
            None
        }
    });
    let dns_servers = dns_servers.collect();
    Docker {
        allowed_image_properties: wishes(options, "allowed_image_properties"),
        allowed_server_metadata: wishes(options, "allowed_server_metadata"),
        allowed_capabilities: capabilities(options),
        security_opt: security_opt(options),
        inject_password: options.boolean(SECTION, "inject_password", false),
        disk_device: disk_device(options),
        docker_url,
        dns_servers,
        management_address,
        management_port: options.number(SECTION, "management_port", 9774, 0..=u16::MAX),
        page_password: page_password(options),
        orphans: orphans(options),
        pids_limit: options.number(SECTION, "pids_limit", 1024, 16..=4_194_304),
        runtime: options.optional(SECTION, "runtime"),
        metadata_url,
        migration_address: migration_address(options),
        migration_port: options.number(SECTION, "migration_port", 0, 0..=u16::MAX),
        log_max_size_mb: options.number(SECTION, "log_max_size_mb", 10, 1..=10_000),
        image_max_size_gb: options.number(SECTION, "image_max_size_gb", 20, 1..=100_000),
        snapshot_pause: options.boolean(SECTION, "snapshot_pause", false),
        service_version: service_version(options),
    }
}

/// A password short enough to be found by trying is no password.
fn page_password(options: &mut Options<'_>) -> Option<Secret> {
    const OPTION: &str = "page_password";
    const LEAST: usize = 12;
    let password = options.optional(super::OWN_SECTION, OPTION)?;
    if password.chars().count() < LEAST {
        options.wrong(super::OWN_SECTION, OPTION, &format!("it must have at least {LEAST} characters"));
    }
    Some(Secret::new(password))
}

/// Names by which users may describe a container; all of them by default.
fn wishes(options: &mut Options<'_>, option: &'static str) -> Vec<String> {
    let names = options.list(super::OWN_SECTION, option, &NAMES.join(","));
    if let Some(name) = names.iter().find(|name| *name != "none" && !NAMES.contains(&name.as_str())) {
        let known = NAMES.join(", ");
        options.wrong(super::OWN_SECTION, option, &format!("{name} is neither none nor one of {known}"));
    }
    names
}

fn capabilities(options: &mut Options<'_>) -> Vec<String> {
    const OPTION: &str = "allowed_capabilities";
    let names = options.list(super::OWN_SECTION, OPTION, "").join(",");
    let names = wishes::capabilities(&names).unwrap_or_else(|why| {
        options.wrong(super::OWN_SECTION, OPTION, &why);
        Vec::new()
    });
    if names.iter().any(|name| name == "ALL") {
        options.wrong(
            super::OWN_SECTION,
            OPTION,
            "ALL is not possible: no instance is ever privileged; name each one",
        );
    }
    names
}

/// As `docker run --security-opt`, whose file of a seccomp profile is read here as it is there.
fn security_opt(options: &mut Options<'_>) -> Vec<String> {
    const OPTION: &str = "security_opt";
    let given = options.list(super::OWN_SECTION, OPTION, "");
    let read = given.into_iter().map(|option| {
        let Some(path) = option.strip_prefix("seccomp=").filter(|path| path.starts_with('/')) else {
            let known = ["apparmor=", "label=", "no-new-privileges"];
            if !known.iter().any(|begin| option.starts_with(begin)) || option.ends_with("=unconfined") {
                let why = format!(
                    "{option} is none of apparmor=PROFILE, label=…, no-new-privileges and seccomp=/PATH"
                );
                options.wrong(super::OWN_SECTION, OPTION, &why);
            }
            return option;
        };
        match std::fs::read_to_string(path) {
            Ok(profile) => format!("seccomp={profile}"),
            Err(error) => {
                options.wrong(super::OWN_SECTION, OPTION, &format!("cannot read {path}: {error}"));
                option
            }
        }
    });
    read.collect()
}

fn disk_device(options: &mut Options<'_>) -> Option<String> {
    let device = options.optional(super::OWN_SECTION, "disk_device");
    if device.as_ref().is_some_and(|device| !device.starts_with("/dev/")) {
        options.wrong(super::OWN_SECTION, "disk_device", "it must begin with /dev/");
    }
    device
}

/// Where disks that move are fetched from; empty for `my_ip`.
fn migration_address(options: &mut Options<'_>) -> String {
    let address = options.optional(super::OWN_SECTION, "migration_address").unwrap_or_default();
    if !address.is_empty() && address.parse::<IpAddr>().is_err() {
        options.wrong(super::OWN_SECTION, "migration_address", &format!("{address} is not an IP address"));
    }
    address
}

fn orphans(options: &mut Options<'_>) -> Orphans {
    let choices = [("report", Orphans::Report), ("remove", Orphans::Remove)];
    options.choice(super::OWN_SECTION, "orphans", &choices, choices[0])
}

fn service_version(options: &mut Options<'_>) -> Option<u32> {
    let text = options.text(super::OWN_SECTION, "service_version", "auto");
    if text == "auto" {
        return None;
    }
    let version = text.parse().ok().filter(|version| (66..=999).contains(version));
    if version.is_none() {
        options.wrong(super::OWN_SECTION, "service_version", "it is either auto or a number from 66");
    }
    version
}

/// The machine's name, as Nova's default of `host`.
fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_else(|| "localhost".into())
}

/// The address that packets to the world would have; nothing is sent (192.0.2.1 is reserved for documentation).
fn outgoing_address() -> String {
    UdpSocket::bind("0.0.0.0:0")
        .and_then(|socket| {
            socket.connect("192.0.2.1:9")?;
            socket.local_addr()
        })
        .map_or_else(|_| "127.0.0.1".into(), |address| address.ip().to_string())
}
