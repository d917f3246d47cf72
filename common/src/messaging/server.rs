//! Being asked: takes requests from the broker, runs the handler and sends the answer.
//!
//! A request is acknowledged when it is received, before it runs, as oslo.messaging does: a crash loses it, and the
//! recovery at start (Nova's `_init_instance`) puts the instance right. Nothing is ever put back into a queue.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::{Address, Delivery, Error, Inbox, Message, Outgoing, RemoteError, Reply, Request};
use super::{Settlement, Subscription, Transport, decode, encode};
use crate::ids::new_hex;
use crate::shutdown::Shutdown;

/// How many messages back a second delivery is recognised.
const REMEMBERED: usize = 256;

/// A reply queue that is gone may come back while its owner reconnects.
const REPLY_PATIENCE: Duration = Duration::from_secs(60);
const REPLY_RETRY: Duration = Duration::from_millis(250);

/// What carries out a request.
pub type Handler = Arc<dyn Fn(Request) -> BoxFuture<'static, Result<Value, RemoteError>> + Send + Sync>;

/// An interface that is served: requests of the same major and at most this minor version are let in.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Namespace; none for the main interface.
    pub namespace: Option<&'static str>,
    /// Major and minor version.
    pub version: (u32, u32),
}

impl Endpoint {
    fn serves(&self, request: &Request) -> bool {
        let wanted = request
            .version
            .split_once('.')
            .and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)));
        self.namespace == request.namespace.as_deref()
            && wanted.is_some_and(|(major, minor)| major == self.version.0 && minor <= self.version.1)
    }
}

/// A topic that is served: the shared queue, the host's own queue and the fanout.
#[derive(Clone, Debug)]
pub struct Topic {
    /// oslo's `control_exchange`.
    pub exchange: String,
    /// Name of the topic.
    pub name: String,
    /// Name of this server.
    pub host: String,
}

impl Topic {
    fn subscriptions(&self) -> Vec<Subscription> {
        let queue = |queue: String| Subscription::Topic { exchange: self.exchange.clone(), queue };
        vec![
            queue(self.name.clone()),
            queue(format!("{}.{}", self.name, self.host)),
            Subscription::Fanout {
                topic: self.name.clone(),
                queue: format!("{}_fanout_{}", self.name, new_hex()),
            },
        ]
    }
}

/// Serves topics until the process stops.
pub struct Server {
    transport: Arc<dyn Transport>,
    endpoints: Vec<Endpoint>,
    handler: Handler,
    life: Shutdown,
}

impl Server {
    /// Prepares a server; nothing is consumed yet.
    pub fn new(
        transport: Arc<dyn Transport>,
        endpoints: Vec<Endpoint>,
        handler: Handler,
        life: Shutdown,
    ) -> Arc<Self> {
        Arc::new(Self { transport, endpoints, handler, life })
    }

    /// Begins to consume `topics`; consuming ends when the process is asked to stop.
    ///
    /// # Errors
    /// When the transport is closed.
    pub async fn serve(self: &Arc<Self>, topics: &[Topic]) -> Result<(), Error> {
        for topic in topics {
            let inbox = self.transport.subscribe(topic.subscriptions()).await?;
            let server = Arc::clone(self);
            self.life.spawn_service(async move { server.consume(inbox).await });
        }
        Ok(())
    }

    async fn consume(self: Arc<Self>, mut inbox: Inbox) {
        let mut seen = Seen::default();
        loop {
            let delivery = tokio::select! {
                biased;
                () = self.life.stopped() => break,
                delivery = inbox.recv() => delivery,
            };
            let Some(delivery) = delivery else { break };
            self.take(delivery, &mut seen).await;
        }
    }

    async fn take(self: &Arc<Self>, delivery: Delivery, seen: &mut Seen) {
        let request = match decode(&delivery.body) {
            Ok(Message::Request(request)) => request,
            Ok(Message::Reply(_)) => {
                tracing::warn!("dropped a reply that came to a request queue");
                return delivery.settle(Settlement::Reject).await;
            }
            Err(error) => {
                tracing::warn!(%error, bytes = delivery.body.len(), "dropped a message that is no RPC request");
                return delivery.settle(Settlement::Reject).await;
            }
        };
        delivery.settle(Settlement::Ack).await;
        if seen.before(&request.unique_id) {
            tracing::info!(
                method = request.method,
                unique_id = request.unique_id,
                "dropped a second delivery"
            );
            return;
        }
        let server = Arc::clone(self);
        self.life.spawn(async move { server.run(*request).await });
    }

