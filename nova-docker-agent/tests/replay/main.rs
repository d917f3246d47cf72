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

/// Calls to the conductor, and requests to placement and Neutron, that a request costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    calls: usize,
    requests: usize,
}

/// What a recorded request costs nova-compute; and us, on a host with so many other instances.
async fn cost(name: &str, others: u32, prepare: fn(&Cloud, &str)) -> (Cost, Cost) {
    let play = Play::new(Recording::open(name), others, prepare).await;
    let nova = play.recording.trace();
    let mut trace = play.run().await;
    // The host's record is saved a little later, together with what others change.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let later = play.trace(None);
    trace.calls.extend(later.calls);
    trace.http.extend(later.http);
    let of = |trace: &Trace| Cost { calls: trace.count(), requests: trace.http.len() };
    (of(&nova), of(&trace))
}

#[tokio::test]
async fn a_boot_and_a_delete_cost_half_the_calls_and_not_more_among_many_instances() {
    let both = |name, prepare| async move { tokio::join!(cost(name, 0, prepare), cost(name, 49, prepare)) };
    let (boot, delete) = tokio::join!(both("boot", nothing as fn(&Cloud, &str)), both("delete", running));
    // A boot without a port asks neither. Of a delete placement is told once, and Neutron asked once for ports.
    for (name, ((nova, alone), (_, among)), requests) in [("boot", boot, 0), ("delete", delete, 2)] {
        assert_eq!(alone, among, "{name}: alone, and as one of 50");
        assert!(2 * alone.calls <= nova.calls, "{name}: {alone:?}, nova-compute {nova:?}");
        assert_eq!(alone.requests, requests, "{name}");
    }
}

/// Covers: build_and_run_instance
#[tokio::test]
async fn boot() {
    replay("boot", nothing).await;
}

/// Covers: build_and_run_instance
#[tokio::test]
async fn boot_fails_abort() {
    let refuse = |cloud: &Cloud, _: &str| {
        let no_program = "exec: \"/nope\": executable file not found in $PATH: unknown";
        cloud.docker(|docker| docker.refuse_start = Some((400, no_program)));
    };
    replay("boot_fails_abort", refuse).await;
}

/// Covers: build_and_run_instance
#[tokio::test]
async fn boot_fails_reschedule() {
    let refuse = |cloud: &Cloud, _: &str| {
        cloud.docker(|docker| docker.refuse_start = Some((500, "mkdir: no space left on device")));
    };
    replay("boot_fails_reschedule", refuse).await;
}

/// Covers: terminate_instance
#[tokio::test]
async fn delete() {
    replay("delete", running).await;
}

/// Covers: reboot_instance
#[tokio::test]
async fn reboot_soft() {
    replay("reboot_soft", running).await;
}

/// Covers: reboot_instance
#[tokio::test]
async fn reboot_hard() {
    replay("reboot_hard", running).await;
}

/// Covers: reboot_instance
#[tokio::test]
async fn reboot_hard_makes_a_guest_that_is_gone_again() {
    let gone = |cloud: &Cloud, uuid: &str| {
        with_image(cloud, uuid);
        cloud.docker(|docker| docker.containers.remove(&format!("nova-{uuid}")));
    };
    replay("reboot_hard_recovers", gone).await;
}

#[tokio::test]
async fn reboot_of_a_guest_that_is_gone() {
    replay("action_fails", nothing).await;
}

/// Covers: stop_instance
#[tokio::test]
async fn stop() {
    replay("stop", running).await;
}

/// Covers: start_instance
#[tokio::test]
async fn start() {
    replay("start", stopped).await;
}

/// Covers: get_console_output
#[tokio::test]
async fn console_output() {
    let wrote = |cloud: &Cloud, uuid: &str| {
        running(cloud, uuid);
        cloud.docker(|docker| docker.console = "FAKE CONSOLE OUTPUT\nANOTHER\nLAST LINE");
    };
    replay("console_output", wrote).await;
}

