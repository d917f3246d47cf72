//! Everything nova-conductor is asked (Nova: `nova.conductor.rpcapi` and the remotable methods of its objects).
//!
//! The only place where the state of an instance leaves the agent. Each call carries the context of the request it is
//! made for, unchanged, because the conductor finds the instance action by the request id in it.

mod backport;
mod casts;
mod events;
mod instances;
mod moves;
mod networks;
mod services;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::contact::{Contact, Seen};
use common::error_chain::Chain;
use common::messaging::{CallError, Client, RemoteError, RequestContext, Target};
use common::objects::manifest::manifest;
use common::objects::{self, Versioned};
use serde_json::{Map, Value, json};

pub use casts::Reschedule;
pub use instances::Expect;
pub use moves::{Handed, PEERS};

use crate::metrics::{ConductorLabels, Metrics, Outcome};

/// Why the conductor did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It failed, did not answer, or cannot be reached.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It answered with something that cannot be read.
    #[error("the conductor's answer to {method} cannot be read")]
    Answer {
        /// What was asked.
        method: String,
        /// What is wrong with it.
        #[source]
        source: objects::Error,
    },
}

impl Error {
    /// What the conductor said, if it was the one to fail.
    pub fn remote(&self) -> Option<&RemoteError> {
        match self {
            Self::Call(error) => error.remote(),
            Self::Answer { .. } => None,
        }
    }

    /// True when the conductor failed with this class of Nova's.
    pub fn is(&self, class: &str) -> bool {
        self.remote().is_some_and(|error| error.is(class))
    }

    /// True when it is not known whether the conductor did its work.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Call(CallError::Timeout { .. }))
    }

    /// The instance has no row any more.
    pub fn is_instance_not_found(&self) -> bool {
        self.is("InstanceNotFound") || self.is("InstanceInfoCacheNotFound")
    }

    /// Somebody else changed the task state, or the vm state, meanwhile.
    pub fn is_unexpected_task_state(&self) -> bool {
        self.is("UnexpectedTaskStateError") || self.is("InstanceUpdateConflict") || self.is_being_deleted()
    }

    /// The user deletes the instance meanwhile.
    pub fn is_being_deleted(&self) -> bool {
        self.is("UnexpectedDeletingTaskStateError")
    }
}

/// A handle on nova-conductor; clones share the reply queue.
#[derive(Clone)]
pub struct Conductor {
    client: Client,
    host: String,
    target: Target,
    metrics: Metrics,
    contact: Arc<Contact>,
}

impl Conductor {
    /// A handle that signs events and faults with `host` and counts its calls in `metrics`.
    pub fn new(client: Client, host: &str, metrics: Metrics) -> Self {
        let target = Target::topic("conductor", "3.0");
        Self { client, host: host.to_owned(), target, metrics, contact: Arc::default() }
    }

    /// How the last calls went.
    pub fn seen(&self) -> Seen {
        self.contact.seen()
    }

    /// Counts a call. `method`: from the code, never from outside, for it is a label.
    async fn counted<T>(
        &self,
        method: String,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let begun = Instant::now();
        let result = call.await;
        self.metrics.conductor_seconds.observe(begun.elapsed().as_secs_f64());
        let outcome = match &result {
            Ok(_) => Outcome::Ok,
            Err(CallError::Remote { .. }) => Outcome::Refused,
            Err(CallError::Timeout { .. } | CallError::Transport { .. }) => Outcome::Error,
        };
        match &result {
            Err(error) if outcome == Outcome::Error => self.contact.failed(&Chain(error)),
            _ => self.contact.answered(),
        }
        self.metrics.conductor_calls.get_or_create(&ConductorLabels { method, outcome }).inc();
        result
    }

    /// Asks whether a conductor is there (`baseapi.ping`), waiting `patience`.
    ///
    /// # Errors
    /// When none answers in time.
    pub async fn ping(&self, patience: Duration) -> Result<(), Error> {
        let target = Target::topic("conductor", "1.0").namespace("baseapi");
        let args = args([("arg", json!("nova-docker-agent"))]);
        let context = RequestContext::admin();
        let call = self.client.call_within(&target, &context, "ping", args, (patience, None));
        self.counted("ping".into(), call).await?;
        Ok(())
    }

    /// Calls a class method of an object (`object_class_action_versions`).
    async fn class_method(
        &self,
        context: &RequestContext,
        (class, method): (&str, &str),
        positional: Value,
        keywords: Value,
    ) -> Result<Value, Error> {
        let args = args([
            ("objname", json!(class)),
            ("objmethod", json!(method)),
            ("object_versions", manifest(class)),
            ("args", positional),
            ("kwargs", keywords),
        ]);
        let call = self.client.call(&self.target, context, "object_class_action_versions", args);
        Ok(self.counted(format!("{class}.{method}"), call).await?)
    }

    /// Calls a method of an object (`object_action`) and takes over what it changed.
    ///
    /// Only changed fields and `keys` are sent; the conductor answers with every field that differs.
    async fn action<T: Versioned>(
        &self,
        context: &RequestContext,
        object: &mut T,
        (method, keys): (&str, &[&str]),
        keywords: Value,
    ) -> Result<(), Error> {
        let patience = self.client.timeout();
        self.action_within(context, object, (method, keys, patience), keywords).await
    }

    /// As [`Self::action`], waiting `patience` for the answer.
    async fn action_within<T: Versioned>(
        &self,
        context: &RequestContext,
        object: &mut T,
        (method, keys, patience): (&str, &[&str], Duration),
        keywords: Value,
    ) -> Result<(), Error> {
        let args = args([
            ("objinst", object.object().changed_primitive(keys)),
            ("objmethod", json!(method)),
            ("args", json!([])),
            ("kwargs", keywords),
        ]);
        let patience = (patience, None);
        let call = self.client.call_within(&self.target, context, "object_action", args, patience);
        let answer = self.counted(format!("{}.{method}", T::NAME), call).await?;
        if let Value::Array(parts) = answer
            && let Some(Value::Object(updates)) = parts.into_iter().next()
        {
            object.object_mut().merge(updates);
        } else {
            object.object_mut().clear_changes();
        }
        Ok(())
    }
}

/// Keyword arguments of a remote method.
fn args<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Reads an answer that must be one object.
fn read<T: Versioned>(method: &str, answer: Value) -> Result<T, Error> {
    T::parse(answer).map_err(|source| Error::Answer { method: format!("{}.{method}", T::NAME), source })
}

/// Reads an answer that is one object or null.
fn read_optional<T: Versioned>(method: &str, answer: Value) -> Result<Option<T>, Error> {
    if answer.is_null() { Ok(None) } else { read(method, answer).map(Some) }
}

/// Reads an answer that is a list object.
fn read_list<T: Versioned>(method: &str, answer: Value) -> Result<Vec<T>, Error> {
    objects::list(answer)
        .map_err(|source| Error::Answer { method: format!("{}List.{method}", T::NAME), source })
}
