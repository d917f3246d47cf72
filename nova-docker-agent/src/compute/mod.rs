//! THE RPC API (Nova: `nova.compute.manager.ComputeManager`): one file per RPC, called as the RPC.
//!
//! `methods!` lists what is carried out; `refused.rs` lists what is not, and how each of those is refused.

mod add_fixed_ip_to_instance;
mod attach_interface;
mod build_and_run_instance;
mod cache_images;
mod detach_interface;
mod external_instance_event;
mod get_console_output;
mod get_host_uptime;
mod inject_network_info;
mod reboot_instance;
mod refused;
mod remove_fixed_ip_from_instance;
mod set_host_enabled;
mod start_instance;
mod stop_instance;
mod terminate_instance;

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use common::messaging::{Endpoint, RemoteError, Request, RequestContext};
use common::objects::Instance;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tracing::Instrument;

pub use add_fixed_ip_to_instance::AddFixedIpToInstance;
pub use attach_interface::AttachInterface;
pub use build_and_run_instance::BuildAndRunInstance;
pub use cache_images::CacheImages;
pub use detach_interface::DetachInterface;
pub use external_instance_event::ExternalInstanceEvent;
pub use get_console_output::GetConsoleOutput;
pub use get_host_uptime::GetHostUptime;
pub use inject_network_info::InjectNetworkInfo;
pub use reboot_instance::{RebootInstance, RebootType};
pub use remove_fixed_ip_from_instance::RemoveFixedIpFromInstance;
pub use set_host_enabled::SetHostEnabled;
pub use start_instance::StartInstance;
pub use stop_instance::StopInstance;
pub use terminate_instance::TerminateInstance;

use crate::agent::Agent;
use crate::error::Error;
use crate::instance::guards::{Guards, Subject, guarded};
use crate::instance::stale;
use crate::metrics::{Outcome, RpcLabels};

/// The interfaces that are served: ComputeAPI 6.5 and `baseapi` 1.1.
pub const ENDPOINTS: [Endpoint; 2] =
    [Endpoint { namespace: None, version: (6, 5) }, Endpoint { namespace: Some("baseapi"), version: (1, 1) }];

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
    let arguments = |problem: serde_json::Error| Error::Arguments {
        method: M::NAME.into(),
        problem: problem.to_string(),
    };
    let method: M = serde_json::from_value(Value::Object(args)).map_err(arguments)?;
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
    // Image operations
    CacheImages,
    // Network
    AttachInterface,
    DetachInterface,
    AddFixedIpToInstance,
    RemoveFixedIpFromInstance,
    InjectNetworkInfo,
    ExternalInstanceEvent,
    // Console
    GetConsoleOutput,
    // Host
    SetHostEnabled,
    GetHostUptime,
];

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
    let Request { method, namespace, args, context, .. } = request;
    let uuid = args.get("instance").and_then(|instance| instance.get("nova_object.data"));
    let uuid = uuid.and_then(|data| data.get("uuid")).and_then(Value::as_str).unwrap_or("-").to_owned();
    let span = tracing::info_span!("rpc", method, request_id = context.request_id(), instance_uuid = uuid);
    let call = Call { agent, context, received: Instant::now() };
    async {
        tracing::debug!("received");
        let result = match namespace {
            None => route(&call, &method, args).await,
            Some(_) => base(&method, &args),
        };
        record(&call, &method, &result);
        result.map_err(|error| error.to_remote())
    }
    .instrument(span)
    .await
}

/// Counts how it went.
fn record(call: &Call, method: &str, result: &Result<Value, Error>) {
    let outcome = match result {
        Ok(_) => Outcome::Ok,
        Err(error) if error.is_refusal() => Outcome::Refused,
        Err(_) => Outcome::Error,
    };
    let known = CARRIED_OUT.iter().copied().chain(refused::names()).find(|name| *name == method);
    let labels = RpcLabels { method: known.unwrap_or("other"), outcome };
    call.agent.metrics.rpcs.get_or_create(&labels).inc();
    call.agent.metrics.rpc_seconds.observe(call.received.elapsed().as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RPC-SURFACE §0.5 counts 76, two of them in the namespace baseapi.
    #[test]
    fn every_method_of_the_compute_api_is_answered_exactly_once() {
        let mut names: Vec<_> = CARRIED_OUT.iter().copied().chain(refused::names()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!((count, names.len()), (74, 74));
    }

    #[test]
    fn ping_answers_as_nova_compute_does() {
        let args = json!({"arg": "1.21 GigaWatts"});
        let answer = base("ping", args.as_object().unwrap()).unwrap();
        assert_eq!(answer, json!({"service": "compute", "arg": "1.21 GigaWatts"}));
        assert!(base("pong", &Map::new()).is_err());
    }
}
