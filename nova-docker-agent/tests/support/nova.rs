//! A nova-conductor with one table per class, and the part of nova-api that sends requests to the agent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::messaging::{
    Client, Endpoint, Handler, Memory, RemoteError, Request, RequestContext, Server, Target, Topic, Transport,
};
use common::shutdown::Shutdown;
use futures_util::FutureExt;
use nova_docker_agent::conductor::PEERS;
use serde_json::{Map, Value, json};

use super::conductor;

/// A message of the agent.
#[derive(Clone)]
pub(crate) struct Sent {
    /// `Class.method`, or the name of the method when it is not about an object.
    pub(crate) name: String,
    pub(crate) args: Value,
    /// On whose behalf.
    pub(crate) request_id: String,
}

/// What the test decides and sees.
#[derive(Default)]
pub(crate) struct Database {
    /// Instances by uuid: the data of the object.
    pub(crate) instances: BTreeMap<String, Map<String, Value>>,
    /// The service's row.
    pub(crate) service: Option<Map<String, Value>>,
    /// The node's row.
    pub(crate) node: Option<Map<String, Value>>,
    /// The rows of other hosts than the first.
    pub(crate) others: BTreeMap<String, Host>,
    /// Migrations by id.
    pub(crate) migrations: BTreeMap<i64, Map<String, Value>>,
    /// Info caches by instance: the JSON text.
    pub(crate) caches: BTreeMap<String, String>,
    /// Rows of ports, by port.
    pub(crate) interfaces: BTreeMap<String, Map<String, Value>>,
    /// Tokens of consoles: whose, and when they end.
    pub(crate) tokens: Vec<(String, Instant)>,
    /// Every call and cast to the conductor.
    pub(crate) log: Vec<Sent>,
    /// Every fanout to the schedulers.
    pub(crate) fanouts: Vec<Sent>,
    /// What a recorded conductor answered, by call and in order; the last one stays. Instances and saves are answered
    /// from the tables all the same, for what is right depends on what was saved before.
    pub(crate) recorded: BTreeMap<String, VecDeque<Result<Value, RemoteError>>>,
    /// The next call of this name gets no answer, as when the conductor dies after doing its work (true) or before.
    pub(crate) silent: Option<(String, bool)>,
    /// Saves are taken whatever state was expected.
    pub(crate) any_state: bool,
    /// Service version of the conductors.
    pub(crate) conductors: i64,
    /// Service version of the other computes.
    pub(crate) computes: i64,
}

/// What the database has of a host.
#[derive(Default)]
pub(crate) struct Host {
    pub(crate) service: Option<Map<String, Value>>,
    pub(crate) node: Option<Map<String, Value>>,
}

impl Database {
    pub(super) fn service_of(&mut self, host: &str) -> &mut Option<Map<String, Value>> {
        self.others.get_mut(host).map_or(&mut self.service, |other| &mut other.service)
    }

    pub(super) fn node_of(&mut self, host: &str) -> &mut Option<Map<String, Value>> {
        self.others.get_mut(host).map_or(&mut self.node, |other| &mut other.node)
    }

    /// The node of this uuid; with one host its only node, whatever it is.
    pub(super) fn node(&self, uuid: &str) -> Option<&Map<String, Value>> {
        if self.others.is_empty() {
            return self.node.as_ref();
        }
        let all = self.node.iter().chain(self.others.values().filter_map(|other| other.node.as_ref()));
        all.into_iter().find(|node| node["uuid"] == uuid)
    }

    /// The names of all calls since the last time.
    pub(crate) fn take_names(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log).into_iter().map(|sent| sent.name).collect()
    }

    /// The recorded answer to a call, without what its sender has got: the recorded one had not sent that.
    fn recorded(&mut self, sent: &Sent) -> Option<Result<Value, RemoteError>> {
        let from_table = ["Instance.", "MigrationList."].iter().any(|table| sent.name.starts_with(table))
            || sent.name.ends_with(".save");
        let answers = self.recorded.get_mut(&sent.name).filter(|_| !from_table)?;
        let mut answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        let known = sent.args["objinst"]["nova_object.data"].as_object();
        if let (Some(Ok(answer)), Some(known)) = (&mut answer, known)
            && let Some(updates) = answer[0].as_object_mut()
        {
            updates.retain(|field, _| !known.contains_key(field));
        }
        answer
    }

    /// The arguments of the first call of this name.
    pub(crate) fn find(&self, name: &str) -> Option<&Value> {
        self.log.iter().find(|sent| sent.name == name).map(|sent| &sent.args)
    }
}

/// The control plane, as far as an agent sees it.
#[derive(Clone)]
pub(crate) struct Nova {
    pub(crate) broker: Memory,
    pub(crate) database: Arc<Mutex<Database>>,
    client: Client,
}

