//! The broker is RabbitMQ: one supervised connection that is made again, for ever, whenever it breaks.
//!
//! Only this module names the AMQP crate. A single task, the supervisor, owns the connection: it connects, consumes for
//! every subscription, watches for trouble and starts over. Publishers borrow the current connection and wait while
//! there is none. Reply and fanout queues outlive a lost connection (`x-expires`), so answers that arrive meanwhile
//! are not lost.

mod link;
mod topology;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{mpsc, oneshot, watch};

use self::link::{Link, LinkError};
use super::{Address, Delivery, Error, Inbox, Outgoing, Subscription, Transport, TransportUrl};
use crate::retry;
use crate::shutdown::Shutdown;

/// How long a message waits for a connection.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the broker is spoken to; the fields are named after `[oslo_messaging_rabbit]`.
#[derive(Clone, Debug)]
pub struct Options {
    /// `amqp_durable_queues`
    pub durable_queues: bool,
    /// `amqp_auto_delete`
    pub auto_delete: bool,
    /// `rabbit_quorum_queue`
    pub quorum_queue: bool,
    /// `rabbit_transient_quorum_queue`
    pub transient_quorum_queue: bool,
    /// `rabbit_transient_queues_ttl`; zero means that the queues stay.
    pub transient_ttl: Duration,
    /// `heartbeat_timeout_threshold`, in seconds; zero switches heartbeats off.
    pub heartbeat: u16,
    /// Name shown by `rabbitmqctl list_connections`.
    pub connection_name: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durable_queues: false,
            auto_delete: false,
            quorum_queue: false,
            transient_quorum_queue: false,
            transient_ttl: Duration::from_secs(1800),
            heartbeat: 60,
            connection_name: "nova-compute".into(),
        }
    }
}

/// A group of subscriptions that share an inbox.
struct Group {
    subscriptions: Vec<Subscription>,
    inbox: mpsc::Sender<Delivery>,
    /// Told once, when the group is consumed for the first time.
    begun: Option<oneshot::Sender<()>>,
}

/// RabbitMQ.
pub struct Amqp {
    link: watch::Receiver<Option<Arc<Link>>>,
    commands: mpsc::Sender<Group>,
    reconnects: Arc<AtomicU64>,
    closing: Mutex<Option<oneshot::Sender<()>>>,
}

impl Amqp {
    /// Begins to connect; returns at once.
    ///
    /// # Errors
    /// [`Error::Url`] when `url` cannot be read.
    pub fn start(url: &str, options: Options, life: &Shutdown) -> Result<Self, Error> {
        let url = TransportUrl::parse(url)?;
        let (link_sender, link) = watch::channel(None);
        let (commands, groups) = mpsc::channel(8);
        let (closing, close) = oneshot::channel();
        let reconnects = Arc::new(AtomicU64::new(0));
        let supervisor = Supervisor {
            url,
            options,
            link: link_sender,
            groups: Vec::new(),
            commands: groups,
            reconnects: reconnects.clone(),
        };
        let closed = life.clone();
        life.spawn_service(async move {
            tokio::select! {
                () = supervisor.run(close) => {}
                () = closed.closed() => {}
            }
        });
        Ok(Self { link, commands, reconnects, closing: Mutex::new(Some(closing)) })
    }

    /// How many times a lost connection was made again.
    pub fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }

    async fn link(&self, end: tokio::time::Instant) -> Result<Arc<Link>, Error> {
        let mut link = self.link.clone();
        let waiting = link.wait_for(Option::is_some);
        match tokio::time::timeout_at(end, waiting).await {
            Ok(Ok(current)) => current.clone().ok_or(Error::Closed),
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(Error::Unreachable { waited: PATIENCE }),
        }
    }

    async fn send(&self, message: Outgoing) -> Result<(), Error> {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let link = self.link(end).await?;
            match link.publish(&message).await {
                Ok(()) => return Ok(()),
                Err(LinkError::NoRoute) => {
                    let queue = match message.address {
                        Address::Topic { queue, .. } | Address::Reply { queue } => queue,
                        Address::Fanout { topic } => topic,
                    };
                    return Err(Error::NoRoute { queue });
                }
                // The same message again, with the same id: a receiver that has got it twice drops one.
                Err(error) if tokio::time::Instant::now() < end => {
                    tracing::debug!(%error, "a message is sent again");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(_) => return Err(Error::Unreachable { waited: PATIENCE }),
            }
        }
    }

    async fn listen(&self, subscriptions: Vec<Subscription>) -> Result<Inbox, Error> {
        let (sender, inbox) = mpsc::channel(16);
        let (begun, beginning) = oneshot::channel();
        let group = Group { subscriptions, inbox: sender, begun: Some(begun) };
        self.commands.send(group).await.map_err(|_| Error::Closed)?;
        beginning.await.map_err(|_| Error::Closed)?;
        Ok(inbox)
    }

    async fn say_goodbye(&self) {
        drop(self.closing.lock().unwrap_or_else(PoisonError::into_inner).take());
        let mut link = self.link.clone();
        // Either the supervisor lets go of the connection or it has ended: both mean closed.
        let _ = tokio::time::timeout(Duration::from_secs(3), link.wait_for(Option::is_none)).await;
    }
}

