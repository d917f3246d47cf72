//! Interactive consoles (Nova: the serial console): a listener for each token, which nova-serialproxy connects to when it has
//! checked the token.
//!
//! ```text
//! get_serial_console     a port of its own ─ a token for it, through the conductor ─► the user's URL
//! validate_console_port  the proxy, which holds that token: the port opens for a few seconds
//! connection             the first from then on gets the terminal; the port is gone
//! ```

mod terminal;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::shutdown::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::virt::Driver;

/// How long after its question the proxy may connect.
const OPEN: Duration = Duration::from_secs(10);

/// A port that waits for its proxy.
struct Waiting {
    instance: InstanceUuid,
    /// The token was checked.
    checked: Arc<Notify>,
}

/// The consoles of this host. Cheap to clone.
#[derive(Clone)]
pub struct Consoles {
    driver: Driver,
    life: Shutdown,
    waiting: Arc<Mutex<HashMap<u16, Waiting>>>,
}

impl Consoles {
    /// Consoles of `driver`'s instances, until the end of `life`.
    pub fn new(driver: Driver, life: Shutdown) -> Self {
        Self { driver, life, waiting: Arc::default() }
    }

    /// Takes a port for a console of `instance`, for as long as a token for it is good.
    ///
    /// # Errors
    /// When every port of the range is taken, or the address is not of this host.
    pub async fn open(
        &self,
        instance: InstanceUuid,
        (address, ports): (IpAddr, RangeInclusive<u16>),
        patience: Duration,
    ) -> io::Result<u16> {
        let (listener, port) = bind(address, ports).await?;
        let checked = Arc::new(Notify::new());
        self.waiting().insert(port, Waiting { instance, checked: Arc::clone(&checked) });
        let consoles = self.clone();
        self.life.spawn_service(async move {
            let connected = tokio::select! {
                () = consoles.life.stopped() => None,
                connected = tokio::time::timeout(patience, connection(&listener, &checked)) => connected.ok(),
            };
            consoles.waiting().remove(&port);
            drop(listener);
            if let Some(stream) = connected {
                consoles.serve(instance, stream).await;
            }
        });
        Ok(port)
    }

    /// Whether `port` waits for a console of `instance`; if so, who connects next gets it.
    pub fn admit(&self, instance: InstanceUuid, port: &str) -> bool {
        let port = port.parse::<u16>().ok();
        match port.and_then(|port| {
            self.waiting().get(&port).map(|waiting| (waiting.instance, Arc::clone(&waiting.checked)))
        }) {
            Some((owner, checked)) if owner == instance => {
                checked.notify_one();
                true
            }
            _ => false,
        }
    }

    async fn serve(&self, instance: InstanceUuid, stream: TcpStream) {
        tracing::info!(instance_uuid = %instance, "a console is open");
        let ended = tokio::select! {
            () = self.life.stopped() => Ok(()),
            ended = terminal::serve(&self.driver, instance, stream) => ended,
        };
        match ended {
            Ok(()) => tracing::info!(instance_uuid = %instance, "the console is closed"),
            Err(error) => {
                tracing::info!(instance_uuid = %instance, error = %Chain(&error), "the console is closed")
            }
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<u16, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first connection after the proxy has asked. Who connects at any other time is turned away.
async fn connection(listener: &TcpListener, checked: &Notify) -> TcpStream {
    loop {
        tokio::select! {
            biased;
            () = checked.notified() => {
                if let Ok(Ok((stream, _))) = tokio::time::timeout(OPEN, listener.accept()).await {
                    return stream;
                }
            }
            early = listener.accept() => drop(early),
        }
    }
}

/// The first free port, from a place in the range that differs from call to call: a port that was just given up is not
/// the next one given out.
async fn bind(address: IpAddr, ports: RangeInclusive<u16>) -> io::Result<(TcpListener, u16)> {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let count = ports.clone().count().max(1);
    let first = NEXT.fetch_add(1, Ordering::Relaxed) % count;
    let mut taken = io::Error::from(io::ErrorKind::AddrInUse);
    for port in ports.clone().skip(first).chain(ports).take(count) {
        match TcpListener::bind((address, port)).await {
            Ok(listener) => return Ok((listener, port)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => taken = error,
            Err(error) => return Err(error),
        }
    }
    Err(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn only_who_comes_after_the_check_is_let_in() {
        let (listener, port) = bind(HERE, 40_000..=40_999).await.unwrap();
        let checked = Arc::new(Notify::new());
        let admitted = tokio::spawn({
            let checked = Arc::clone(&checked);
            async move { connection(&listener, &checked).await.peer_addr().unwrap() }
        });
        let mut early = TcpStream::connect((HERE, port)).await.unwrap();
        assert_eq!(early.read(&mut [0]).await.unwrap(), 0, "it is turned away");
        checked.notify_one();
        let late = TcpStream::connect((HERE, port)).await.unwrap();
        assert_eq!(admitted.await.unwrap(), late.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_full_range_is_told() {
        let (_taken, port) = bind(HERE, 41_000..=41_999).await.unwrap();
        let error = bind(HERE, port..=port).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
