//! The agent's Prometheus metrics. Label values come from enums and constants only, never from ids.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

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

/// Where builds end.
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
    /// Connections to RabbitMQ that had to be made again.
    pub amqp_reconnects: Counter,
}

impl Metrics {
    /// Registers every metric with `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let buckets = || [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 120.0];
        let metrics = Self {
            rpcs: Family::default(),
            rpc_seconds: Histogram::new(buckets()),
            boot_seconds: Histogram::new(buckets()),
            instances: Family::default(),
            amqp_reconnects: Counter::default(),
        };
        registry.register("rpc", "RPCs handled, by method and outcome", metrics.rpcs.clone());
        registry.register_with_unit(
            "rpc_duration",
            "Time to handle an RPC",
            Unit::Seconds,
            metrics.rpc_seconds.clone(),
        );
        registry.register_with_unit(
            "boot_duration",
            "Time from a build RPC to active",
            Unit::Seconds,
            metrics.boot_seconds.clone(),
        );
        registry.register("instances", "Instances on this host, by vm_state", metrics.instances.clone());
        registry.register(
            "amqp_reconnects",
            "Connections to RabbitMQ made again",
            metrics.amqp_reconnects.clone(),
        );
        metrics
    }
}