/// Covers: pause_instance
#[tokio::test]
async fn pause() {
    replay("pause", running).await;
}

fn frozen(cloud: &Cloud, uuid: &str) {
    running(cloud, uuid);
    cloud.docker(|docker| docker.frozen.insert(format!("nova-{uuid}")));
}

/// Covers: unpause_instance
#[tokio::test]
async fn unpause() {
    replay("unpause", frozen).await;
}

/// Covers: suspend_instance
#[tokio::test]
async fn suspend() {
    replay("suspend", running).await;
}

/// Covers: resume_instance
#[tokio::test]
async fn resume() {
    replay("resume", frozen).await;
}

/// Covers: set_admin_password
#[tokio::test]
async fn set_admin_password() {
    replay("set_admin_password", running).await;
}

/// Covers: get_instance_diagnostics
#[tokio::test]
async fn diagnostics() {
    replay("diagnostics", running).await;
}

/// Covers: trigger_crash_dump
#[tokio::test]
async fn crash_dump() {
    replay("crash_dump", running).await;
}

/// Covers: get_vnc_console
#[tokio::test]
async fn vnc_console() {
    replay("vnc_console", running).await;
}

/// Covers: get_spice_console
#[tokio::test]
async fn spice_console() {
    replay("spice_console", running).await;
}

/// As nova-api left glance: the image that is asked for, to be filled or to be booted.
fn with_image(cloud: &Cloud, uuid: &str) {
    running(cloud, uuid);
    let images = [
        ("4ddd741b-1b40-4b65-bef8-8ab52aa5a1c2", "queued"),
        ("036cd53b-ed33-41b0-a11d-16480b5445a4", "queued"),
        ("36b01170-602c-4888-b940-11e07cbfd549", "queued"),
        ("0bab7c2c-a201-4c6a-9901-463c9c98c6c2", "active"),
        ("098a48bd-5948-4565-9121-694291d3f88d", "active"),
    ];
    let glance = &mut cloud.glance.lock().unwrap();
    for (id, status) in images {
        let more =
            json!({"status": status, "container_format": "docker", "disk_format": "raw", "checksum": "c"});
        glance.queue(id, uuid, more);
    }
}

/// Covers: snapshot_instance
#[tokio::test]
async fn snapshot() {
    replay("snapshot", with_image).await;
}

/// Covers: backup_instance
#[tokio::test]
async fn backup() {
    replay("backup", with_image).await;
}

/// Covers: rebuild_instance
#[tokio::test]
async fn rebuild() {
    replay("rebuild", with_image).await;
}

/// Covers: rebuild_instance
#[tokio::test]
async fn rebuild_of_a_stopped_instance() {
    replay("rebuild_stopped", with_image).await;
}

/// Covers: shelve_instance
#[tokio::test]
async fn shelve() {
    replay("shelve", with_image).await;
}

/// Covers: unshelve_instance
#[tokio::test]
async fn unshelve() {
    let nowhere = |cloud: &Cloud, uuid: &str| {
        with_image(cloud, uuid);
        cloud.docker(|docker| docker.containers.clear());
        // The recorded image is one of nova-compute's own driver.
        let glance = &mut cloud.glance.lock().unwrap();
        let image = glance.images.get_mut("36b01170-602c-4888-b940-11e07cbfd549").unwrap();
        image.insert("status".into(), json!("active"));
    };
    replay("unshelve", nowhere).await;
}

/// Covers: rescue_instance
#[tokio::test]
async fn rescue() {
    replay("rescue", with_image).await;
}

/// Covers: unrescue_instance
#[tokio::test]
async fn unrescue() {
    let rescued = |cloud: &Cloud, uuid: &str| {
        with_image(cloud, uuid);
        cloud.docker(|docker| docker.containers.insert(format!("nova-{uuid}-original"), false));
    };
    replay("unrescue", rescued).await;
}
