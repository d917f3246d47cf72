//! A broker inside one process, for tests and for replaying recorded traffic.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::{Address, Delivery, Error, Inbox, Outgoing, Settlement, Subscription, Transport};

/// Queues, their readers and what nobody has read yet. Clones share the broker.
#[derive(Clone, Default)]
pub struct Memory {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Readers by queue.
    readers: HashMap<String, mpsc::Sender<Delivery>>,
    /// Fanout queues by topic.
    fanouts: HashMap<String, Vec<String>>,
    /// Messages for queues that nobody reads yet, as a durable topic queue keeps them.
    waiting: HashMap<String, Vec<Vec<u8>>>,
    /// How messages were settled, in order.
    settled: Vec<Settlement>,
}

impl Memory {
    /// An empty broker.
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How all messages so far were settled.
    pub fn settled(&self) -> Vec<Settlement> {
        self.with(|state| state.settled.clone())
    }

    /// Delivers raw bytes to a queue, as a foreign or broken sender would.
    pub async fn inject(&self, queue: &str, body: Vec<u8>) {
        let reader = self.with(|state| state.readers.get(queue).cloned());
        match reader {
            Some(reader) => {
                if let Err(mpsc::error::SendError(delivery)) = reader.send(self.delivery(body)).await {
                    // The reader has gone away: the queue keeps it for the next one.
                    self.keep(queue, delivery.body);
                }
            }
            None => self.keep(queue, body),
        }
    }

    fn keep(&self, queue: &str, body: Vec<u8>) {
        self.with(|state| state.waiting.entry(queue.to_owned()).or_default().push(body));
    }

    fn delivery(&self, body: Vec<u8>) -> Delivery {
        let broker = self.clone();
        Delivery {
            body,
            settle: Box::new(move |settlement| {
                broker.with(|state| state.settled.push(settlement));
                std::future::ready(()).boxed()
            }),
        }
    }

    async fn send(&self, message: Outgoing) -> Result<(), Error> {
        match message.address {
            Address::Topic { queue, .. } => self.inject(&queue, message.body).await,
            Address::Fanout { topic } => {
                let queues = self.with(|state| state.fanouts.get(&topic).cloned().unwrap_or_default());
                for queue in queues {
                    self.inject(&queue, message.body.clone()).await;
                }
            }
            Address::Reply { queue } => {
                if !self.with(|state| state.readers.contains_key(&queue)) {
                    return Err(Error::NoRoute { queue });
                }
                self.inject(&queue, message.body).await;
            }
        }
        Ok(())
    }

    async fn listen(&self, subscriptions: Vec<Subscription>) -> Inbox {
        let (sender, inbox) = mpsc::channel(256);
        let mut backlog = Vec::new();
        for subscription in subscriptions {
            let queue = match subscription {
                Subscription::Topic { queue, .. } | Subscription::Reply { queue } => queue,
                Subscription::Fanout { topic, queue } => {
                    self.with(|state| state.fanouts.entry(topic).or_default().push(queue.clone()));
                    queue
                }
            };
            backlog.extend(self.with(|state| {
                state.readers.insert(queue.clone(), sender.clone());
                state.waiting.remove(&queue).unwrap_or_default()
            }));
        }
        for body in backlog {
            let _ = sender.send_timeout(self.delivery(body), Duration::from_secs(1)).await;
        }
        inbox
    }
}

impl Transport for Memory {
    fn publish(&self, message: Outgoing) -> BoxFuture<'_, Result<(), Error>> {
        self.send(message).boxed()
    }

    fn subscribe(&self, subscriptions: Vec<Subscription>) -> BoxFuture<'_, Result<Inbox, Error>> {
        self.listen(subscriptions).map(Ok).boxed()
    }

    fn connected(&self) -> bool {
        true
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }
}
