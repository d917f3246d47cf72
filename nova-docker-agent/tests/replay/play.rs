//! An agent in the place of a recorded nova-compute, and what it does there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::messaging::{RemoteError, Subscription, Transport};
use common::shutdown::Shutdown;
use serde_json::{Map, Value, json};

use crate::recording::Recording;
use crate::support::agent::Cloud;
use crate::support::nova::{Database, Nova};
use crate::trace::{Http, Trace};

/// How long nothing may come before we believe that nothing will.
const QUIET: Duration = Duration::from_millis(150);
const PATIENCE: Duration = Duration::from_secs(10);

/// Uuid of the node of `fake1`.
const NODE: &str = "5b82e683-a60d-4ca0-b7ec-0c5d349e5803";

/// The other hosts of the recordings.
const NEIGHBOURS: [&str; 3] = ["fake1", "fake2", "fake3"];

/// An agent that has taken the place of the recorded nova-compute.
pub(crate) struct Play {
    pub(crate) recording: Recording,
    pub(crate) cloud: Cloud,
}

impl Play {
    /// As before the recorded request: the node is known, the instance is in the table and, as `prepare` says, in Docker.
    /// `others`: how many more instances the host has.
    pub(crate) async fn new(recording: Recording, others: u32, prepare: impl FnOnce(&Cloud, &str)) -> Self {
        let host = recording.host();
        let cloud = Cloud::new(&host).await;
        let instance = instance(&recording);
        let id = node_id(&recording).or(instance.get("compute_id").and_then(Value::as_i64));
        let node = json!({"id": id, "uuid": NODE, "host": host, "hypervisor_hostname": host});
        // It was disabled if it is enabled now.
        let disabled = recording.request().is_some_and(|request| request["args"]["enabled"] == true);
        let service = json!({"id": 4, "host": host, "binary": "nova-compute", "topic": "compute", "version": 74,
                             "disabled": disabled});
        std::fs::write(cloud.directory.path().join("compute_id"), NODE).unwrap();
        cloud
            .nova
            .with(|db| (db.service, db.node) = (service.as_object().cloned(), node.as_object().cloned()));
        for number in 0..others {
            put_other(&cloud, &instance, number);
        }
        cloud.agent(&cloud.life).await.unwrap();
        let uuid = instance.get("uuid").and_then(Value::as_str).unwrap_or_default().to_owned();
        if !uuid.is_empty() {
            cloud.nova.with(|db| db.instances.insert(uuid.clone(), instance));
        }
        for neighbour in NEIGHBOURS.iter().filter(|name| **name != host) {
            cloud.nova.neighbour(neighbour, &cloud.life).await;
        }
        prepare(&cloud, &uuid);
        let play = Self { recording, cloud };
        play.script();
        // What an agent does once when it has started is no part of what it does for a request.
        play.quiet().await;
        play.trace(None);
        play
    }

    /// As before the recorded start: what the recorded nova-compute asked for is in the tables, its identity in its file.
    pub(crate) async fn stopped(recording: Recording) -> Self {
        let cloud = Cloud::new(&recording.host()).await;
        let mut play = Self { recording, cloud };
        let asked = play.recording.args("ComputeNodeList.get_all_by_uuids").unwrap();
        assert_eq!(asked["args"][0], json!([NODE]));
        std::fs::write(play.cloud.directory.path().join("compute_id"), NODE).unwrap();
        if matches!(play.recording.answer("Service.get_by_host_and_binary"), Some(Ok(service)) if !service.is_null())
        {
            // Not the first start: placement knows the host from an earlier one.
            let earlier = Shutdown::new();
            play.cloud.agent(&earlier).await.unwrap();
            earlier.drain(PATIENCE).await;
            play.cloud.nova = Nova::start(&play.cloud.life).await;
            play.cloud.placement.take();
        }
        play.script();
        let data = |name: &str| match play.recording.answer(name) {
            Some(Ok(object)) => object["nova_object.data"].as_object().cloned(),
            _ => None,
        };
        let listed = data("InstanceList.get_by_host").unwrap();
        let rows = listed["objects"]
            .as_array()
            .unwrap()
            .iter()
            .map(|each| each["nova_object.data"].as_object().unwrap());
        for row in rows.clone() {
            // nova-compute's fake driver had lost its guests and nobody looked; a restart keeps containers.
            let running = row["power_state"] == 1;
            play.cloud.docker(|docker| docker.put(row["uuid"].as_str().unwrap(), &play.cloud.host, running));
        }
        play.cloud.nova.with(|db| {
            db.service = data("Service.get_by_host_and_binary");
            db.node = data("ComputeNode.get_by_uuid");
            let migrations =
                data("MigrationList.get_by_filters").map(|list| list["objects"].clone()).unwrap_or_default();
            let rows_of = |each: &Value| each["nova_object.data"].as_object().unwrap().clone();
            let moved = migrations.as_array().into_iter().flatten().map(rows_of);
            db.migrations = moved.map(|row| (row["id"].as_i64().unwrap(), row)).collect();
            db.instances = rows.map(|row| (row["uuid"].as_str().unwrap().to_owned(), row.clone())).collect();
            if let Some(elsewhere) = data("Instance.get_by_uuid") {
                db.instances.insert(elsewhere["uuid"].as_str().unwrap().to_owned(), elsewhere);
            }
        });
        play
    }

