//! A nova-conductor with one table per class, and the part of nova-api that sends requests to the agent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::messaging::{
    Client, Endpoint, Handler, Memory, RemoteError, Request, RequestContext, Server, Target, Topic, Transport,
};
use common::shutdown::Shutdown;
use futures_util::FutureExt;
use serde_json::{Map, Value, json};

use super::fuse::{Fuse, Step};

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
    /// Info caches by instance: the JSON text.
    pub(crate) caches: BTreeMap<String, String>,
    /// Rows of ports, by port.
    pub(crate) interfaces: BTreeMap<String, Map<String, Value>>,
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
    /// When it goes off, nothing is answered any more.
    pub(crate) fuse: Fuse,
    /// Service version of the conductors.
    pub(crate) conductors: i64,
    /// Service version of the other computes.
    pub(crate) computes: i64,
}

impl Database {
    /// The names of all calls since the last time.
    pub(crate) fn take_names(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log).into_iter().map(|sent| sent.name).collect()
    }

    /// The recorded answer to a call, without what its sender has got: the recorded one had not sent that.
    fn recorded(&mut self, sent: &Sent) -> Option<Result<Value, RemoteError>> {
        let from_table = sent.name.starts_with("Instance.") || sent.name.ends_with(".save");
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
        let handler: Handler = Arc::new(move |request| conductor(rows.clone(), request).boxed());
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
    format!("{}.{}", text(class), text(&args["objmethod"]))
}