impl Transport for Amqp {
    fn publish(&self, message: Outgoing) -> BoxFuture<'_, Result<(), Error>> {
        self.send(message).boxed()
    }

    fn subscribe(&self, subscriptions: Vec<Subscription>) -> BoxFuture<'_, Result<Inbox, Error>> {
        self.listen(subscriptions).boxed()
    }

    fn connected(&self) -> bool {
        self.link.borrow().is_some()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.say_goodbye().boxed()
    }
}

/// The task that owns the connection.
struct Supervisor {
    url: TransportUrl,
    options: Options,
    link: watch::Sender<Option<Arc<Link>>>,
    groups: Vec<Group>,
    commands: mpsc::Receiver<Group>,
    reconnects: Arc<AtomicU64>,
}

/// Why the supervisor stopped watching a connection.
enum Ended {
    /// It broke.
    Lost,
    /// The agent says goodbye.
    Closing,
}

impl Supervisor {
    async fn run(mut self, mut close: oneshot::Receiver<()>) {
        let mut hosts = self.url.hosts.clone().into_iter().cycle();
        let mut delays = Box::new(retry::connect()) as Box<dyn Iterator<Item = Duration> + Send>;
        loop {
            let Some(host) = hosts.next() else { return };
            let attempt = tokio::select! {
                attempt = Link::open(&host, &self.url.vhost, &self.options) => attempt,
                _ = &mut close => return,
            };
            let delay = match attempt {
                Ok(link) => {
                    tracing::info!(broker = ?host, "connected to the message broker");
                    let ended = self.watch(Arc::new(link), &mut close).await;
                    self.link.send_replace(None);
                    if let Ended::Closing = ended {
                        return;
                    }
                    tracing::warn!(broker = ?host, "the connection to the message broker is lost");
                    self.reconnects.fetch_add(1, Ordering::Relaxed);
                    delays = Box::new(retry::connect());
                    Duration::from_millis(200)
                }
                Err(error) => {
                    let delay = delays.next().unwrap_or_default();
                    report(&host, &error, delay);
                    delay
                }
            };
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                _ = &mut close => return,
            }
        }
    }

    /// Consumes for all subscriptions and serves new ones until the connection ends.
    async fn watch(&mut self, link: Arc<Link>, close: &mut oneshot::Receiver<()>) -> Ended {
        let mut events = Box::pin(link.connection.events_listener());
        let (lost_sender, mut lost) = mpsc::channel(1);
        self.groups.retain(|group| !group.inbox.is_closed());
        for group in &mut self.groups {
            if !begin(&link, group, &lost_sender).await {
                return Ended::Lost;
            }
        }
        self.link.send_replace(Some(link.clone()));
        loop {
            tokio::select! {
                _ = &mut *close => {
                    // The broker may be gone; then there is nobody to say goodbye to.
                    let _ = tokio::time::timeout(Duration::from_secs(2), link.connection.close(200, "OK".into())).await;
                    return Ended::Closing;
                }
                _ = lost.recv() => return Ended::Lost,
                event = events.next() => match event {
                    Some(lapin::Event::Error(error)) => {
                        if !link.connection.status().connected() {
                            tracing::warn!(%error, "the message broker ended the connection");
                            return Ended::Lost;
                        }
                    }
                    Some(lapin::Event::ConnectionBlocked(reason)) => {
                        tracing::warn!(reason, "the message broker takes no messages for now");
                    }
                    Some(_) => {}
                    None => return Ended::Lost,
                },
                group = self.commands.recv() => {
                    let Some(mut group) = group else { return Ended::Closing };
                    let begun = begin(&link, &mut group, &lost_sender).await;
                    self.groups.push(group);
                    if !begun {
                        return Ended::Lost;
                    }
                }
            }
        }
    }
}

/// Begins to consume for a group; false when the connection has to be made anew.
async fn begin(link: &Link, group: &mut Group, lost: &mpsc::Sender<()>) -> bool {
    match link.consume(&group.subscriptions, &group.inbox, lost).await {
        Ok(()) => {
            if let Some(begun) = group.begun.take() {
                // The subscriber may have given up waiting.
                let _ = begun.send(());
            }
            true
        }
        Err(error) => {
            tracing::warn!(%error, "cannot consume from the message broker");
            false
        }
    }
}

/// Says why the broker cannot be used, once per attempt.
fn report(host: &super::BrokerHost, error: &LinkError, delay: Duration) {
    let refused = matches!(error, LinkError::Amqp { error, .. }
        if matches!(error.kind(), lapin::ErrorKind::ProtocolError(error) if error.get_id() == 403));
    let hint = if refused {
        "the broker refuses the login: check user, password and virtual host in transport_url"
    } else {
        "the broker cannot be reached"
    };
    tracing::error!(broker = ?host, %error, retry_in = ?delay, "{hint}");
}