    /// The hypervisor's record; empty when there is none yet.
    pub(crate) fn node(&self) -> Map<String, Value> {
        self.cloud.nova.with(|db| db.node.clone()).unwrap_or_default()
    }

    /// The conductor answers as the recorded one did.
    pub(crate) fn script(&self) {
        let mut answers: BTreeMap<_, std::collections::VecDeque<_>> = BTreeMap::new();
        for (name, answer) in self.recording.answers() {
            answers.entry(name).or_default().push_back(answer);
        }
        self.cloud.nova.with(|db| db.recorded = answers);
        self.cloud.answers.lock().unwrap().extend(self.recording.allocations());
    }

    /// Sends the recorded request and returns what came of it.
    pub(crate) async fn run(&self) -> Trace {
        let mut request = self.recording.request().unwrap().clone();
        // It is sent now: an agent doubts what was asked before it started.
        request["_context_timestamp"] = json!(jiff::Timestamp::now().to_string().trim_end_matches('Z'));
        let queue = request["_reply_q"].as_str().map(str::to_owned);
        let broker = &self.cloud.nova.broker;
        let inbox = match &queue {
            Some(queue) => {
                Some(broker.subscribe(vec![Subscription::Reply { queue: queue.clone() }]).await.unwrap())
            }
            None => None,
        };
        let envelope = json!({"oslo.version": "2.0", "oslo.message": request.to_string()}).to_string();
        broker.inject(&format!("compute.{}", self.cloud.host), envelope.into_bytes()).await;
        let reply = match inbox {
            Some(mut inbox) => {
                Some(reply(tokio::time::timeout(PATIENCE, inbox.recv()).await.unwrap().unwrap().body))
            }
            None => {
                let ended = |name: &str| name == "InstanceActionEvent.event_finish_with_failure";
                let events = self.recording.trace().calls.iter().filter(|call| ended(&call.name)).count();
                let done =
                    |db: &mut Database| db.log.iter().filter(|call| ended(&call.name)).count() >= events;
                self.cloud.nova.until("the events have ended", done).await;
                None
            }
        };
        self.quiet().await;
        self.trace(reply)
    }

    /// Waits until nothing is sent any more.
    pub(crate) async fn quiet(&self) {
        let (begun, mut count) = (Instant::now(), usize::MAX);
        while begun.elapsed() < PATIENCE {
            let now = self.cloud.nova.with(|db| db.log.len() + db.fanouts.len());
            if now == count {
                return;
            }
            count = now;
            tokio::time::sleep(QUIET).await;
        }
    }

    pub(crate) fn trace(&self, reply: Option<Result<Value, RemoteError>>) -> Trace {
        let sent = self.cloud.placement.take().into_iter();
        let to_placement = sent.filter(|request| request.path.starts_with("/service"));
        // nova-compute's fake driver sends glance nothing.
        let to_placement = to_placement.filter(|request| !request.path.starts_with("/service/v2/images"));
        let http = to_placement
            .map(|request| Http { line: request.line().replace("/service", ""), body: request.body.clone() })
            .collect();
        let (calls, fanouts) =
            self.cloud.nova.with(|db| (std::mem::take(&mut db.log), std::mem::take(&mut db.fanouts)));
        Trace { calls, fanouts, http, reply }
    }
}

/// One more instance of the host, as the one that is given.
fn put_other(cloud: &Cloud, like: &Map<String, Value>, number: u32) {
    let uuid = format!("00000000-0000-4000-8000-{number:012}");
    let mut row = like.clone();
    let own = [("uuid", json!(uuid)), ("host", json!(cloud.host)), ("vm_state", json!("active"))];
    row.extend(own.map(|(field, value)| (field.to_owned(), value)));
    row.extend([("task_state".to_owned(), Value::Null), ("power_state".to_owned(), json!(1))]);
    cloud.docker(|docker| docker.put(&uuid, &cloud.host, true));
    cloud.nova.with(|db| db.instances.insert(uuid, row));
}

pub(crate) fn instance(recording: &Recording) -> Map<String, Value> {
    let args = &recording.request().unwrap()["args"];
    let instance = args.get("instance").unwrap_or(&args["instances"][0]);
    instance["nova_object.data"].as_object().cloned().unwrap_or_default()
}

/// The node that the recorded nova-compute puts the instance on.
fn node_id(recording: &Recording) -> Option<i64> {
    let calls = recording.trace().calls;
    let first =
        |field: &str| calls.iter().find_map(|call| call.args["objinst"]["nova_object.data"][field].as_i64());
    first("dest_compute_id").or_else(|| first("compute_id"))
}

/// The answer, out of its envelope.
fn reply(body: Vec<u8>) -> Result<Value, RemoteError> {
    let envelope: Value = serde_json::from_slice(&body).unwrap();
    let message: Value = serde_json::from_str(envelope["oslo.message"].as_str().unwrap()).unwrap();
    assert_eq!(message["ending"], true, "{message}");
    match message["failure"].as_str() {
        None => Ok(message["result"].clone()),
        Some(failure) => Err(serde_json::from_str(failure).unwrap()),
    }
}