    async fn run(&self, request: Request) {
        let (reply_to, monitor) = (request.reply_to.clone(), request.monitor);
        let method = request.method.clone();
        let outcome = {
            let work = AssertUnwindSafe(self.outcome(request)).catch_unwind();
            tokio::pin!(work);
            loop {
                let sign_of_life = sign_of_life(monitor.filter(|_| reply_to.is_some()));
                tokio::select! {
                    outcome = &mut work => break outcome,
                    () = sign_of_life => {
                        if let Some((msg_id, queue)) = &reply_to {
                            self.reply(&method, queue, Reply {
                                msg_id: msg_id.clone(), outcome: Ok(Value::Null), ending: false, unique_id: new_hex(),
                            }).await;
                        }
                    }
                }
            }
        };
        let outcome = outcome.unwrap_or_else(|_| {
            tracing::error!(method, "a request was given up because of a defect of the agent");
            Err(RemoteError::builtin("RuntimeError", "internal error of the compute agent"))
        });
        match reply_to {
            Some((msg_id, queue)) => {
                let reply = Reply { msg_id, outcome, ending: true, unique_id: new_hex() };
                self.reply(&method, &queue, reply).await;
            }
            None => {
                if let Err(error) = outcome {
                    tracing::debug!(method, %error, "a cast ended with a failure");
                }
            }
        }
    }

    async fn outcome(&self, request: Request) -> Result<Value, RemoteError> {
        if !self.endpoints.iter().any(|endpoint| endpoint.serves(&request)) {
            let error = RemoteError::unsupported_version(&request.version, &request.method);
            tracing::warn!(
                method = request.method,
                version = request.version,
                "refused an unsupported version"
            );
            return Err(error);
        }
        (self.handler)(request).await
    }

    async fn reply(&self, method: &str, queue: &str, reply: Reply) {
        let body = encode(&Message::Reply(reply));
        let end = tokio::time::Instant::now() + REPLY_PATIENCE;
        loop {
            let address = Address::Reply { queue: queue.to_owned() };
            match self.transport.publish(Outgoing { address, body: body.clone(), expiration: None }).await {
                Ok(()) => return,
                Err(Error::NoRoute { .. }) if tokio::time::Instant::now() < end => {
                    tokio::time::sleep(REPLY_RETRY).await;
                }
                Err(error) => {
                    tracing::warn!(method, %error, "an answer could not be delivered");
                    return;
                }
            }
        }
    }
}

/// Resolves when a monitored caller needs to hear that the work goes on: at half its patience.
async fn sign_of_life(monitor: Option<f64>) {
    match monitor.and_then(|seconds| Duration::try_from_secs_f64(seconds / 2.0).ok()) {
        // A caller that asks for more than ten signs a second gets ten.
        Some(span) => tokio::time::sleep(span.max(Duration::from_millis(100))).await,
        None => std::future::pending().await,
    }
}

/// Recognises messages that the broker delivers a second time.
#[derive(Default)]
struct Seen {
    ids: VecDeque<String>,
}

