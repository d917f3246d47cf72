//! Asking others: calls that wait for an answer, casts and fanouts that do not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::{Address, Error, Message, Outgoing, RemoteError, Reply, Request, RequestContext};
use super::{Settlement, Subscription, Transport, decode, encode};
use crate::ids::new_hex;
use crate::shutdown::Shutdown;

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Topic, e.g. `conductor`.
    pub topic: String,
    /// One server of the topic; any server when none.
    pub server: Option<String>,
    /// Namespace of the endpoint.
    pub namespace: Option<String>,
    /// Version of the interface that is spoken.
    pub version: String,
}

impl Target {
    /// Any server of `topic`.
    pub fn topic(topic: &str, version: &str) -> Self {
        Self { topic: topic.into(), server: None, namespace: None, version: version.into() }
    }

    /// The same in a namespace.
    #[must_use]
    pub fn namespace(self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.into()), ..self }
    }

    /// One server.
    #[must_use]
    pub fn server(self, server: &str) -> Self {
        Self { server: Some(server.into()), ..self }
    }

    fn queue(&self) -> String {
        self.server.as_ref().map_or_else(|| self.topic.clone(), |server| format!("{}.{server}", self.topic))
    }
}

/// Why a call brought no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The other side failed and said so.
    #[error("{topic} answered {method} with {error}")]
    Remote {
        /// Topic that was asked.
        topic: String,
        /// Method that was called.
        method: String,
        /// What it said.
        error: Box<RemoteError>,
    },
    /// No answer in time.
    #[error("no answer from {topic} to {method} within {waited:?}")]
    Timeout {
        /// Topic that was asked.
        topic: String,
        /// Method that was called.
        method: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The request could not be sent.
    #[error("cannot ask {topic} for {method}")]
    Transport {
        /// Topic that was asked.
        topic: String,
        /// Method that was called.
        method: String,
        /// Why.
        #[source]
        source: Error,
    },
}

impl CallError {
    /// What the other side said, if it was the one to fail.
    pub fn remote(&self) -> Option<&RemoteError> {
        match self {
            Self::Remote { error, .. } => Some(error),
            Self::Timeout { .. } | Self::Transport { .. } => None,
        }
    }
}

type Waiters = Arc<Mutex<HashMap<String, mpsc::UnboundedSender<Reply>>>>;

/// Sends requests and finds the answers; clones share the reply queue.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    exchange: String,
    reply_queue: String,
    timeout: Duration,
    waiters: Waiters,
}

/// Takes the waiter away however the call ends, also when its future is dropped.
struct Waiting<'a> {
    waiters: &'a Waiters,
    msg_id: &'a str,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner).remove(self.msg_id);
    }
}

impl Client {
    /// Opens the reply queue and starts to listen to it.
    ///
    /// # Arguments
    /// * `exchange`: oslo's `control_exchange`.
    /// * `timeout`: how long a call waits for its answer (`rpc_response_timeout`).
    ///
    /// # Errors
    /// When the transport is closed before the queue exists.
    pub async fn start(
        transport: Arc<dyn Transport>,
        exchange: &str,
        timeout: Duration,
        life: &Shutdown,
    ) -> Result<Self, Error> {
        let reply_queue = format!("reply_{}", new_hex());
        let waiters = Waiters::default();
        let mut inbox = transport.subscribe(vec![Subscription::Reply { queue: reply_queue.clone() }]).await?;
        let (found, closing) = (waiters.clone(), life.clone());
        life.spawn_service(async move {
            loop {
                let delivery = tokio::select! {
                    delivery = inbox.recv() => delivery,
                    () = closing.closed() => None,
                };
                let Some(delivery) = delivery else { break };
                let decoded = decode(&delivery.body);
                delivery.settle(Settlement::Ack).await;
                deliver(&found, decoded);
            }
        });
        Ok(Self { transport, exchange: exchange.into(), reply_queue, timeout, waiters })
    }

    /// How long [`Self::call`] waits.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Calls and waits for the answer.
    ///
    /// # Errors
    /// [`CallError`]; a timeout does not say whether the other side did the work.
    pub async fn call(
        &self,
        target: &Target,
        context: &RequestContext,
        method: &str,
        args: Map<String, Value>,
    ) -> Result<Value, CallError> {
        self.call_within(target, context, method, args, (self.timeout, None)).await
    }

