//! What Nova's decorators do around a method: action event, fault, task state (RPC-SURFACE §0.2).
//!
//! On an error, in this order: fault, end of the event, task state back to none. Nothing of that replaces the error
//! that caused it; a failure to record is logged and left.

use std::future::Future;

use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::messaging::RequestContext;
use common::objects::fields::VmState;
use common::objects::{Instance, Versioned};
use serde_json::{Map, Value};

use crate::agent::Agent;
use crate::conductor::Expect;
use crate::error::Error;

/// Which of the decorators a method has: column W of RPC-SURFACE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guards {
    /// E: `wrap_instance_event`
    pub event: bool,
    /// F: `wrap_instance_fault`
    pub fault: bool,
    /// R: `reverts_task_state`
    pub revert: bool,
}

impl Guards {
    /// Event, fault and task state.
    pub const REF: Self = Self { event: true, fault: true, revert: true };
    /// Event and fault.
    pub const EF: Self = Self { event: true, fault: true, revert: false };
    /// Fault and task state.
    pub const RF: Self = Self { event: false, fault: true, revert: true };
    /// Only the fault.
    pub const F: Self = Self { event: false, fault: true, revert: false };
    /// Nothing.
    pub const NONE: Self = Self { event: false, fault: false, revert: false };
}

/// The instance an operation is about, as far as the guards need it.
#[derive(Clone, Debug)]
pub struct Subject {
    uuid: InstanceUuid,
    id: Option<i64>,
}

impl Subject {
    /// None when the instance has no usable uuid.
    pub fn of(instance: &Instance) -> Option<Self> {
        Some(Self { uuid: instance.instance_uuid()?, id: instance.id() })
    }

    /// The instance in the arguments of a request, whatever else is wrong with them.
    pub fn named_in(arguments: &Map<String, Value>) -> Option<Self> {
        let data = arguments.get("instance")?.get("nova_object.data")?;
        Some(Self {
            uuid: data.get("uuid")?.as_str()?.parse().ok()?,
            id: data.get("id").and_then(Value::as_i64),
        })
    }

    /// An instance of which only the uuid is known.
    pub fn new(uuid: InstanceUuid) -> Self {
        Self { uuid, id: None }
    }

    /// The instance.
    pub fn uuid(&self) -> InstanceUuid {
        self.uuid
    }

    /// An object that holds nothing but the identity: enough to save a few fields.
    pub fn bare(&self) -> Instance {
        let mut instance = Instance::empty();
        instance.object_mut().set("uuid", self.uuid.to_string().into());
        if let Some(id) = self.id {
            instance.object_mut().set("id", id.into());
        }
        instance.object_mut().clear_changes();
        instance
    }
}

/// Runs `work` between its guards. `event`: the event's name, `compute_<method>`.
pub async fn guarded<T>(
    agent: &Agent,
    context: &RequestContext,
    (event, guards): (&str, Guards),
    subject: Option<Subject>,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some(subject) = subject else { return work.await };
    let (noted, result) = if guards.event {
        tokio::join!(event_start(agent, context, subject.uuid, event), work)
    } else {
        (false, work.await)
    };
    if let Err(error) = &result {
        failed(agent, context, (event, guards, noted), &subject, error).await;
    } else if noted {
        event_finish(agent, context, subject.uuid, (event, None)).await;
    }
    result
}

async fn failed(
    agent: &Agent,
    context: &RequestContext,
    (event, guards, noted): (&str, Guards, bool),
    subject: &Subject,
    error: &Error,
) {
    if error.is_refusal() {
        tracing::info!(%error, "refused");
    } else if error.is_being_deleted() {
        tracing::info!(%error, "the instance is gone or being deleted");
    } else {
        tracing::error!(error = %Chain(error), "failed");
    }
    if guards.fault && !error.is_instance_not_found() {
        fault(agent, context, subject.uuid, error).await;
    }
    if noted {
        event_finish(agent, context, subject.uuid, (event, Some(&error.sentence()))).await;
    }
    if guards.revert && !error.is_unexpected_task_state() && !error.is_instance_not_found() {
        let mut instance = subject.bare();
        instance.set_task(None);
        if let Err(error) = agent.conductor.save(context, &mut instance, Expect::ANY).await {
            tracing::warn!(%error, "the task state could not be reverted");
        }
        agent.tracker.refresh_state(&instance);
    }
}

/// Puts an instance into ERROR because of `error`, which is given back (Nova: `_error_out_instance_on_exception`); what a
/// container cannot do at all is no reason for that.
pub async fn error_out(agent: &Agent, context: &RequestContext, instance: &Instance, error: Error) -> Error {
    let lost = error.is_being_deleted() || matches!(error, Error::NotImplemented(_));
    if let Some(subject) = Subject::of(instance).filter(|_| !lost) {
        let mut record = subject.bare();
        record.set_state(VmState::Error);
        if let Err(error) = agent.conductor.save(context, &mut record, Expect::ANY).await {
            tracing::warn!(error = %Chain(&error), "the instance could not be put into ERROR");
        }
        agent.tracker.refresh_state(&record);
    }
    error
}

/// Begins an event; false when the conductor knows no action of this request, which is no reason to stop.
pub async fn event_start(agent: &Agent, context: &RequestContext, uuid: InstanceUuid, event: &str) -> bool {
    match agent.conductor.event_start(context, uuid, event).await {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(%error, event, "the event could not be recorded");
            false
        }
    }
}

/// Ends an event.
pub async fn event_finish(
    agent: &Agent,
    context: &RequestContext,
    uuid: InstanceUuid,
    (event, failure): (&str, Option<&str>),
) {
    if let Err(error) = agent.conductor.event_finish(context, uuid, event, failure).await {
        tracing::debug!(%error, event, "the end of the event could not be recorded");
    }
}

/// Records a fault (Nova: `add_instance_fault_from_exc`).
pub async fn fault(agent: &Agent, context: &RequestContext, uuid: InstanceUuid, error: &Error) {
    let details = Chain(error).to_string();
    fault_text(agent, context, uuid, (error.code(), &error.sentence(), &details)).await;
}

/// Records a fault with an own message.
pub async fn fault_text(
    agent: &Agent,
    context: &RequestContext,
    uuid: InstanceUuid,
    fault: (u16, &str, &str),
) {
    if let Err(error) = agent.conductor.create_fault(context, uuid, fault).await {
        tracing::warn!(%error, "the fault could not be recorded");
    }
}