impl Seen {
    /// True when `id` was met before; remembers it.
    fn before(&mut self, id: &str) -> bool {
        if id.is_empty() {
            return false;
        }
        if self.ids.iter().any(|known| known == id) {
            return true;
        }
        if self.ids.len() == REMEMBERED {
            self.ids.pop_front();
        }
        self.ids.push_back(id.to_owned());
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messaging::{CallError, Client, Memory, RequestContext, Target};
    use serde_json::{Map, json};

    async fn served(handler: Handler) -> (Memory, Client, Shutdown) {
        let (broker, life) = (Memory::new(), Shutdown::new());
        let transport: Arc<dyn Transport> = Arc::new(broker.clone());
        let endpoints = vec![Endpoint { namespace: None, version: (6, 5) }];
        let server = Server::new(transport.clone(), endpoints, handler, life.clone());
        let topic = Topic { exchange: "nova".into(), name: "compute".into(), host: "h".into() };
        server.serve(&[topic]).await.unwrap();
        let client = Client::start(transport, "nova", Duration::from_secs(2), &life).await.unwrap();
        (broker, client, life)
    }

    fn echo() -> Handler {
        Arc::new(|request| {
            async move {
                match request.method.as_str() {
                    "echo" => Ok(Value::Object(request.args)),
                    "panic" => panic!("on purpose"),
                    "slow" => {
                        tokio::time::sleep(Duration::from_millis(700)).await;
                        Ok(json!("done"))
                    }
                    other => Err(RemoteError::no_such_method(other)),
                }
            }
            .boxed()
        })
    }

    fn target() -> Target {
        Target::topic("compute", "6.0").server("h")
    }

    async fn call(client: &Client, target: &Target, method: &str) -> Result<Value, CallError> {
        client.call(target, &RequestContext::admin(), method, Map::new()).await
    }

    #[tokio::test]
    async fn a_call_gets_its_answer_and_failures_their_class() {
        let (_broker, client, _life) = served(echo()).await;
        assert_eq!(call(&client, &target(), "echo").await.unwrap(), json!({}));
        let error = call(&client, &target(), "nope").await.unwrap_err();
        assert!(error.remote().unwrap().is("NoSuchMethod"));
        let error = call(&client, &target(), "panic").await.unwrap_err();
        assert!(error.remote().unwrap().is("RuntimeError"));
    }

    #[tokio::test]
    async fn other_versions_and_namespaces_are_refused() {
        let (_broker, client, _life) = served(echo()).await;
        for version in ["7.0", "6.6", "5.13", "six"] {
            let target = Target { version: version.into(), ..target() };
            let error = call(&client, &target, "echo").await.unwrap_err();
            assert!(error.remote().unwrap().is("UnsupportedVersion"), "{version}");
        }
        let error = call(&client, &target().namespace("compute_task"), "echo").await.unwrap_err();
        assert!(error.remote().unwrap().is("UnsupportedVersion"));
    }

    #[tokio::test]
    async fn garbage_is_rejected_once_and_the_server_lives_on() {
        let (broker, client, _life) = served(echo()).await;
        for body in [&b""[..], b"not json", br#"{"oslo.version": "2.0", "oslo.message": "{}"}"#] {
            broker.inject("compute", body.to_vec()).await;
        }
        assert_eq!(call(&client, &Target::topic("compute", "6.0"), "echo").await.unwrap(), json!({}));
        let rejected = broker.settled().iter().filter(|s| **s == Settlement::Reject).count();
        assert_eq!(rejected, 3);
    }

    #[tokio::test]
    async fn a_second_delivery_does_not_run() {
        let runs = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counted = runs.clone();
        let handler: Handler = Arc::new(move |_| {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            std::future::ready(Ok(Value::Null)).boxed()
        });
        let (broker, client, _life) = served(handler).await;
        let request = Request { reply_to: None, ..client_request() };
        for _ in 0..2 {
            broker.inject("compute.h", encode(&Message::Request(Box::new(request.clone())))).await;
        }
        call(&client, &target(), "echo").await.unwrap();
        assert_eq!(runs.load(std::sync::atomic::Ordering::SeqCst), 2);
    }

    fn client_request() -> Request {
        Request {
            method: "echo".into(),
            version: "6.0".into(),
            namespace: None,
            args: Map::new(),
            context: RequestContext::admin(),
            reply_to: None,
            monitor: None,
            unique_id: "same".into(),
        }
    }

    #[tokio::test]
    async fn a_monitored_call_outlives_the_patience_of_its_caller() {
        let (_broker, client, _life) = served(echo()).await;
        let patience = (Duration::from_secs(5), Some(Duration::from_millis(300)));
        let context = RequestContext::admin();
        let answer = client.call_within(&target(), &context, "slow", Map::new(), patience).await;
        assert_eq!(answer.unwrap(), json!("done"));
    }

    #[tokio::test]
    async fn nobody_answers_and_the_call_times_out() {
        let (_broker, client, _life) = served(echo()).await;
        let nobody = Target::topic("conductor", "3.0");
        let patience = (Duration::from_millis(50), None);
        let answer = client.call_within(&nobody, &RequestContext::admin(), "x", Map::new(), patience).await;
        assert!(matches!(answer, Err(CallError::Timeout { .. })));
    }

    #[tokio::test]
    async fn stopping_waits_for_running_requests_and_answers_them() {
        let (_broker, client, life) = served(echo()).await;
        let slow = tokio::spawn(async move { call(&client, &target(), "slow").await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        life.stop();
        assert_eq!(slow.await.unwrap().unwrap(), json!("done"));
        assert_eq!(life.drain(Duration::from_secs(1)).await, 0);
    }
}
