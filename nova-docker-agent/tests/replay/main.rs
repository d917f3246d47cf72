//! The agent in the place of a recorded nova-compute: it gets the same request from the same Nova, and has to leave the
//! same behind, but for what `tests/wire/differences.json` lists with a reason.
//!
//! The recordings are of nova-compute with its fake driver; here dockerd is scripted.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

mod differences;
mod recording;
#[path = "../support/mod.rs"]
mod support;
mod trace;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::messaging::{RemoteError, Subscription, Transport};
use common::shutdown::Shutdown;
use recording::Recording;
use serde_json::{Map, Value, json};
use support::agent::Cloud;
use support::nova::Nova;
use trace::{Before, Http, Trace};

/// How long nothing may come before we believe that nothing will.
const QUIET: Duration = Duration::from_millis(150);
const PATIENCE: Duration = Duration::from_secs(10);

/// Uuid of the node.
const NODE: &str = "5b82e683-a60d-4ca0-b7ec-0c5d349e5803";

/// An agent that has taken the place of the recorded nova-compute.
struct Play {
    recording: Recording,
    cloud: Cloud,
}

impl Play {
    /// As before the recorded request: the node is known, the instance is in the table and, as `prepare` says, in Docker.
    /// `others`: how many more instances the host has.
    async fn new(recording: Recording, others: u32, prepare: impl FnOnce(&Cloud, &str)) -> Self {
        let host = recording.host();
        let cloud = Cloud::new(&host).await;
        let instance = instance(&recording);
        let id = node_id(&recording).or(instance["compute_id"].as_i64());
        let node = json!({"id": id, "uuid": NODE, "host": host, "hypervisor_hostname": host});
        let service =
            json!({"id": 4, "host": host, "binary": "nova-compute", "topic": "compute", "version": 74});
        std::fs::write(cloud.directory.path().join("compute_id"), NODE).unwrap();
        cloud
            .nova
            .with(|db| (db.service, db.node) = (service.as_object().cloned(), node.as_object().cloned()));
        for number in 0..others {
            put_other(&cloud, &instance, number);
        }
        cloud.agent(&cloud.life).await.unwrap();
        let uuid = instance["uuid"].as_str().unwrap().to_owned();
        cloud.nova.with(|db| db.instances.insert(uuid.clone(), instance));
        prepare(&cloud, &uuid);
        let play = Self { recording, cloud };
        play.script();
        // What an agent does once when it has started is no part of what it does for a request.
        play.quiet().await;
        play.trace(None);
        play
    }

