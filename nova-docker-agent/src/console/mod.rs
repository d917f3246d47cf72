//! Interactive consoles (Nova: the serial console): a port for each token, to which nova-serialproxy connects when it has
//! checked the token. Nothing listens before it has, and nothing after: a token that nobody uses opens nothing.
//!
//! ```text
//! get_serial_console     a port is set aside ─ a token for it, through the conductor ─► the user's URL
//! validate_console_port  the proxy, which holds that token: the port opens for a few seconds
//! connection             the first gets the terminal; the port is closed and the token used up
//! ```

mod ports;
mod size;
mod terminal;
mod viewers;

use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::shutdown::Shutdown;
use ports::Ports;
use tokio::net::TcpStream;
use viewers::Viewers;

use crate::virt::Driver;

/// How long after its question the proxy may connect.
const OPEN: Duration = Duration::from_secs(10);

/// The consoles of this host. Cheap to clone.
#[derive(Clone)]
pub struct Consoles {
    driver: Driver,
    life: Shutdown,
    ports: Ports,
    viewers: Viewers,
    open: Arc<AtomicUsize>,
}

impl Consoles {
    /// Consoles of `driver`'s instances, until the end of `life`.
    pub fn new(driver: Driver, life: Shutdown) -> Self {
        Self { driver, life, ports: Ports::default(), viewers: Viewers::default(), open: Arc::default() }
    }

    /// Sets a port aside for a console of `instance`, for as long as a token for it is good.
    ///
    /// # Errors
    /// When every port of the range is taken, or the address is not of this host.
    pub async fn reserve(
        &self,
        instance: InstanceUuid,
        place: (IpAddr, RangeInclusive<u16>),
        patience: Duration,
    ) -> io::Result<u16> {
        self.ports.reserve(instance, place, patience).await
    }

    /// Opens `port`, if it is set aside for `instance`, to who connects next within some seconds.
    pub async fn admit(&self, instance: InstanceUuid, port: &str) -> bool {
        let Ok(port) = port.parse::<u16>() else { return false };
        let Some(open) = self.ports.open(instance, port).await else { return false };
        let consoles = self.clone();
        self.life.spawn_service(async move {
            let visitor = tokio::select! {
                () = consoles.life.stopped() => return,
                visitor = open.visitor(OPEN) => visitor,
            };
            if let Some(stream) = visitor {
                consoles.serve(instance, stream).await;
            }
        });
        true
    }

    /// How many consoles are open.
    pub fn count(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    async fn serve(&self, instance: InstanceUuid, stream: TcpStream) {
        self.open.fetch_add(1, Ordering::Relaxed);
        tracing::info!(instance_uuid = %instance, "a console is open");
        let ended = tokio::select! {
            () = self.life.stopped() => Ok(()),
            ended = terminal::serve(&self.driver, &self.viewers, instance, stream) => ended,
        };
        self.open.fetch_sub(1, Ordering::Relaxed);
        match ended {
            Ok(()) => tracing::info!(instance_uuid = %instance, "the console is closed"),
            Err(error) => {
                tracing::info!(instance_uuid = %instance, error = %Chain(&error), "the console is closed")
            }
        }
    }
}
