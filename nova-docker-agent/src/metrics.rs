//! The agent's Prometheus metrics. Label values come from enums and constants only, never from ids. The dashboard that shows
//! them is `grafana-dashboard.json`; a test compares the two.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// What every metric's name begins with.
pub const PREFIX: &str = "nova_docker_agent";

/// Bounds of histogram buckets, in seconds: a boot takes a tenth of a second when all is well.
const SECONDS: [f64; 10] = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 120.0];

/// As [`SECONDS`], for calls: the conductor answers within some milliseconds, and is given up after a minute.
const CALL_SECONDS: [f64; 9] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0, 60.0];

/// How an RPC ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    /// Done.
    Ok,
    /// Refused: not implemented here, or not allowed in this state.
    Refused,
    /// Failed.
    Error,
}

/// Labels of an RPC.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RpcLabels {
    /// Its name, from the list of methods.
    pub method: &'static str,
    /// How it ended.
    pub outcome: Outcome,
}

/// Labels of a call to nova-conductor.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ConductorLabels {
    /// `Instance.save`, or the name of a method that belongs to no object.
    pub method: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// Label of a number of instances.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct VmStateLabel {
    /// Nova's vm_state, from its enum.
    pub vm_state: &'static str,
}

/// Label of an amount.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResourceLabel {
    /// Placement's resource class: `VCPU`, `MEMORY_MB`, `DISK_GB`.
    pub resource: &'static str,
}

/// Label of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PeerLabel {
    /// Who is at its other end: `rabbitmq`, `docker`, `placement` …
    pub peer: &'static str,
}

/// Every metric; cheap to clone, each clone counts into the same numbers.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// RPCs by method and outcome.
    pub rpcs: Family<RpcLabels, Counter>,
    /// Seconds from the delivery of an RPC to its end, by method and outcome.
    pub rpc_seconds: Family<RpcLabels, Histogram>,
    /// Seconds from the delivery of a build to `vm_state` active saved.
    pub boot_seconds: Histogram,
    /// Calls to nova-conductor by method and outcome.
    pub conductor_calls: Family<ConductorLabels, Counter>,
    /// Seconds until nova-conductor answered, all methods.
    pub conductor_seconds: Histogram,
    /// Periodic tasks that failed.
    pub task_failures: Counter,
    /// When resources were published last, in seconds since the epoch; 0 before.
    pub resources_published: Gauge,
    /// What is set when it is asked for.
    pub scraped: Scraped,
}

/// Metrics that are set when they are asked for (`http/`).
#[derive(Debug, Clone, Default)]
pub struct Scraped {
    /// Instances on this host by vm_state.
    pub instances: Family<VmStateLabel, Gauge>,
    /// What the host has.
    pub capacity: Family<ResourceLabel, Gauge>,
    /// What is reserved or taken of it.
    pub used: Family<ResourceLabel, Gauge>,
    /// 1 while a connection is up.
    pub connections: Family<PeerLabel, Gauge>,
    /// Open consoles.
    pub consoles: Gauge,
    /// The last heartbeat, in seconds since the epoch; 0 before the first.
    pub heartbeat: Gauge,
    /// Memory of this process, in bytes.
    pub resident_memory: Gauge,
    /// Its open files and sockets.
    pub open_files: Gauge,
}

impl Metrics {
    /// Registers every metric with `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            rpcs: Family::default(),
            rpc_seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            boot_seconds: Histogram::new(SECONDS),
            conductor_calls: Family::default(),
            conductor_seconds: Histogram::new(CALL_SECONDS),
            task_failures: Counter::default(),
            resources_published: Gauge::default(),
            scraped: Scraped::default(),
        };
        metrics.register_counts(registry);
        metrics.register_times(registry);
        metrics.scraped.register(registry);
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The agent's version", version);
        metrics
    }

    fn register_counts(&self, registry: &mut Registry) {
        registry.register("rpcs", "RPCs handled, by method and outcome", self.rpcs.clone());
        let help = "Calls to nova-conductor, by method and outcome";
        registry.register("conductor_calls", help, self.conductor_calls.clone());
        registry.register("task_failures", "Periodic tasks that failed", self.task_failures.clone());
    }

    fn register_times(&self, registry: &mut Registry) {
        let help = "Time from the delivery of an RPC to its end";
        registry.register_with_unit("rpc_duration", help, Unit::Seconds, self.rpc_seconds.clone());
        let help = "Time from the delivery of a build to active";
        registry.register_with_unit("boot_duration", help, Unit::Seconds, self.boot_seconds.clone());
        let help = "Time until nova-conductor answered";
        let times = self.conductor_seconds.clone();
        registry.register_with_unit("conductor_call_duration", help, Unit::Seconds, times);
        let help = "When resources were published last, since the epoch";
        let published = self.resources_published.clone();
        registry.register_with_unit("resources_published_timestamp", help, Unit::Seconds, published);
    }
}

impl Scraped {
    fn register(&self, registry: &mut Registry) {
        registry.register("instances", "Instances on this host, by vm_state", self.instances.clone());
        let help = "What the host has of a resource class";
        registry.register("resource_capacity", help, self.capacity.clone());
        let help = "What is reserved or taken of a resource class";
        registry.register("resource_used", help, self.used.clone());
        let help = "1 while the connection to a peer is up";
        registry.register("connection_up", help, self.connections.clone());
        registry.register("consoles", "Open consoles", self.consoles.clone());
        let help = "The last heartbeat, since the epoch";
        registry.register_with_unit("heartbeat_timestamp", help, Unit::Seconds, self.heartbeat.clone());
        let help = "Memory of the agent's process";
        registry.register_with_unit("resident_memory", help, Unit::Bytes, self.resident_memory.clone());
        registry.register("open_files", "Open files and sockets of the process", self.open_files.clone());
    }
}

/// Registers the number of connections to RabbitMQ that had to be made again; `read` tells it at each scrape.
pub fn register_reconnects(registry: &mut Registry, read: impl Fn() -> u64 + Send + Sync + 'static) {
    registry.register_collector(Box::new(Reconnects(Box::new(read))));
}

struct Reconnects(Box<dyn Fn() -> u64 + Send + Sync>);

impl std::fmt::Debug for Reconnects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reconnects")
    }
}

impl Collector for Reconnects {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counter = ConstCounter::new((self.0)());
        let help = "Connections to RabbitMQ that had to be made again";
        let metric = encoder.encode_descriptor("amqp_reconnects", help, None, counter.metric_type())?;
        counter.encode(metric)
    }
}

#[cfg(test)]
mod tests;
