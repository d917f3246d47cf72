//! `/healthz` and `/metrics` on the management address.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// What the rest of the agent says of its health; shared by reference count.
#[derive(Debug, Default)]
pub struct Health {
    amqp_connected: AtomicBool,
    last_heartbeat: AtomicI64,
}

impl Health {
    /// The connection to RabbitMQ is up, or down.
    pub fn amqp(&self, connected: bool) {
        self.amqp_connected.store(connected, Ordering::Relaxed);
    }

    /// A heartbeat of the service record was saved just now.
    pub fn heartbeat(&self) {
        self.last_heartbeat.store(jiff::Timestamp::now().as_second(), Ordering::Relaxed);
    }
}
