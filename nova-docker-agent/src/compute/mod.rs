//! THE RPC API (Nova: `nova.compute.manager.ComputeManager`): one file per RPC, called as the RPC.
//!
//! `methods!` lists what is carried out; `refused.rs` lists what is not, and how each of those is refused.

mod add_fixed_ip_to_instance;
mod attach_interface;
mod backup_instance;
mod build_and_run_instance;
mod cache_images;
mod check_instance_shared_storage;
mod confirm_resize;
#[cfg(test)]
mod coverage;
mod detach_interface;
mod external_instance_event;
mod finish_resize;
mod finish_revert_resize;
mod get_console_output;
mod get_diagnostics;
mod get_host_uptime;
mod get_instance_diagnostics;
mod get_serial_console;
mod inject_network_info;
mod pause_instance;
mod prep_resize;
mod reboot_instance;
mod rebuild_instance;
mod receive_disk;
mod refused;
mod remove_fixed_ip_from_instance;
mod rescue_instance;
mod resize_instance;
mod restore_instance;
mod resume_instance;
mod revert_resize;
mod set_admin_password;
mod set_host_enabled;
mod shelve_instance;
mod shelve_offload_instance;
mod snapshot_instance;
mod soft_delete_instance;
mod start_instance;
mod stop_instance;
mod suspend_instance;
mod terminate_instance;
mod unpause_instance;
mod unrescue_instance;
mod unshelve_instance;
mod validate_console_port;

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use common::error_chain::Chain;
use common::messaging::{Endpoint, RemoteError, Request, RequestContext};
use common::objects::Instance;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tracing::Instrument;

pub use add_fixed_ip_to_instance::AddFixedIpToInstance;
pub use attach_interface::AttachInterface;
pub use backup_instance::BackupInstance;
pub use build_and_run_instance::BuildAndRunInstance;
pub use cache_images::CacheImages;
pub use check_instance_shared_storage::CheckInstanceSharedStorage;
pub use confirm_resize::ConfirmResize;
pub use detach_interface::DetachInterface;
pub use external_instance_event::ExternalInstanceEvent;
pub use finish_resize::FinishResize;
pub use finish_revert_resize::FinishRevertResize;
pub use get_console_output::GetConsoleOutput;
pub use get_diagnostics::GetDiagnostics;
pub use get_host_uptime::GetHostUptime;
pub use get_instance_diagnostics::GetInstanceDiagnostics;
pub use get_serial_console::GetSerialConsole;
pub use inject_network_info::InjectNetworkInfo;
pub use pause_instance::PauseInstance;
pub use prep_resize::PrepResize;
pub use reboot_instance::{RebootInstance, RebootType};
pub use rebuild_instance::RebuildInstance;
pub use receive_disk::{DiscardDisk, ReceiveDisk};
pub use remove_fixed_ip_from_instance::RemoveFixedIpFromInstance;
pub use rescue_instance::RescueInstance;
pub use resize_instance::ResizeInstance;
pub use restore_instance::RestoreInstance;
pub use resume_instance::ResumeInstance;
pub use revert_resize::RevertResize;
pub use set_admin_password::SetAdminPassword;
pub use set_host_enabled::SetHostEnabled;
pub use shelve_instance::ShelveInstance;
pub use shelve_offload_instance::ShelveOffloadInstance;
pub use snapshot_instance::SnapshotInstance;
pub use soft_delete_instance::SoftDeleteInstance;
pub use start_instance::StartInstance;
pub use stop_instance::StopInstance;
pub use suspend_instance::SuspendInstance;
pub use terminate_instance::TerminateInstance;
pub use unpause_instance::UnpauseInstance;
pub use unrescue_instance::UnrescueInstance;
pub use unshelve_instance::UnshelveInstance;
pub(crate) use unshelve_instance::undo as undo_unshelve;
pub use validate_console_port::ValidateConsolePort;

use crate::activity::Failure;
use crate::agent::Agent;
use crate::conductor::PEERS;
use crate::error::Error;
use crate::instance::guards::{Guards, Subject, guarded};
use crate::instance::stale;
use crate::metrics::{Outcome, RpcLabels};

