//! One connection to one broker: declares, consumes and publishes until it breaks.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, BasicRejectOptions,
    ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ErrorKind};
use tokio::sync::{Mutex, mpsc};

use super::Options;
use super::topology::{Exchange, exchange_of, queue_of, route};
use crate::messaging::transport_url::BrokerHost;
use crate::messaging::{Address, Delivery, Outgoing, Settlement, Subscription};

/// How many messages the broker hands over before the first of them is acknowledged.
const PREFETCH: u16 = 32;

/// The client library keeps room for 64 frames per connection; with the broker's default of 128 KiB that would be 8 MiB.
const FRAME_MAX: u32 = 16 * 1024;

/// AMQP reply codes.
const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;

/// What went wrong on a connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// The broker or the network. The library's errors tell their causes themselves, so they are no source here.
    #[error("{doing}: {error}")]
    Amqp {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        error: lapin::Error,
    },
    /// A message came back: no such queue.
    #[error("no route")]
    NoRoute,
    /// The broker answered with nack.
    #[error("the broker refused a message")]
    Refused,
    /// The other end does not speak AMQP, or not in time.
    #[error("no AMQP greeting within {0:?}")]
    Silent(Duration),
}

fn failed(doing: &'static str) -> impl FnOnce(lapin::Error) -> LinkError {
    move |error| LinkError::Amqp { doing, error }
}

/// The AMQP reply code of an error; 0 for everything else.
fn code(error: &lapin::Error) -> u16 {
    match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_id(),
        _ => 0,
    }
}

/// An open connection.
pub(super) struct Link {
    pub(super) connection: Connection,
    options: Options,
    publisher: Mutex<Publisher>,
}

/// The channel messages go out on, and what is known to exist on the broker.
struct Publisher {
    channel: Channel,
    declared: HashSet<String>,
}

impl Link {
    /// Connects, logs in and opens the channel for publishing.
    pub(super) async fn open(host: &BrokerHost, vhost: &str, options: &Options) -> Result<Self, LinkError> {
        let uri = AMQPUri {
            scheme: AMQPScheme::AMQP,
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo { username: host.username.clone(), password: host.password.clone() },
                host: host.host.clone(),
                port: host.port,
            },
            vhost: vhost.to_owned(),
            query: AMQPQueryString {
                frame_max: Some(FRAME_MAX),
                heartbeat: Some(options.heartbeat),
                connection_timeout: Some(10_000),
                ..AMQPQueryString::default()
            },
        };
        let properties =
            ConnectionProperties::default().with_connection_name(options.connection_name.clone().into());
        let patience = Duration::from_secs(15);
        let connection = tokio::time::timeout(patience, Connection::connect_uri(uri, properties))
            .await
            .map_err(|_| LinkError::Silent(patience))?
            .map_err(failed("connecting"))?;
        let channel = confirming_channel(&connection).await?;
        let publisher = Mutex::new(Publisher { channel, declared: HashSet::new() });
        Ok(Self { connection, options: options.clone(), publisher })
    }

    /// Publishes and waits until the broker has the message.
    pub(super) async fn publish(&self, message: &Outgoing) -> Result<(), LinkError> {
        let channel = self.ready_channel(&message.address).await?;
        let (exchange, key) = route(&message.address);
        let mandatory = matches!(message.address, Address::Reply { .. });
        let confirm = channel
            .basic_publish(
                exchange.as_str().into(),
                key.into(),
                BasicPublishOptions { mandatory, ..BasicPublishOptions::default() },
                &message.body,
                properties(message.expiration),
            )
            .await
            .map_err(failed("publishing"))?;
        match confirm.await {
            Ok(Confirmation::Ack(None) | Confirmation::NotRequested) => Ok(()),
            Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_))) => Err(LinkError::NoRoute),
            Ok(Confirmation::Nack(None)) => Err(LinkError::Refused),
            Err(error) => {
                // An exchange that has gone (auto-delete) has to be declared anew.
                if code(&error) == NOT_FOUND {
                    self.publisher.lock().await.declared.remove(&exchange);
                }
                Err(failed("publishing")(error))
            }
        }
    }

    /// The publishing channel, usable, with the exchange of `address` declared.
    async fn ready_channel(&self, address: &Address) -> Result<Channel, LinkError> {
        let mut publisher = self.publisher.lock().await;
        if !publisher.channel.status().connected() {
            publisher.channel = confirming_channel(&self.connection).await?;
        }
        if let Some(exchange) = exchange_of(address, &self.options) {
            // A fanout exchange goes with its last queue, so it is declared each time.
            let known = publisher.declared.contains(&exchange.name) && !exchange.options.auto_delete;
            if !known {
                publisher.channel = declare_exchange(&self.connection, &publisher.channel, &exchange).await?;
                publisher.declared.insert(exchange.name);
            }
        }
        Ok(publisher.channel.clone())
    }

    /// Declares the queues of `subscriptions` and passes what arrives to `inbox`; `lost` is told when that ends.
    pub(super) async fn consume(
        &self,
        subscriptions: &[Subscription],
        inbox: &mpsc::Sender<Delivery>,
        lost: &mpsc::Sender<()>,
    ) -> Result<(), LinkError> {
        let mut channel = self.connection.create_channel().await.map_err(failed("opening a channel"))?;
        let mut queues = Vec::new();
        for subscription in subscriptions {
            let queue = queue_of(subscription, &self.options);
            channel = self.declare_queue(channel, &queue).await?;
            let fanout = matches!(subscription, Subscription::Fanout { .. });
            queues.push((queue.name, fanout));
        }
        channel
            .basic_qos(PREFETCH, BasicQosOptions::default())
            .await
            .map_err(failed("setting the prefetch"))?;
        for (queue, fanout) in queues {
            let consumer = channel
                .basic_consume(
                    queue.as_str().into(),
                    "".into(),
                    BasicConsumeOptions::default(),
                    FieldTable::default(),
                )
                .await
                .map_err(failed("consuming"))?;
            let own_queue = fanout.then_some(queue);
            let forwarding = forward(consumer, channel.clone(), inbox.clone(), lost.clone(), own_queue);
            tokio::spawn(forwarding);
        }
        Ok(())
    }

    /// Declares and binds a queue; returns the channel to go on with.
    async fn declare_queue(
        &self,
        channel: Channel,
        queue: &super::topology::Queue,
    ) -> Result<Channel, LinkError> {
        let mut channel = match &queue.binding {
            Some((exchange, _)) => declare_exchange(&self.connection, &channel, exchange).await?,
            None => channel,
        };
        let declared =
            channel.queue_declare(queue.name.as_str().into(), queue.options, queue.arguments.clone()).await;
        match declared {
            Ok(_) => {}
            Err(error) if code(&error) == PRECONDITION_FAILED => {
                tracing::warn!(queue = queue.name, %error,
                    "a queue exists with other flags and is used as it is; compare [oslo_messaging_rabbit] with nova's");
                channel = self.connection.create_channel().await.map_err(failed("opening a channel"))?;
                let passive = QueueDeclareOptions { passive: true, ..queue.options };
                channel
                    .queue_declare(queue.name.as_str().into(), passive, FieldTable::default())
                    .await
                    .map_err(failed("declaring a queue"))?;
            }
            Err(error) => return Err(failed("declaring a queue")(error)),
        }
        if let Some((exchange, key)) = &queue.binding {
            channel
                .queue_bind(
                    queue.name.as_str().into(),
                    exchange.name.as_str().into(),
                    key.as_str().into(),
                    QueueBindOptions::default(),
                    FieldTable::default(),
                )
                .await
                .map_err(failed("binding a queue"))?;
        }
        Ok(channel)
    }
}