    /// As [`Self::call`], with an own time limit.
    ///
    /// With `monitor` the other side must show a sign of life in each such span, and the limit is for the whole.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call_within(
        &self,
        target: &Target,
        context: &RequestContext,
        method: &str,
        args: Map<String, Value>,
        (timeout, monitor): (Duration, Option<Duration>),
    ) -> Result<Value, CallError> {
        let msg_id = new_hex();
        let (sender, mut replies) = mpsc::unbounded_channel();
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner).insert(msg_id.clone(), sender);
        let _waiting = Waiting { waiters: &self.waiters, msg_id: &msg_id };
        let request = Request {
            monitor: monitor.map(|span| span.as_secs_f64()),
            reply_to: Some((msg_id.clone(), self.reply_queue.clone())),
            ..self.request(target, context, method, args)
        };
        self.publish(target, request, Some(timeout)).await?;
        let timed_out = |waited| CallError::Timeout { topic: target.queue(), method: method.into(), waited };
        let end = tokio::time::Instant::now() + timeout;
        loop {
            let patience = monitor.map_or(end, |span| end.min(tokio::time::Instant::now() + span));
            let reply = tokio::time::timeout_at(patience, replies.recv()).await;
            let Ok(Some(reply)) = reply else { return Err(timed_out(monitor.unwrap_or(timeout))) };
            if reply.ending {
                return reply.outcome.map_err(|error| CallError::Remote {
                    topic: target.queue(),
                    method: method.into(),
                    error: Box::new(error),
                });
            }
        }
    }

    /// Sends without waiting for an answer.
    ///
    /// # Errors
    /// [`CallError::Transport`] when the broker does not take the message.
    pub async fn cast(
        &self,
        target: &Target,
        context: &RequestContext,
        method: &str,
        args: Map<String, Value>,
    ) -> Result<(), CallError> {
        self.publish(target, self.request(target, context, method, args), None).await
    }

    /// Sends to every server of the topic without waiting for answers.
    ///
    /// # Errors
    /// [`CallError::Transport`] when the broker does not take the message.
    pub async fn fanout(
        &self,
        target: &Target,
        context: &RequestContext,
        method: &str,
        args: Map<String, Value>,
    ) -> Result<(), CallError> {
        let request = self.request(target, context, method, args);
        let address = Address::Fanout { topic: target.topic.clone() };
        self.hand_over(target, request, address, None).await
    }

    fn request(
        &self,
        target: &Target,
        context: &RequestContext,
        method: &str,
        args: Map<String, Value>,
    ) -> Request {
        Request {
            method: method.into(),
            version: target.version.clone(),
            namespace: target.namespace.clone(),
            args,
            context: context.clone(),
            reply_to: None,
            monitor: None,
            unique_id: new_hex(),
        }
    }

    async fn publish(
        &self,
        target: &Target,
        request: Request,
        expiration: Option<Duration>,
    ) -> Result<(), CallError> {
        let address = Address::Topic { exchange: self.exchange.clone(), queue: target.queue() };
        self.hand_over(target, request, address, expiration).await
    }

    async fn hand_over(
        &self,
        target: &Target,
        request: Request,
        address: Address,
        expiration: Option<Duration>,
    ) -> Result<(), CallError> {
        let method = request.method.clone();
        let body = encode(&Message::Request(Box::new(request)));
        self.transport
            .publish(Outgoing { address, body, expiration })
            .await
            .map_err(|source| CallError::Transport { topic: target.queue(), method, source })
    }
}

/// Gives a reply to the call that waits for it.
fn deliver(waiters: &Waiters, decoded: Result<Message, Error>) {
    match decoded {
        Ok(Message::Reply(reply)) => {
            let waiters = waiters.lock().unwrap_or_else(PoisonError::into_inner);
            // Gone when the call has timed out meanwhile: nothing is left to do with the answer.
            match waiters.get(&reply.msg_id) {
                Some(waiter) => drop(waiter.send(reply)),
                None => tracing::debug!(msg_id = reply.msg_id, "dropped an answer nobody waits for"),
            }
        }
        Ok(Message::Request(request)) => {
            tracing::warn!(method = request.method, "dropped a request that came to the reply queue");
        }
        Err(error) => tracing::warn!(%error, "dropped a message that came to the reply queue"),
    }
}
