//! The broker as one agent sees it, until that is cut off from the world.

use std::time::Duration;

use common::messaging::{
    Address, Delivery, Error, Inbox, Memory, Message, Outgoing, Subscription, Transport, decode,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::mpsc;

use super::fuse::{Fuse, Step};
use super::nova::name;

/// What changes something, of all that is sent to the conductor and to other agents.
const CHANGES: [&str; 13] = [
    "Instance.save",
    "Instance.destroy",
    "InstanceInfoCache.save",
    "Migration.save",
    "VirtualInterface.create",
    "VirtualInterface.destroy",
    "build_instances",
    "migrate_server",
    "resize_instance",
    "finish_resize",
    "finish_revert_resize",
    "receive_disk",
    "stop_instance",
];

pub(crate) struct Tap {
    pub(crate) broker: Memory,
    pub(crate) fuse: Fuse,
}

impl Tap {
    async fn listen(&self, subscription: Subscription, to: mpsc::Sender<Delivery>) -> Result<(), Error> {
        let queue = match &subscription {
            Subscription::Topic { queue, .. } => Some(queue.clone()),
            _ => None,
        };
        let mut from = self.broker.subscribe(vec![subscription]).await?;
        let (broker, fuse) = (self.broker.clone(), self.fuse.clone());
        tokio::spawn(async move {
            while !fuse.is_blown() {
                match tokio::time::timeout(Duration::from_millis(2), from.recv()).await {
                    Ok(Some(delivery)) if fuse.is_blown() => {
                        from.close();
                        give_back(&broker, queue.clone(), delivery).await;
                    }
                    Ok(Some(delivery)) => drop(to.send(delivery).await),
                    Ok(None) => return,
                    Err(_) => {}
                }
            }
            from.close();
            while let Some(delivery) = from.recv().await {
                give_back(&broker, queue.clone(), delivery).await;
            }
        });
        Ok(())
    }
}

/// A queue keeps what nobody has taken; an answer is lost.
async fn give_back(broker: &Memory, queue: Option<String>, delivery: Delivery) {
    if let Some(queue) = queue {
        broker.inject(&queue, delivery.body).await;
    }
}

fn changes(message: &Outgoing) -> bool {
    if !matches!(message.address, Address::Topic { .. }) {
        return false;
    }
    let Ok(Message::Request(request)) = decode(&message.body) else { return false };
    let args = Value::Object(request.args);
    CHANGES.contains(&name(&request.method, &args).as_str())
}

impl Transport for Tap {
    fn publish(&self, message: Outgoing) -> BoxFuture<'_, Result<(), Error>> {
        let step = self.fuse.step(changes(&message));
        async move {
            match step {
                Step::Dead => std::future::pending().await,
                Step::Go | Step::Last => self.broker.publish(message).await,
            }
        }
        .boxed()
    }

    fn subscribe(&self, subscriptions: Vec<Subscription>) -> BoxFuture<'_, Result<Inbox, Error>> {
        async move {
            let (to, inbox) = mpsc::channel(256);
            for subscription in subscriptions {
                self.listen(subscription, to.clone()).await?;
            }
            Ok(inbox)
        }
        .boxed()
    }

    fn connected(&self) -> bool {
        self.broker.connected()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.broker.close()
    }
}