async fn confirming_channel(connection: &Connection) -> Result<Channel, LinkError> {
    let channel = connection.create_channel().await.map_err(failed("opening a channel"))?;
    channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(failed("asking for confirms"))?;
    Ok(channel)
}

/// Declares an exchange; returns the channel to go on with, for a refusal closes the one it came on.
async fn declare_exchange(
    connection: &Connection,
    channel: &Channel,
    exchange: &Exchange,
) -> Result<Channel, LinkError> {
    let name = exchange.name.as_str();
    let declare = |channel: Channel, options: ExchangeDeclareOptions| {
        let kind = exchange.kind.clone();
        async move { channel.exchange_declare(name.into(), kind, options, FieldTable::default()).await }
    };
    match declare(channel.clone(), exchange.options).await {
        Ok(()) => Ok(channel.clone()),
        Err(error) if code(&error) == PRECONDITION_FAILED => {
            tracing::warn!(exchange = name, %error,
                "an exchange exists with other flags and is used as it is; compare [oslo_messaging_rabbit] with nova's");
            let channel = confirming_channel(connection).await?;
            let passive = ExchangeDeclareOptions { passive: true, ..exchange.options };
            declare(channel.clone(), passive).await.map_err(failed("declaring an exchange"))?;
            Ok(channel)
        }
        Err(error) => Err(failed("declaring an exchange")(error)),
    }
}

/// Message properties as oslo.messaging sets them.
fn properties(expiration: Option<Duration>) -> BasicProperties {
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_delivery_mode(2)
        .with_priority(0)
        .with_headers(FieldTable::default());
    match expiration {
        Some(span) => properties.with_expiration(span.as_millis().to_string().into()),
        None => properties,
    }
}

/// Passes deliveries on until the reader goes away (then the consumer is cancelled) or the connection breaks.
async fn forward(
    mut consumer: lapin::Consumer,
    channel: Channel,
    inbox: mpsc::Sender<Delivery>,
    lost: mpsc::Sender<()>,
    own_queue: Option<String>,
) {
    loop {
        let next = tokio::select! {
            biased;
            () = inbox.closed() => break,
            next = consumer.next() => next,
        };
        let Some(Ok(delivery)) = next else {
            // The supervisor may be gone already, then nobody needs to be told.
            let _ = lost.try_send(());
            return;
        };
        if inbox.send(incoming(delivery)).await.is_err() {
            break;
        }
    }
    // The reader has gone: give back what was prefetched and remove the queue that was made for it alone. Failures mean
    // that the connection is gone, and with it the consumer.
    let _ = channel.basic_cancel(consumer.tag(), lapin::options::BasicCancelOptions::default()).await;
    if let Some(queue) = own_queue {
        let _ = channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await;
    }
}

fn incoming(delivery: lapin::message::Delivery) -> Delivery {
    let acker = delivery.acker;
    Delivery {
        body: delivery.data,
        settle: Box::new(move |settlement| {
            async move {
                let settled = match settlement {
                    Settlement::Ack => acker.ack(BasicAckOptions::default()).await,
                    Settlement::Reject => acker.reject(BasicRejectOptions { requeue: false }).await,
                };
                if let Err(error) = settled {
                    tracing::debug!(%error, "a message could not be settled; the broker will deliver it again");
                }
            }
            .boxed()
        }),
    }
}