impl Nova {
    pub(crate) async fn start(life: &Shutdown) -> Self {
        let broker = Memory::new();
        let database = Arc::new(Mutex::new(Database { conductors: 74, ..Database::default() }));
        let transport: Arc<dyn Transport> = Arc::new(broker.clone());
        let rows = database.clone();
        let handler: Handler = Arc::new(move |request| carry_out(rows.clone(), request).boxed());
        let endpoints = vec![
            Endpoint { namespace: None, version: (3, 0) },
            Endpoint { namespace: Some("baseapi"), version: (1, 0) },
            Endpoint { namespace: Some("compute_task"), version: (1, 26) },
        ];
        let server = Server::new(transport.clone(), endpoints, handler, life.clone());
        let topic = |name: &str| Topic { exchange: "nova".into(), name: name.into(), host: "ctl".into() };
        server.serve(&[topic("conductor")]).await.unwrap();
        let rows = database.clone();
        let handler: Handler = Arc::new(move |request| {
            rows.lock().unwrap().fanouts.push(Sent::of(request));
            std::future::ready(Ok(Value::Null)).boxed()
        });
        let endpoints = vec![Endpoint { namespace: None, version: (4, 5) }];
        let scheduler = Server::new(transport.clone(), endpoints, handler, life.clone());
        scheduler.serve(&[topic("scheduler")]).await.unwrap();
        let client = Client::start(transport, "nova", Duration::from_secs(10), life).await.unwrap();
        Self { broker, database, client }
    }

    pub(crate) fn with<T>(&self, action: impl FnOnce(&mut Database) -> T) -> T {
        action(&mut self.database.lock().unwrap())
    }

    /// A compute service on another host, which says yes to whatever it is asked; what it was asked is in the log.
    pub(crate) async fn neighbour(&self, host: &str, life: &Shutdown) {
        let rows = self.database.clone();
        let handler: Handler = Arc::new(move |request| {
            let sent = Sent::of(request);
            let answer = if sent.name == "receive_disk" { json!("the disk") } else { Value::Null };
            rows.lock().unwrap().log.push(sent);
            std::future::ready(Ok(answer)).boxed()
        });
        let endpoints = vec![
            Endpoint { namespace: None, version: (6, 5) },
            Endpoint { namespace: Some(PEERS), version: (1, 0) },
        ];
        let server = Server::new(Arc::new(self.broker.clone()), endpoints, handler, life.clone());
        let topic = |name: &str| Topic { exchange: "nova".into(), name: name.into(), host: host.into() };
        server.serve(&[topic("compute"), topic("compute-alt")]).await.unwrap();
    }

    /// Casts to the agent on `host`.
    pub(crate) async fn cast(&self, host: &str, method: &str, args: Value) {
        let target = Target::topic("compute", "6.0").server(host);
        let args = args.as_object().cloned().unwrap();
        self.client.cast(&target, &RequestContext::admin(), method, args).await.unwrap();
    }

    /// Calls the agent on `host`.
    pub(crate) async fn call(&self, host: &str, method: &str, args: Value) -> Result<Value, RemoteError> {
        let target = Target::topic("compute", "6.0").server(host);
        let args = args.as_object().cloned().unwrap();
        let answer = self.client.call(&target, &RequestContext::admin(), method, args).await;
        answer.map_err(|error| error.remote().cloned().unwrap_or_else(|| panic!("{method}: {error}")))
    }

    /// The instance as an object on the wire.
    pub(crate) fn instance(&self, uuid: &str) -> Value {
        object("Instance", "2.8", self.with(|db| db.instances[uuid].clone()))
    }

    /// Waits until the row of an instance is as it should be.
    pub(crate) async fn until(&self, what: &str, done: impl Fn(&mut Database) -> bool) {
        for _ in 0..500 {
            if self.with(&done) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let log = self.with(|db| db.take_names());
        panic!("waited in vain until {what}; calls: {log:?}");
    }
}

/// An object on the wire.
pub(crate) fn object(name: &str, version: &str, data: Map<String, Value>) -> Value {
    json!({"nova_object.name": name, "nova_object.namespace": "nova", "nova_object.version": version,
           "nova_object.data": data})
}

impl Sent {
    fn of(request: Request) -> Self {
        let args = Value::Object(request.args);
        Self { name: name(&request.method, &args), args, request_id: request.context.request_id().to_owned() }
    }
}

/// `Class.method` of a call on an object.
pub(crate) fn name(method: &str, args: &Value) -> String {
    let class = match method {
        "object_class_action_versions" => &args["objname"],
        "object_action" => &args["objinst"]["nova_object.name"],
        other => return other.to_owned(),
    };
    format!("{}.{}", conductor::text(class), conductor::text(&args["objmethod"]))
}

async fn carry_out(database: Arc<Mutex<Database>>, request: Request) -> Result<Value, RemoteError> {
    let sent = Sent::of(request);
    let (answer, silent) = {
        let mut db = database.lock().unwrap();
        db.log.push(sent.clone());
        let silent = db.silent.take_if(|(which, _)| *which == sent.name);
        let answer = match silent {
            Some((_, false)) => Ok(Value::Null),
            _ => {
                let own = conductor::answer(&mut db, &sent.name, &sent.args);
                db.recorded(&sent).unwrap_or(own)
            }
        };
        (answer, silent.is_some())
    };
    if silent {
        std::future::pending::<()>().await;
    }
    answer
}
