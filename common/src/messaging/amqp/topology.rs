//! How exchanges and queues are declared; pure. The flags must equal those of nova-api and nova-conductor, for a broker
//! refuses a second declaration that differs (WIRE §2).

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};

use super::Options;
use crate::messaging::{Address, Subscription};

/// An exchange as it must be declared.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Exchange {
    pub name: String,
    pub kind: ExchangeKind,
    pub options: ExchangeDeclareOptions,
}

/// A queue as it must be declared, and the exchange and key that feed it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Queue {
    pub name: String,
    pub options: QueueDeclareOptions,
    pub arguments: FieldTable,
    pub binding: Option<(Exchange, String)>,
}

/// The exchange a message is published to; none for the default exchange.
pub(super) fn exchange_of(address: &Address, options: &Options) -> Option<Exchange> {
    match address {
        Address::Topic { exchange, .. } => Some(topic_exchange(exchange, options)),
        Address::Fanout { topic } => Some(fanout_exchange(topic, options)),
        Address::Reply { .. } => None,
    }
}

/// Exchange name and routing key of an address.
pub(super) fn route(address: &Address) -> (String, String) {
    match address {
        Address::Topic { exchange, queue } => (exchange.clone(), queue.clone()),
        Address::Fanout { topic } => (format!("{topic}_fanout"), String::new()),
        Address::Reply { queue } => (String::new(), queue.clone()),
    }
}

fn topic_exchange(name: &str, options: &Options) -> Exchange {
    let declared = ExchangeDeclareOptions {
        durable: options.durable_queues || options.quorum_queue,
        auto_delete: options.auto_delete,
        ..ExchangeDeclareOptions::default()
    };
    Exchange { name: name.into(), kind: ExchangeKind::Topic, options: declared }
}

fn fanout_exchange(topic: &str, options: &Options) -> Exchange {
    let declared = ExchangeDeclareOptions {
        durable: options.transient_quorum_queue,
        // oslo.messaging: every fanout exchange goes with its last queue.
        auto_delete: true,
        ..ExchangeDeclareOptions::default()
    };
    Exchange { name: format!("{topic}_fanout"), kind: ExchangeKind::Fanout, options: declared }
}

/// The queue behind a subscription.
pub(super) fn queue_of(subscription: &Subscription, options: &Options) -> Queue {
    match subscription {
        Subscription::Topic { exchange, queue } => Queue {
            name: queue.clone(),
            options: QueueDeclareOptions {
                durable: options.durable_queues || options.quorum_queue,
                auto_delete: options.auto_delete,
                ..QueueDeclareOptions::default()
            },
            arguments: quorum(options.quorum_queue),
            binding: Some((topic_exchange(exchange, options), queue.clone())),
        },
        Subscription::Fanout { topic, queue } => Queue {
            binding: Some((fanout_exchange(topic, options), topic.clone())),
            ..transient(queue, options)
        },
        Subscription::Reply { queue } => transient(queue, options),
    }
}

/// A queue of this process alone: the broker removes it when nobody has used it for a while.
fn transient(name: &str, options: &Options) -> Queue {
    let mut arguments = quorum(options.transient_quorum_queue);
    let milliseconds = options.transient_ttl.as_millis();
    if let Ok(expires) = i32::try_from(milliseconds)
        && expires > 0
    {
        arguments.insert("x-expires".into(), AMQPValue::LongInt(expires));
    }
    Queue {
        name: name.into(),
        options: QueueDeclareOptions {
            durable: options.transient_quorum_queue,
            ..QueueDeclareOptions::default()
        },
        arguments,
        binding: None,
    }
}

fn quorum(wanted: bool) -> FieldTable {
    let mut arguments = FieldTable::default();
    if wanted {
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic() -> Subscription {
        Subscription::Topic { exchange: "nova".into(), queue: "compute.h".into() }
    }

    fn fanout() -> Subscription {
        Subscription::Fanout { topic: "compute".into(), queue: "compute_fanout_1".into() }
    }

    #[test]
    fn the_defaults_are_those_recorded_from_nova_compute() {
        let options = Options::default();
        let queue = queue_of(&topic(), &options);
        assert!(!queue.options.durable && !queue.options.auto_delete && !queue.options.exclusive);
        assert_eq!(queue.arguments, FieldTable::default());
        let (exchange, key) = queue.binding.unwrap();
        assert_eq!((exchange.name.as_str(), key.as_str()), ("nova", "compute.h"));
        assert!(!exchange.options.durable && !exchange.options.auto_delete);

        let queue = queue_of(&fanout(), &options);
        assert!(!queue.options.durable && !queue.options.exclusive);
        let (exchange, key) = queue.binding.unwrap();
        assert_eq!((exchange.name.as_str(), key.as_str()), ("compute_fanout", "compute"));
        assert!(exchange.options.auto_delete);
        assert_eq!(queue.arguments.inner()["x-expires"], AMQPValue::LongInt(1_800_000));
    }

    #[test]
    fn durable_and_quorum_queues_follow_the_cloud_s_options() {
        let options = Options { durable_queues: true, ..Options::default() };
        let queue = queue_of(&topic(), &options);
        assert!(queue.options.durable && queue.binding.unwrap().0.options.durable);
        assert!(!queue_of(&fanout(), &options).options.durable);

        let options = Options { quorum_queue: true, transient_quorum_queue: true, ..Options::default() };
        let quorum = AMQPValue::LongString("quorum".into());
        for subscription in [topic(), fanout()] {
            let queue = queue_of(&subscription, &options);
            assert!(queue.options.durable);
            assert_eq!(queue.arguments.inner()["x-queue-type"], quorum);
        }
    }

    #[test]
    fn addresses_become_exchange_and_key() {
        let topic = Address::Topic { exchange: "nova".into(), queue: "conductor".into() };
        assert_eq!(route(&topic), ("nova".into(), "conductor".into()));
        assert_eq!(
            route(&Address::Fanout { topic: "scheduler".into() }),
            ("scheduler_fanout".into(), String::new())
        );
        assert_eq!(route(&Address::Reply { queue: "reply_1".into() }), (String::new(), "reply_1".into()));
    }
}
