//! The agent's Prometheus metrics. Label values come from enums and constants only, never from ids.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Bounds of histogram buckets, in seconds: a boot takes a tenth of a second when all is well.
const SECONDS: [f64; 10] = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 120.0];

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

/// Label of a number of instances.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct VmStateLabel {
    /// Nova's vm_state, from its enum.
    pub vm_state: &'static str,
}

/// Every metric; cheap to clone, each clone counts into the same numbers.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// RPCs by method and outcome.
    pub rpcs: Family<RpcLabels, Counter>,
    /// Seconds from the delivery of an RPC to its end, all methods.
    pub rpc_seconds: Histogram,
    /// Seconds from the delivery of a build to `vm_state` active saved.
    pub boot_seconds: Histogram,
    /// Instances on this host by vm_state.
    pub instances: Family<VmStateLabel, Gauge>,
}

impl Metrics {
    /// Registers every metric with `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            rpcs: Family::default(),
            rpc_seconds: Histogram::new(SECONDS),
            boot_seconds: Histogram::new(SECONDS),
            instances: Family::default(),
        };
        registry.register("rpcs", "RPCs handled, by method and outcome", metrics.rpcs.clone());
        registry.register_with_unit(
            "rpc_duration",
            "Time from the delivery of an RPC to its end",
            Unit::Seconds,
            metrics.rpc_seconds.clone(),
        );
        registry.register_with_unit(
            "boot_duration",
            "Time from the delivery of a build to active",
            Unit::Seconds,
            metrics.boot_seconds.clone(),
        );
        registry.register("instances", "Instances on this host, by vm_state", metrics.instances.clone());
        metrics
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
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_told_in_open_metrics() {
        let mut registry = Registry::with_prefix("nova_docker_agent");
        let metrics = Metrics::register(&mut registry);
        register_reconnects(&mut registry, || 3);
        let labels = RpcLabels { method: "stop_instance", outcome: Outcome::Ok };
        metrics.rpcs.get_or_create(&labels).inc();
        metrics.boot_seconds.observe(0.3);
        metrics.instances.get_or_create(&VmStateLabel { vm_state: "active" }).set(2);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "nova_docker_agent_rpcs_total{method=\"stop_instance\",outcome=\"Ok\"} 1",
            "nova_docker_agent_boot_duration_seconds_count 1",
            "nova_docker_agent_instances{vm_state=\"active\"} 2",
            "nova_docker_agent_amqp_reconnects_total 3",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
