//! Interactive consoles (Nova: the serial console): a port for each token, to which nova-serialproxy connects when it has
//! checked the token. Nothing listens before it has, and nothing after: a token that nobody uses opens nothing.
//!
//! ```text
//! get_serial_console     a port is set aside ─ a token for it, through the conductor ─► the user's URL
//! validate_console_port  the proxy, which holds that token: the port opens for a few seconds
//! connection             the first gets the terminal; the port is closed and the token used up
//! ```

mod size;
mod terminal;
mod viewers;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::shutdown::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use viewers::Viewers;

use crate::virt::Driver;

/// How long after its question the proxy may connect.
const OPEN: Duration = Duration::from_secs(10);

/// A port that is set aside for the holder of a token.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    instance: InstanceUuid,
    address: IpAddr,
    /// When the token ends.
    until: Instant,
}

/// The ports that are set aside, by their numbers.
type Ports = HashMap<u16, Waiting>;

/// The consoles of this host. Cheap to clone.
#[derive(Clone)]
pub struct Consoles {
    driver: Driver,
    life: Shutdown,
    waiting: Arc<Mutex<Ports>>,
    viewers: Viewers,
    open: Arc<AtomicUsize>,
}

impl Consoles {
    /// Consoles of `driver`'s instances, until the end of `life`.
    pub fn new(driver: Driver, life: Shutdown) -> Self {
        Self { driver, life, waiting: Arc::default(), viewers: Viewers::default(), open: Arc::default() }
    }

    /// Sets a port aside for a console of `instance`, for as long as a token for it is good.
    ///
    /// # Errors
    /// When every port of the range is taken, or the address is not of this host.
    pub async fn reserve(
        &self,
        instance: InstanceUuid,
        (address, ports): (IpAddr, RangeInclusive<u16>),
        patience: Duration,
    ) -> io::Result<u16> {
        let now = Instant::now();
        let waiting = Waiting { instance, address, until: now + patience };
        let mut full = io::Error::from(io::ErrorKind::AddrInUse);
        for port in in_turn(ports) {
            if self.ports(|ports| set_aside(ports, port, waiting, now)).is_none() {
                continue;
            }
            // Another program may have it. It is free again at once: nobody has been told of it.
            match TcpListener::bind((address, port)).await {
                Ok(_) => return Ok(port),
                Err(error) => {
                    self.ports(|ports| ports.remove(&port));
                    if error.kind() != io::ErrorKind::AddrInUse {
                        return Err(error);
                    }
                    full = error;
                }
            }
        }
        Err(full)
    }

    /// Opens `port`, if it is set aside for `instance`, to who connects next within some seconds.
    pub async fn admit(&self, instance: InstanceUuid, port: &str) -> bool {
        let Ok(port) = port.parse::<u16>() else { return false };
        let Some(waiting) = self.ports(|ports| take(ports, port, instance, Instant::now())) else {
            return false;
        };
        let listener = match TcpListener::bind((waiting.address, port)).await {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(instance_uuid = %instance, port, %error, "the port of a console cannot be opened");
                return false;
            }
        };
        let consoles = self.clone();
        self.life.spawn_service(async move {
            let connected = tokio::select! {
                () = consoles.life.stopped() => return,
                connected = timeout(OPEN, listener.accept()) => connected,
            };
            drop(listener);
            match connected {
                Ok(Ok((stream, _))) => consoles.serve(instance, stream).await,
                // The proxy did not come: the user may try again as long as the token is good.
                Ok(Err(_)) | Err(_) => {
                    consoles.ports(|ports| ports.insert(port, waiting));
                }
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

    fn ports<T>(&self, action: impl FnOnce(&mut Ports) -> T) -> T {
        action(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The ports of a range, from a place in it that differs from call to call: a port that was just given up is not the next
/// one given out.
fn in_turn(ports: RangeInclusive<u16>) -> impl Iterator<Item = u16> + Send {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let count = ports.clone().count().max(1);
    let first = NEXT.fetch_add(1, Ordering::Relaxed) % count;
    ports.clone().skip(first).chain(ports).take(count)
}

/// Sets a port aside unless it is; tokens that have ended are forgotten.
fn set_aside(ports: &mut Ports, port: u16, waiting: Waiting, now: Instant) -> Option<u16> {
    ports.retain(|_, waiting| waiting.until > now);
    match ports.contains_key(&port) {
        true => None,
        false => {
            ports.insert(port, waiting);
            Some(port)
        }
    }
}

/// Takes a port that is set aside for `instance`.
fn take(ports: &mut Ports, port: u16, instance: InstanceUuid, now: Instant) -> Option<Waiting> {
    ports.retain(|_, waiting| waiting.until > now);
    let found = ports.get(&port).copied().filter(|waiting| waiting.instance == instance)?;
    ports.remove(&port);
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn instance(number: u8) -> InstanceUuid {
        format!("2d206834-23ab-4b5d-a236-4608f438a9{number:02}").parse().unwrap()
    }

    #[tokio::test]
    async fn a_port_is_for_the_holder_of_its_token_once() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        let mut ports = Ports::new();
        let waiting = Waiting { instance: instance(1), address: HERE, until: later };
        assert_eq!(set_aside(&mut ports, 7, waiting, now), Some(7));
        assert_eq!(set_aside(&mut ports, 7, waiting, now), None, "two tokens have one port");
        assert!(take(&mut ports, 7, instance(2), now).is_none(), "a foreign token");
        assert!(take(&mut ports, 8, instance(1), now).is_none(), "an invented port");
        assert!(take(&mut ports, 7, instance(1), now).is_some());
        assert!(take(&mut ports, 7, instance(1), now).is_none(), "a used token");
        assert_eq!(set_aside(&mut ports, 7, waiting, now), Some(7));
        assert!(take(&mut ports, 7, instance(1), later).is_none(), "an expired token");
        assert!(ports.is_empty());
    }

    #[test]
    fn each_port_of_a_range_is_tried_once() {
        let mut ports: Vec<u16> = in_turn(7..=9).collect();
        ports.sort_unstable();
        assert_eq!(ports, [7, 8, 9]);
    }
}
