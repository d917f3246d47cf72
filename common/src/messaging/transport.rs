//! What the rest of messaging asks of a broker. Two implementations: [`super::Amqp`] and [`super::Memory`].

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// The queue `queue` behind the topic exchange `exchange`.
    Topic {
        /// oslo's `control_exchange`.
        exchange: String,
        /// Routing key; queues carry the same name.
        queue: String,
    },
    /// Every consumer of a topic.
    Fanout {
        /// Topic without its `_fanout`.
        topic: String,
    },
    /// One reply queue, which has to exist.
    Reply {
        /// Name of the queue.
        queue: String,
    },
}

/// A message on its way out.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Where it goes.
    pub address: Address,
    /// The enveloped payload.
    pub body: Vec<u8>,
    /// After this time nobody waits for the answer any more and the broker may drop the message.
    pub expiration: Option<Duration>,
}

/// What a consumer listens to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subscription {
    /// A queue shared by all servers of a topic, or by the processes of one host.
    Topic {
        /// oslo's `control_exchange`.
        exchange: String,
        /// `topic` or `topic.host`.
        queue: String,
    },
    /// An own queue that gets a copy of every fanout of `topic`.
    Fanout {
        /// Topic without its `_fanout`.
        topic: String,
        /// Name of the own queue.
        queue: String,
    },
    /// An own queue for replies.
    Reply {
        /// Name of the own queue.
        queue: String,
    },
}

/// What becomes of a delivered message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Taken over: the broker forgets it.
    Ack,
    /// Unusable: the broker drops it and offers it to nobody else.
    Reject,
}

/// A message that came in and waits to be settled.
pub struct Delivery {
    /// The bytes as they came.
    pub body: Vec<u8>,
    /// How to tell the broker.
    pub(super) settle: Box<dyn FnOnce(Settlement) -> BoxFuture<'static, ()> + Send>,
}

impl Delivery {
    /// Tells the broker what became of the message. A lost connection is no error: the broker delivers again.
    pub async fn settle(self, settlement: Settlement) {
        (self.settle)(settlement).await;
    }
}

/// Deliveries of one or several subscriptions, in order of arrival. Dropping it ends the subscriptions.
pub type Inbox = mpsc::Receiver<Delivery>;

/// Why a message could not be handed over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection within the time given.
    #[error("the message broker cannot be reached ({waited:?})")]
    Unreachable {
        /// How long was waited.
        waited: Duration,
    },
    /// The reply queue is gone.
    #[error("nobody reads the queue {queue}")]
    NoRoute {
        /// The queue.
        queue: String,
    },
    /// The transport was closed.
    #[error("the messaging transport is closed")]
    Closed,
    /// The body is no oslo.messaging message.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// `transport_url` cannot be used.
    #[error("transport_url: {0}")]
    Url(String),
}

/// A broker.
pub trait Transport: Send + Sync + 'static {
    /// Hands a message over; resolves when the broker has it. Waits for a lost connection up to a minute.
    fn publish(&self, message: Outgoing) -> BoxFuture<'_, Result<(), Error>>;

    /// Listens until the inbox is dropped, over any number of reconnections. Resolves when the first consumption has
    /// begun.
    fn subscribe(&self, subscriptions: Vec<Subscription>) -> BoxFuture<'_, Result<Inbox, Error>>;

    /// True while messages can flow.
    fn connected(&self) -> bool;

    /// Says goodbye to the broker.
    fn close(&self) -> BoxFuture<'_, ()>;
}