/// The interfaces that are served: ComputeAPI 6.5, `baseapi` 1.1, and what the agents ask of each other.
pub const ENDPOINTS: [Endpoint; 3] = [
    Endpoint { namespace: None, version: (6, 5) },
    Endpoint { namespace: Some("baseapi"), version: (1, 1) },
    Endpoint { namespace: Some(PEERS), version: (1, 0) },
];

/// A request that is being carried out.
#[derive(Clone)]
pub struct Call {
    /// Every handle a method needs.
    pub agent: Arc<Agent>,
    /// Who asked.
    pub context: RequestContext,
    /// When it came.
    pub received: Instant,
}

impl Call {
    /// A call the agent makes to itself.
    pub fn own(agent: &Arc<Agent>) -> Self {
        Self { agent: Arc::clone(agent), context: RequestContext::admin(), received: Instant::now() }
    }
}

/// An RPC. The struct that implements it holds its arguments; unknown ones are ignored.
pub trait Method: DeserializeOwned + Send {
    /// Its name.
    const NAME: &'static str;
    /// Which of Nova's decorators it has.
    const GUARDS: Guards;
    /// What it answers.
    type Reply: Serialize + Send;

    /// The instance it is about.
    fn instance(&self) -> Option<&Instance> {
        None
    }

    /// What becomes of the instance when the request cannot be read, beside what the guards do.
    fn unreadable(_call: &Call, _subject: &Subject, _why: &Error) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Carries it out.
    fn run(self, call: &Call) -> impl Future<Output = Result<Self::Reply, Error>> + Send;
}

/// Runs a method between its guards.
///
/// # Errors
/// What the method says.
pub async fn carry_out<M: Method>(call: &Call, method: M) -> Result<M::Reply, Error> {
    let subject = method.instance().and_then(Subject::of);
    let event = format!("compute_{}", M::NAME);
    guarded(&call.agent, &call.context, (&event, M::GUARDS), subject, method.run(call)).await
}

async fn parse_and_carry_out<M: Method>(call: &Call, args: Map<String, Value>) -> Result<Value, Error> {
    let subject = Subject::named_in(&args);
    let method: M = match serde_json::from_value(Value::Object(args)) {
        Ok(method) => method,
        Err(problem) => {
            let unusable = Error::Arguments { method: M::NAME.into(), problem: problem.to_string() };
            if let Some(subject) = &subject {
                M::unreadable(call, subject, &unusable).await;
            }
            let (event, refused) = (format!("compute_{}", M::NAME), std::future::ready(Err(unusable)));
            return guarded(&call.agent, &call.context, (&event, M::GUARDS), subject, refused).await;
        }
    };
    if let Some(instance) = method.instance()
        && stale::is_settled(&call.agent, &call.context, instance).await
    {
        tracing::info!("asked before this run began and settled since; left alone");
        return Ok(Value::Null);
    }
    let reply = carry_out(call, method).await?;
    Ok(json!(reply))
}

/// Makes the table of contents: `route` finds the method, `CARRIED_OUT` names them all.
macro_rules! methods {
    ($($method:ident),* $(,)?) => {
        const CARRIED_OUT: &[&str] = &[$(<$method as Method>::NAME),*];

        async fn route(call: &Call, method: &str, args: Map<String, Value>) -> Result<Value, Error> {
            match method {
                $(<$method as Method>::NAME => Box::pin(parse_and_carry_out::<$method>(call, args)).await,)*
                other => refused::refuse(call, other, args).await,
            }
        }
    };
}