    /// As before the recorded start: what the recorded nova-compute asked for is in the tables, its identity in its file.
    async fn stopped(recording: Recording) -> Self {
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
            let running = row["vm_state"] == "active";
            play.cloud.docker(|docker| docker.put(row["uuid"].as_str().unwrap(), &play.cloud.host, running));
        }
        play.cloud.nova.with(|db| {
            db.service = data("Service.get_by_host_and_binary");
            db.node = data("ComputeNode.get_by_uuid");
            db.instances = rows.map(|row| (row["uuid"].as_str().unwrap().to_owned(), row.clone())).collect();
        });
        play
    }

    /// The hypervisor's record; empty when there is none yet.
    fn node(&self) -> Map<String, Value> {
        self.cloud.nova.with(|db| db.node.clone()).unwrap_or_default()
    }

    /// The conductor answers as the recorded one did.
    fn script(&self) {
        let mut answers: BTreeMap<_, std::collections::VecDeque<_>> = BTreeMap::new();
        for (name, answer) in self.recording.answers() {
            answers.entry(name).or_default().push_back(answer);
        }
        self.cloud.nova.with(|db| db.recorded = answers);
    }

    /// Sends the recorded request and returns what came of it.
    async fn run(&self) -> Trace {
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
                let finish = "InstanceActionEvent.event_finish_with_failure";
                self.cloud.nova.until("the event has ended", |db| db.find(finish).is_some()).await;
                None
            }
        };
        self.quiet().await;
        self.trace(reply)
    }

    /// Waits until nothing is sent any more.
    async fn quiet(&self) {
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

    fn trace(&self, reply: Option<Result<Value, RemoteError>>) -> Trace {
        let sent = self.cloud.placement.take().into_iter();
        let to_placement = sent.filter(|request| request.path.starts_with("/service"));
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

fn instance(recording: &Recording) -> Map<String, Value> {
    recording.request().unwrap()["args"]["instance"]["nova_object.data"].as_object().unwrap().clone()
}

/// The node that the recorded nova-compute puts the instance on.
fn node_id(recording: &Recording) -> Option<i64> {
    let calls = recording.trace().calls;
    calls.iter().find_map(|call| call.args["objinst"]["nova_object.data"]["compute_id"].as_i64())
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

/// Plays a recorded request and compares.
async fn replay(name: &str, prepare: impl FnOnce(&Cloud, &str)) {
    let play = Play::new(Recording::open(name), 0, prepare).await;
    let before = Before { instance: instance(&play.recording), node: Map::new() };
    let agent = play.run().await;
    let nova = play.recording.trace();
    differences::check(name, (&nova.facts(&before), &agent.facts(&before)));
    let asked = &play.recording.request().unwrap()["_context_request_id"];
    // The conductor finds the action by it.
    assert!(
        agent
            .calls
            .iter()
            .all(|call| json!(call.request_id) == *asked || call.name.starts_with("ComputeNode."))
    );
}

/// Starts the agent where the recorded nova-compute was started, and compares.
async fn start_up(name: &str) {
    let play = Play::stopped(Recording::open(name)).await;
    let (nova, node) = (play.recording.trace(), play.node());
    play.cloud.agent(&play.cloud.life).await.unwrap();
    play.quiet().await;
    let agent = play.trace(None);
    let before = Before { instance: Map::new(), node };
    differences::check(name, (&nova.facts(&before), &agent.facts(&before)));
    assert!(agent.count() <= nova.count(), "{} calls, nova-compute {}", agent.count(), nova.count());
}

#[tokio::test]
async fn startup_first() {
    start_up("startup_first").await;
}

#[tokio::test]
async fn startup_with_instances() {
    start_up("startup_with_instances").await;
}

fn nothing(_: &Cloud, _: &str) {}

fn running(cloud: &Cloud, uuid: &str) {
    cloud.docker(|docker| docker.put(uuid, &cloud.host, true));
}

fn stopped(cloud: &Cloud, uuid: &str) {
    cloud.docker(|docker| docker.put(uuid, &cloud.host, false));
}

/// Calls to the conductor, and requests to placement and Neutron, that a request costs among so many other instances.
async fn cost(name: &str, others: u32, prepare: fn(&Cloud, &str)) -> (usize, usize) {
    let play = Play::new(Recording::open(name), others, prepare).await;
    let mut trace = play.run().await;
    // The host's record is saved a little later, together with what others change.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let later = play.trace(None);
    trace.calls.extend(later.calls);
    trace.http.extend(later.http);
    (trace.count(), trace.http.len())
}

#[tokio::test]
async fn what_a_boot_and_a_delete_cost_does_not_grow_with_the_instances() {
    let both = |name, prepare| async move { tokio::join!(cost(name, 0, prepare), cost(name, 40, prepare)) };
    let (boot, delete) = tokio::join!(both("boot", nothing as fn(&Cloud, &str)), both("delete", running));
    assert_eq!((boot.0, delete.0), (boot.1, delete.1), "alone, and among 40 others");
    // A boot without a port asks neither. Of a delete placement is told once, and Neutron asked once for ports.
    assert!(boot.0.0 <= 6 && boot.0.1 == 0, "{boot:?}");
    assert!(delete.0.0 <= 6 && delete.0.1 == 2, "{delete:?}");
}

#[tokio::test]
async fn boot() {
    replay("boot", nothing).await;
}

#[tokio::test]
async fn boot_fails_abort() {
    let refuse = |cloud: &Cloud, _: &str| {
        let no_program = "exec: \"/nope\": executable file not found in $PATH: unknown";
        cloud.docker(|docker| docker.refuse_start = Some((400, no_program)));
    };
    replay("boot_fails_abort", refuse).await;
}

#[tokio::test]
async fn boot_fails_reschedule() {
    let refuse = |cloud: &Cloud, _: &str| {
        cloud.docker(|docker| docker.refuse_start = Some((500, "mkdir: no space left on device")));
    };
    replay("boot_fails_reschedule", refuse).await;
}

#[tokio::test]
async fn delete() {
    replay("delete", running).await;
}

#[tokio::test]
async fn reboot_soft() {
    replay("reboot_soft", running).await;
}

#[tokio::test]
async fn reboot_hard() {
    replay("reboot_hard", running).await;
}

#[tokio::test]
async fn reboot_of_a_guest_that_is_gone() {
    replay("action_fails", nothing).await;
}

#[tokio::test]
async fn stop() {
    replay("stop", running).await;
}

#[tokio::test]
async fn start() {
    replay("start", stopped).await;
}

#[tokio::test]
async fn console_output() {
    let wrote = |cloud: &Cloud, uuid: &str| {
        running(cloud, uuid);
        cloud.docker(|docker| docker.console = "FAKE CONSOLE OUTPUT\nANOTHER\nLAST LINE");
    };
    replay("console_output", wrote).await;
}

#[tokio::test]
async fn pause() {
    replay("pause", running).await;
}

#[tokio::test]
async fn crash_dump() {
    replay("crash_dump", running).await;
}

#[tokio::test]
async fn vnc_console() {
    replay("vnc_console", running).await;
}

#[tokio::test]
async fn spice_console() {
    replay("spice_console", running).await;
}
