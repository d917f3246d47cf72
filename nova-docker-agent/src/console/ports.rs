//! The ports of consoles: set aside for the holder of a token, opened once he comes.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::ids::InstanceUuid;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

/// A port that is set aside for the holder of a token.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    instance: InstanceUuid,
    address: IpAddr,
    /// When the token ends.
    until: Instant,
}

/// Those that are set aside, by their numbers.
type Aside = HashMap<u16, Waiting>;

/// The ports of this host's consoles. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Ports(Arc<Mutex<Aside>>);

/// A port that listens.
#[derive(Debug)]
pub(super) struct Open {
    ports: Ports,
    port: u16,
    waiting: Waiting,
    listener: TcpListener,
}

impl Ports {
    /// Sets a port aside for a console of `instance`, for as long as a token for it is good.
    ///
    /// # Errors
    /// When every port of the range is taken, or the address is not of this host.
    pub(super) async fn reserve(
        &self,
        instance: InstanceUuid,
        (address, ports): (IpAddr, RangeInclusive<u16>),
        patience: Duration,
    ) -> io::Result<u16> {
        let now = Instant::now();
        let waiting = Waiting { instance, address, until: now + patience };
        let mut full = io::Error::from(io::ErrorKind::AddrInUse);
        for port in in_turn(ports) {
            if self.with(|aside| set_aside(aside, port, waiting, now)).is_none() {
                continue;
            }
            // Another program may have it. It is free again at once: nobody has been told of it.
            match TcpListener::bind((address, port)).await {
                Ok(_) => return Ok(port),
                Err(error) => {
                    self.with(|aside| aside.remove(&port));
                    if error.kind() != io::ErrorKind::AddrInUse {
                        return Err(error);
                    }
                    full = error;
                }
            }
        }
        Err(full)
    }

    /// Opens `port`, if it is set aside for `instance`; it is not set aside any more then.
    pub(super) async fn open(&self, instance: InstanceUuid, port: u16) -> Option<Open> {
        let waiting = self.with(|aside| take(aside, port, instance, Instant::now()))?;
        match TcpListener::bind((waiting.address, port)).await {
            Ok(listener) => Some(Open { ports: self.clone(), port, waiting, listener }),
            Err(error) => {
                tracing::warn!(instance_uuid = %instance, port, %error, "the port of a console cannot be opened");
                // Another program has it at the moment: the user may try again.
                self.with(|aside| give_back(aside, port, waiting));
                None
            }
        }
    }

    fn with<T>(&self, action: impl FnOnce(&mut Aside) -> T) -> T {
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Open {
    /// The first who connects within `patience`; nobody can afterwards. If there is none, the port is set aside again: the user
    /// may try again as long as the token is good.
    pub(super) async fn visitor(self, patience: Duration) -> Option<TcpStream> {
        let Open { ports, port, waiting, listener } = self;
        let connected = timeout(patience, listener.accept()).await;
        drop(listener);
        match connected {
            Ok(Ok((stream, _))) => Some(stream),
            Ok(Err(_)) | Err(_) => {
                ports.with(|aside| give_back(aside, port, waiting));
                None
            }
        }
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
fn set_aside(aside: &mut Aside, port: u16, waiting: Waiting, now: Instant) -> Option<u16> {
    aside.retain(|_, waiting| waiting.until > now);
    match aside.contains_key(&port) {
        true => None,
        false => {
            aside.insert(port, waiting);
            Some(port)
        }
    }
}

/// Takes a port that is set aside for `instance`.
fn take(aside: &mut Aside, port: u16, instance: InstanceUuid, now: Instant) -> Option<Waiting> {
    aside.retain(|_, waiting| waiting.until > now);
    let found = aside.get(&port).copied().filter(|waiting| waiting.instance == instance)?;
    aside.remove(&port);
    Some(found)
}

/// Sets a port aside again for the token that it was taken for, unless another token has it by now.
fn give_back(aside: &mut Aside, port: u16, waiting: Waiting) {
    aside.entry(port).or_insert(waiting);
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
        let mut aside = Aside::new();
        let waiting = Waiting { instance: instance(1), address: HERE, until: later };
        assert_eq!(set_aside(&mut aside, 7, waiting, now), Some(7));
        assert_eq!(set_aside(&mut aside, 7, waiting, now), None, "two tokens have one port");
        assert!(take(&mut aside, 7, instance(2), now).is_none(), "a foreign token");
        assert!(take(&mut aside, 8, instance(1), now).is_none(), "an invented port");
        assert!(take(&mut aside, 7, instance(1), now).is_some());
        assert!(take(&mut aside, 7, instance(1), now).is_none(), "a used token");
        assert_eq!(set_aside(&mut aside, 7, waiting, now), Some(7));
        assert!(take(&mut aside, 7, instance(1), later).is_none(), "an expired token");
        assert!(aside.is_empty());
    }

    #[tokio::test]
    async fn a_port_that_nobody_came_to_is_set_aside_again() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        let first = Waiting { instance: instance(1), address: HERE, until: later };
        let second = Waiting { instance: instance(2), ..first };
        let mut aside = Aside::from([(7, first)]);
        let taken = take(&mut aside, 7, instance(1), now).unwrap();
        give_back(&mut aside, 7, taken);
        assert_eq!(set_aside(&mut aside, 7, second, now), None, "it is set aside");
        let taken = take(&mut aside, 7, instance(1), now).expect("the token is good a second time");
        assert_eq!(set_aside(&mut aside, 7, second, now), Some(7));
        give_back(&mut aside, 7, taken);
        assert!(take(&mut aside, 7, instance(1), now).is_none(), "it is another token's now");
        let taken = take(&mut aside, 7, instance(2), now).unwrap();
        give_back(&mut aside, 7, taken);
        assert!(take(&mut aside, 7, instance(2), later).is_none(), "the token has ended meanwhile");
    }

    #[tokio::test]
    async fn who_comes_late_may_come_again() {
        let (ports, soon, long) = (Ports::default(), Duration::from_millis(10), Duration::from_secs(60));
        let free = TcpListener::bind((HERE, 0)).await.unwrap().local_addr().unwrap().port();
        let range = (HERE, free..=free);
        assert_eq!(ports.reserve(instance(1), range.clone(), long).await.unwrap(), free);

        let other = TcpListener::bind((HERE, free)).await.unwrap();
        assert!(ports.open(instance(1), free).await.is_none(), "another program has it");
        drop(other);
        let open = ports.open(instance(1), free).await.expect("it is free again");
        assert!(open.visitor(soon).await.is_none(), "nobody came");
        assert!(TcpStream::connect((HERE, free)).await.is_err(), "it is closed again");
        assert!(ports.reserve(instance(2), range.clone(), long).await.is_err(), "it is still set aside");

        let open = ports.open(instance(1), free).await.expect("the token is good a second time");
        let (came, visitor) = tokio::join!(TcpStream::connect((HERE, free)), open.visitor(long));
        assert!(came.is_ok() && visitor.is_some());
        assert!(ports.open(instance(1), free).await.is_none(), "the token is used up");
    }

    #[test]
    fn each_port_of_a_range_is_tried_once() {
        let mut ports: Vec<u16> = in_turn(7..=9).collect();
        ports.sort_unstable();
        assert_eq!(ports, [7, 8, 9]);
    }
}