methods![
    // Life cycle
    BuildAndRunInstance,
    TerminateInstance,
    StartInstance,
    StopInstance,
    RebootInstance,
    PauseInstance,
    UnpauseInstance,
    SuspendInstance,
    ResumeInstance,
    SoftDeleteInstance,
    RestoreInstance,
    SetAdminPassword,
    RescueInstance,
    UnrescueInstance,
    // Image operations
    SnapshotInstance,
    BackupInstance,
    RebuildInstance,
    CacheImages,
    // Shelve
    ShelveInstance,
    ShelveOffloadInstance,
    UnshelveInstance,
    // Network
    AttachInterface,
    DetachInterface,
    AddFixedIpToInstance,
    RemoveFixedIpFromInstance,
    InjectNetworkInfo,
    ExternalInstanceEvent,
    // Resize and cold migration
    PrepResize,
    ResizeInstance,
    FinishResize,
    ConfirmResize,
    RevertResize,
    FinishRevertResize,
    CheckInstanceSharedStorage,
    // Console, diagnostics
    GetConsoleOutput,
    GetSerialConsole,
    ValidateConsolePort,
    GetDiagnostics,
    GetInstanceDiagnostics,
    // Host
    SetHostEnabled,
    GetHostUptime,
];

/// What the agents ask of each other.
async fn peers(call: &Call, method: &str, args: Map<String, Value>) -> Result<Value, Error> {
    match method {
        ReceiveDisk::NAME => Box::pin(parse_and_carry_out::<ReceiveDisk>(call, args)).await,
        DiscardDisk::NAME => parse_and_carry_out::<DiscardDisk>(call, args).await,
        other => Err(Error::NoSuchMethod(other.to_owned())),
    }
}

/// Nova's `baserpc`.
fn base(method: &str, args: &Map<String, Value>) -> Result<Value, Error> {
    match method {
        "ping" => Ok(json!({"service": "compute", "arg": args.get("arg")})),
        "get_backdoor_port" => Ok(Value::Null),
        other => Err(Error::NoSuchMethod(other.to_owned())),
    }
}

/// Carries out a request or refuses it.
///
/// # Errors
/// The exception for the caller.
pub async fn dispatch(agent: Arc<Agent>, request: Request) -> Result<Value, RemoteError> {
    let Request { method, namespace, mut args, context, .. } = request;
    let subject = Subject::named_in(&args);
    let uuid = subject.as_ref().map_or_else(|| "-".to_owned(), |subject| subject.uuid().to_string());
    let span = tracing::info_span!("rpc", method, request_id = context.request_id(), instance_uuid = uuid);
    let call = Call { agent, context, received: Instant::now() };
    async {
        tracing::debug!("received");
        let result = match namespace {
            None => match call.agent.conductor.backport(&call.context, &mut args).await {
                Ok(()) => route(&call, &method, args).await,
                Err(error) => Err(error.into()),
            },
            Some(namespace) if namespace == PEERS => peers(&call, &method, args).await,
            Some(_) => base(&method, &args),
        };
        record(&call, (&method, subject.as_ref()), &result);
        result.map_err(|error| error.to_remote())
    }
    .instrument(span)
    .await
}

/// Counts how it went.
fn record(call: &Call, (method, subject): (&str, Option<&Subject>), result: &Result<Value, Error>) {
    let outcome = match result {
        Ok(_) => Outcome::Ok,
        Err(error) if error.is_refusal() => Outcome::Refused,
        Err(_) => Outcome::Error,
    };
    let known = CARRIED_OUT.iter().copied().chain(refused::names()).find(|name| *name == method);
    let labels = RpcLabels { method: known.unwrap_or("other"), outcome };
    let took = call.received.elapsed();
    call.agent.metrics.rpcs.get_or_create(&labels).inc();
    call.agent.metrics.rpc_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    call.agent.activity.count(labels.method, outcome, took);
    if let Err(error) = result {
        call.agent.activity.failed(Failure {
            time: Timestamp::now(),
            what: labels.method.to_owned(),
            request_id: Some(call.context.request_id().to_owned()),
            instance_uuid: subject.map(Subject::uuid),
            refused: outcome == Outcome::Refused,
            message: Chain(error).to_string(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: ping, get_backdoor_port
    #[test]
    fn what_every_service_of_nova_is_asked_is_answered_as_nova_compute_does() {
        let args = json!({"arg": "1.21 GigaWatts"});
        let answer = base("ping", args.as_object().unwrap()).unwrap();
        assert_eq!(answer, json!({"service": "compute", "arg": "1.21 GigaWatts"}));
        assert_eq!(base("get_backdoor_port", &Map::new()).unwrap(), Value::Null);
        assert!(base("pong", &Map::new()).is_err());
    }
}