async fn conductor(database: Arc<Mutex<Database>>, request: Request) -> Result<Value, RemoteError> {
    let sent = Sent::of(request);
    let (answer, silent) = {
        let mut db = database.lock().unwrap();
        let saves = ["Instance.save", "Instance.destroy", "InstanceInfoCache.save"];
        let step = db.fuse.step(saves.contains(&sent.name.as_str()));
        db.log.push(sent.clone());
        let silent = match step {
            Step::Go => db.silent.take_if(|(which, _)| *which == sent.name),
            Step::Last => Some((sent.name.clone(), true)),
            Step::Dead => Some((sent.name.clone(), false)),
        };
        let answer = match silent {
            Some((_, false)) => Ok(Value::Null),
            _ => {
                let own = answer(&mut db, &sent.name, &sent.args);
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

/// As a newer conductor does for an older service; it cannot make a `RequestSpec` older.
fn backport(object: &Value, versions: &Value) -> Result<Value, RemoteError> {
    Ok(match object {
        Value::Object(fields) => {
            let each = fields.iter().map(|(name, value)| Ok((name.clone(), backport(value, versions)?)));
            let mut fields = each.collect::<Result<Map<_, _>, RemoteError>>()?;
            let known = fields.get("nova_object.name").and_then(|class| versions.get(class.as_str()?));
            match known.cloned() {
                Some(_) if fields["nova_object.name"] == "RequestSpec" => {
                    let mut error = RemoteError::builtin(
                        "IncompatibleObjectVersion",
                        "Version 2.0 of RequestSpec is not supported",
                    );
                    error.module = "oslo_versionedobjects.exception".into();
                    return Err(error);
                }
                Some(version) => drop(fields.insert("nova_object.version".into(), version)),
                None => {}
            }
            Value::Object(fields)
        }
        Value::Array(values) => {
            values.iter().map(|value| backport(value, versions)).collect::<Result<_, _>>()?
        }
        other => other.clone(),
    })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn answer(db: &mut Database, name: &str, args: &Value) -> Result<Value, RemoteError> {
    let first = || text(&args["args"][0]);
    match name {
        "object_backport_versions" => backport(&args["objinst"], &args["object_versions"]),
        "ping" => Ok(json!({"service": "conductor"})),
        "Service.get_minimum_version_multi" => {
            let computes = args["args"][0][0] == "nova-compute";
            Ok(json!(if computes { db.computes } else { db.conductors }))
        }
        "Service.get_by_host_and_binary" => {
            Ok(db.service.clone().map_or(Value::Null, |row| object("Service", "1.22", row)))
        }
        "Service.create" => Ok(create(&mut db.service, args)),
        "Service.save" => Ok(save(db.service.as_mut(), args)),
        "ComputeNodeList.get_all_by_uuids" => {
            Ok(list("ComputeNodeList", db.node.iter().map(|row| object("ComputeNode", "1.19", row.clone()))))
        }
        "ComputeNode.get_by_uuid" => match &db.node {
            Some(row) => Ok(object("ComputeNode", "1.19", row.clone())),
            None => Err(RemoteError::nova("ComputeHostNotFound", "no such node", 404)),
        },
        "ComputeNode.create" => Ok(create(&mut db.node, args)),
        "ComputeNode.save" => Ok(save(db.node.as_mut(), args)),
        "Instance.get_by_uuid" => match db.instances.get(&first()) {
            Some(row) => Ok(object("Instance", "2.8", row.clone())),
            None => Err(not_found()),
        },
        "InstanceList.get_by_host" => {
            let host = json!(first());
            let rows = db.instances.values().filter(|row| row.get("host") == Some(&host));
            Ok(list("InstanceList", rows.map(|row| object("Instance", "2.8", row.clone()))))
        }
        "MigrationList.get_by_filters" => Ok(list("MigrationList", [].into_iter())),
        "InstanceList.get_by_filters" => {
            let rows = db.instances.values().filter(|row| matches(row, &args["args"][0]));
            Ok(list("InstanceList", rows.map(|row| object("Instance", "2.8", row.clone()))))
        }
        "InstanceInfoCache.get_by_instance_uuid" => {
            let text = db.caches.get(&first()).cloned().unwrap_or_else(|| "[]".into());
            let data = json!({"instance_uuid": first(), "network_info": text});
            Ok(object("InstanceInfoCache", "1.5", data.as_object().cloned().unwrap()))
        }
        "InstanceInfoCache.save" => {
            let data = sent(args);
            db.caches.insert(text(&data["instance_uuid"]), text(&data["network_info"]));
            Ok(json!([{"obj_what_changed": []}, null]))
        }
        "VirtualInterface.create" => {
            let mut data = sent(args);
            data.insert("id".into(), json!(db.interfaces.len() + 1));
            db.interfaces.insert(text(&data["uuid"]), data);
            Ok(json!([{"obj_what_changed": []}, null]))
        }
        "VirtualInterface.get_by_uuid" => Ok(db
            .interfaces
            .get(&first())
            .map_or(Value::Null, |row| object("VirtualInterface", "1.3", row.clone()))),
        "VirtualInterface.destroy" => {
            let id = sent(args)["id"].clone();
            db.interfaces.retain(|_, row| row["id"] != id);
            Ok(json!([{"obj_what_changed": []}, null]))
        }
        "VirtualInterface.delete_by_instance_uuid" => {
            db.interfaces.clear();
            Ok(Value::Null)
        }
        "VirtualInterfaceList.get_by_instance_uuid" => {
            let rows = db.interfaces.values().map(|row| object("VirtualInterface", "1.3", row.clone()));
            Ok(list("VirtualInterfaceList", rows))
        }
        "Instance.save" => save_instance(db, args),
        "Instance.destroy" => {
            match db.instances.remove(&text(&args["objinst"]["nova_object.data"]["uuid"])) {
                Some(_) => Ok(json!([{}, null])),
                None => Err(not_found()),
            }
        }
        _ if args.get("objinst").is_some() => Ok(json!([{"obj_what_changed": []}, null])),
        _ => Ok(Value::Null),
    }
}

/// Nova's filters, as far as they are asked by: the tables hold no deleted rows.
fn matches(row: &Map<String, Value>, filters: &Value) -> bool {
    filters.as_object().unwrap().iter().all(|(field, wanted)| match (field.as_str(), wanted) {
        ("deleted", wanted) => wanted == &json!(false),
        (field, Value::Array(any)) => any.contains(row.get(field).unwrap_or(&Value::Null)),
        (field, one) => row.get(field).unwrap_or(&Value::Null) == one,
    })
}

fn not_found() -> RemoteError {
    RemoteError::nova("InstanceNotFound", "Instance could not be found.", 404)
}

fn list(name: &str, objects: impl Iterator<Item = Value>) -> Value {
    let mut data = Map::new();
    data.insert("objects".into(), objects.collect());
    object(name, "1.0", data)
}

fn sent(args: &Value) -> Map<String, Value> {
    args["objinst"]["nova_object.data"].as_object().cloned().unwrap_or_default()
}

fn create(row: &mut Option<Map<String, Value>>, args: &Value) -> Value {
    let mut data = sent(args);
    data.insert("id".into(), json!(7));
    *row = Some(data);
    json!([{"id": 7, "obj_what_changed": []}, null])
}

fn save(row: Option<&mut Map<String, Value>>, args: &Value) -> Value {
    if let Some(row) = row {
        row.extend(sent(args));
    }
    json!([{"obj_what_changed": []}, null])
}

/// Compare and swap, as in Nova's database.
fn save_instance(db: &mut Database, args: &Value) -> Result<Value, RemoteError> {
    let (data, any_state) = (sent(args), db.any_state);
    let Some(row) = db.instances.get_mut(&text(&data["uuid"])) else { return Err(not_found()) };
    let null = Value::Null;
    for (field, error) in [("task_state", "UnexpectedTaskStateError"), ("vm_state", "InstanceUpdateConflict")]
    {
        let actual = row.get(field).unwrap_or(&null);
        let expected = args["kwargs"].get(format!("expected_{field}")).and_then(Value::as_array);
        if !any_state && expected.is_some_and(|expected| !expected.contains(actual)) {
            let deleting = actual == "deleting";
            let class = if deleting { "UnexpectedDeletingTaskStateError" } else { error };
            return Err(RemoteError::nova(
                class,
                format!("Conflict updating instance. Actual: {actual}"),
                500,
            ));
        }
    }
    row.extend(data.clone());
    // As the conductor: every field that the sender has not got, or has otherwise.
    let mut updates = row.clone();
    updates.retain(|field, value| data.get(field) != Some(value));
    updates.insert("obj_what_changed".into(), json!([]));
    Ok(json!([updates, null]))
}
