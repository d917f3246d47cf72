//! Moves between two agents, each of which is killed after each of its steps and started again: the instance is on one of
//! the two hosts, and of nothing else anything is left on either.

use std::fmt::Write;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::moves::{MIGRATION, flavor, migration};
use crate::support::agent::Cloud as Host;
use crate::support::neutron::NETWORK;
use crate::support::nova::{Database, object};
use crate::{CONTAINER, UUID, networks};

/// The ephemeral disk.
pub(crate) const VOLUME: &str = "nova-2d206834-23ab-4b5d-a236-4608f438a9e2-ephemeral0";
/// Ways of one move that are tried at the same time.
const AT_ONCE: usize = 4;
/// No step of a move has more.
const MOST_STEPS: usize = 40;

/// What is on the ephemeral disk.
pub(crate) fn content() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    tar.append_data(&mut header, "mnt/mark", b"mine".as_slice()).unwrap();
    tar.into_inner().unwrap()
}

/// Whose agent is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Killed {
    Source,
    Destination,
}

/// What is asked of the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Resize,
    /// To a flavor whose ephemeral disk has another size, which the destination refuses where it is the source.
    Refused,
    /// To a smaller disk, which the source refuses.
    Smaller,
    Confirm,
    Revert,
    Evacuate,
}

/// A source and a destination with their agents.
struct Two {
    /// Which of the hosts is the destination; the first one where the instance stays.
    to: usize,
    hosts: [Host; 2],
    agents: [Option<Runtime>; 2],
}

impl Drop for Two {
    fn drop(&mut self) {
        for agent in self.agents.iter_mut().filter_map(Option::take) {
            agent.shutdown_background();
        }
    }
}

impl Two {
    /// An instance with a port runs on the first host.
    async fn new(to: usize) -> Self {
        let source = Host {
            adjust: |config| {
                config.vif_plugging_timeout = 0;
                config.docker.migration_address = "127.0.0.1".into();
            },
            ..Host::new("h1").await
        };
        let destination = source.beside("h2");
        let agents = [Some(source.agent_apart().await), Some(destination.agent_apart().await)];
        let boot = |args: &mut Value| {
            args["requested_networks"] = networks(&[json!({"network_id": NETWORK})]);
            args["instance"]["nova_object.data"]["flavor"]["nova_object.data"]["ephemeral_gb"] = json!(1);
        };
        source.boot(boot).await;
        source.until("vm_state", "active").await;
        source.until_event_ends().await;
        source.docker(|docker| docker.contents.insert(VOLUME.into(), content()));
        let two = Self { to, hosts: [source, destination], agents };
        let held = json!({"VCPU": 1, "MEMORY_MB": 64});
        let ledger = [(UUID.to_owned(), [(two.node(0), held)].into())].into();
        *two.hosts[0].ledger.lock().unwrap() = Some(ledger);
        two.nova().with(|db| {
            db.take_names();
            let row = db.instances.get_mut(UUID).unwrap();
            row.insert("updated_at".into(), json!("2026-01-01T00:00:00Z"));
            row["flavor"]["nova_object.data"]["ephemeral_gb"] = json!(1);
        });
        two
    }

    /// Name of the destination.
    fn destination(&self) -> &str {
        &self.hosts[self.to].host
    }

    fn nova(&self) -> &crate::support::nova::Nova {
        &self.hosts[0].nova
    }

    /// Uuid of the node of a host, which is its provider's.
    fn node(&self, host: usize) -> String {
        let uuid = self.nova().with(|db| match host {
            0 => db.node.as_ref().unwrap()["uuid"].clone(),
            _ => db.others["h2"].node.as_ref().unwrap()["uuid"].clone(),
        });
        uuid.as_str().unwrap().to_owned()
    }

    fn row(&self, field: &str) -> Value {
        self.nova().with(|db| db.instances[UUID].get(field).cloned().unwrap_or(Value::Null))
    }

    fn status(&self) -> String {
        let status = self.nova().with(|db| db.migrations.get(&1).map(|row| row["status"].clone()));
        status.and_then(|status| status.as_str().map(str::to_owned)).unwrap_or_default()
    }

    fn set(&self, task: Option<&str>, status: &str) {
        self.nova().with(|db| {
            db.instances.get_mut(UUID).unwrap().insert("task_state".into(), json!(task));
            if let Some(migration) = db.migrations.get_mut(&1) {
                migration.insert("status".into(), json!(status));
            }
        });
    }

    fn objects(&self) -> (Value, Value) {
        let migration = self.nova().with(|db| db.migrations[&1].clone());
        (self.nova().instance(UUID), object("Migration", "1.8", migration))
    }

    /// As conductor and nova-api begin it.
    async fn begin(&self, step: Step) {
        match step {
            Step::Resize => self.begin_resize(1, 1).await,
            Step::Refused => self.begin_resize(1, 0).await,
            Step::Smaller => self.begin_resize(0, 1).await,
            Step::Confirm => {
                self.set(None, "confirming");
                let (instance, migration) = self.objects();
                let args = json!({"instance": instance, "migration": migration});
                self.nova().cast("h1", "confirm_resize", args).await;
            }
            Step::Revert => {
                self.set(Some("resize_reverting"), "reverting");
                let (instance, migration) = self.objects();
                let args = json!({"instance": instance, "migration": migration, "request_spec": null});
                self.nova().cast(self.destination(), "revert_resize", args).await;
            }
            Step::Evacuate => self.begin_evacuation().await,
        }
    }

    fn move_is_known(&self, kind: &str, status: &str) -> Value {
        let mut moves = migration("h1", None);
        let data = moves["nova_object.data"].as_object_mut().unwrap();
        data.insert("status".into(), json!(status));
        data.insert("migration_type".into(), json!(kind));
        data.insert("dest_compute_id".into(), Value::Null);
        let row = data.clone();
        self.nova().with(|db| db.migrations.insert(1, row));
        moves
    }

    async fn begin_resize(&self, root_gb: u64, ephemeral_gb: u64) {
        let moves = self.move_is_known("resize", "pre-migrating");
        {
            let mut ledger = self.hosts[0].ledger.lock().unwrap();
            let ledger = ledger.as_mut().unwrap();
            let held = ledger.remove(UUID).unwrap();
            ledger.insert(MIGRATION.into(), held);
            let claimed = json!({"VCPU": 1, "MEMORY_MB": 128});
            ledger.insert(UUID.into(), [(self.node(self.to), claimed)].into());
        }
        self.nova().with(|db| {
            let row = db.instances.get_mut(UUID).unwrap();
            row.extend([
                ("instance_type_id".to_owned(), json!(1)),
                ("task_state".to_owned(), json!("resize_prep")),
            ]);
        });
        let mut args = json!({"instance": self.nova().instance(UUID), "flavor": flavor(2, 128, root_gb), "migration": moves,
            "image": {}, "request_spec": null, "filter_properties": {}, "clean_shutdown": true, "host_list": null});
        args["flavor"]["nova_object.data"]["ephemeral_gb"] = json!(ephemeral_gb);
        self.nova().cast(self.destination(), "prep_resize", args).await;
    }

    /// The first host is gone; what it had is still there when it comes back.
    async fn begin_evacuation(&self) {
        let moves = self.move_is_known("evacuation", "accepted");
        let claimed = json!({"VCPU": 1, "MEMORY_MB": 64});
        let node = self.node(1);
        self.hosts[0].ledger.lock().unwrap().as_mut().unwrap().get_mut(UUID).unwrap().insert(node, claimed);
        self.set(Some("rebuilding"), "accepted");
        let args = json!({"instance": self.nova().instance(UUID), "migration": moves, "recreate": true,
            "on_shared_storage": null, "scheduled_node": "h2", "image_ref": "i-1", "orig_image_ref": "i-1",
            "orig_sys_metadata": null, "bdms": null, "new_pass": null, "injected_files": [], "limits": {},
            "request_spec": null, "preserve_ephemeral": false, "accel_uuids": [], "reimage_boot_volume": false,
            "target_state": null});
        self.nova().cast("h2", "rebuild_instance", args).await;
    }

    fn agent_of(&self, killed: Killed) -> usize {
        if killed == Killed::Source { 0 } else { self.to }
    }

    async fn kill(&mut self, host: usize) {
        if let Some(agent) = self.agents[host].take() {
            // None of it may go on when the world is there again.
            let ended = move || agent.shutdown_timeout(Duration::from_secs(5));
            tokio::task::spawn_blocking(ended).await.unwrap();
        }
        self.hosts[host].fuse.mend();
    }

    async fn start(&mut self, host: usize) {
        self.agents[host] = Some(self.hosts[host].agent_apart().await);
    }

    /// Waits until all is as it may be; says what is not.
    async fn settles(&self, step: Step) -> Result<(), String> {
        let mut wrong = String::new();
        // A destination asks a source that has gone five times, over 7.5 s, before it gives up what it has of a disk.
        for _ in 0..2000 {
            wrong = self.wrong(step);
            if wrong.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let changing = |host: &Host| -> Vec<String> {
            let all = host.engine.take().into_iter().filter(|request| request.method != "GET");
            all.map(|request| request.line()).collect()
        };
        let calls = self.nova().with(Database::take_names);
        Err(format!("{wrong}  engines: {:?}\n  conductor: {calls:?}", self.hosts.each_ref().map(changing)))
    }

    /// Everything that is not as it may be.
    fn wrong(&self, step: Step) -> String {
        let mut wrong = String::new();
        let text = |field: &str| self.row(field).as_str().unwrap_or("none").to_owned();
        let (state, host, task, status) = (text("vm_state"), text("host"), text("task_state"), self.status());
        let at = usize::from(host == "h2");
        let held =
            |consumer: &str| self.hosts[0].ledger.lock().unwrap().as_ref().unwrap().get(consumer).cloned();
        let on = |consumer: &str| {
            held(consumer).map(|held| held.into_keys().collect::<Vec<_>>()).unwrap_or_default()
        };
        let found = format!(
            "{state} on {host}, task {task}, migration {status}, instance holds {:?}, migration {:?}",
            on(UUID),
            on(MIGRATION)
        );
        let mut demand = |what: &str, is: bool| {
            if !is {
                let _ = writeln!(wrong, "  not so: {what} ({found})");
            }
        };
        demand("there is no task", task == "none");
        let ends: &[(&str, &str, &str)] = match step {
            Step::Resize => &[("resized", self.destination(), "finished"), ("active", "h1", "error")],
            Step::Refused | Step::Smaller => &[("active", "h1", "error")],
            Step::Confirm => &[("active", self.destination(), "confirmed")],
            Step::Revert => &[("active", "h1", "reverted")],
            // What was begun and lost is in ERROR, where it can be evacuated or rebooted again.
            Step::Evacuate => &[
                ("active", "h2", "done"),
                ("active", "h2", "completed"),
                ("error", "h1", "failed"),
                ("error", "h1", "error"),
            ],
        };
        demand("state, host and migration are an end", ends.contains(&(&state, &host, &status)));
        let moved = state == "resized";
        let mut providers = vec![self.node(at)];
        if step == Step::Evacuate && status == "done" {
            providers.push(self.node(0));
        }
        providers.sort();
        let mut holds = on(UUID);
        holds.sort();
        demand("the instance holds its host", holds == providers);
        let kept = if moved { vec![self.node(0)] } else { Vec::new() };
        demand("the migration holds the source until it is confirmed", on(MIGRATION) == kept);
        for (index, cloud) in self.hosts.iter().enumerate() {
            self.look_at(index, cloud, (index == at, moved, step, &state), &mut demand);
        }
        let port = self.hosts[0].neutron.lock().unwrap().ports.values().next().cloned().unwrap();
        if state != "error" {
            demand("the port is bound to the instance's host", port["binding:host_id"] == host.as_str());
        }
        wrong
    }

    /// Containers, disks and ports of one host.
    fn look_at(
        &self,
        index: usize,
        cloud: &Host,
        (here, moved, step, state): (bool, bool, Step, &str),
        demand: &mut impl FnMut(&str, bool),
    ) {
        let (containers, committed, volumes) = cloud
            .docker(|docker| (docker.containers.clone(), docker.committed.clone(), docker.volumes.len()));
        let content_here = cloud.docker(|docker| docker.contents.get(VOLUME).cloned());
        let name = &cloud.host;
        let is = containers.get(CONTAINER).copied();
        let ports = cloud.wiring.ports().len();
        let away = self.agents[index].is_none();
        if away {
            return;
        }
        match (here, moved) {
            (true, _) if state == "error" => {}
            (true, _) => {
                demand(&format!("the container runs on {name}: {containers:?}"), is == Some(true));
                demand(&format!("its port is plugged on {name}"), ports == 1);
            }
            (false, true) if self.to == 1 => {
                demand(&format!("the source keeps the stopped container: {containers:?}"), is == Some(false));
                demand(&format!("its port is not plugged on {name}"), ports == 0);
            }
            (false, _) => {
                demand(&format!("nothing is left on {name}: {containers:?}"), containers.is_empty());
                demand(&format!("nothing is plugged on {name}"), ports == 0);
            }
        }
        let disks = usize::from(here && index == 1 && step != Step::Evacuate);
        demand(&format!("no disk is left on {name}: {committed:?}"), committed.len() == disks);
        if !(here && state == "error") {
            let kept = here || (moved && self.to == 1);
            demand(
                &format!("the ephemeral disk is on {name}, or not: {volumes}"),
                volumes == usize::from(kept),
            );
            // That of a lost host is lost.
            let same = kept && step != Step::Evacuate;
            demand(&format!("what is on it is on {name}"), content_here == same.then(content));
        }
        let waiting = cloud.directory.path().join("instances").join(UUID).join("ephemeral0.tar");
        demand(&format!("nothing waits on {name} to be put on a disk"), !waiting.exists());
        let files = std::fs::read_dir(cloud.directory.path().join("moves")).map_or(0, |files| files.count());
        demand(&format!("no file of a disk is left on {name}"), files == 0);
    }
}

/// The state in which a step begins.
async fn before(step: Step, to: usize) -> Two {
    let mut two = Two::new(to).await;
    match step {
        Step::Resize | Step::Refused | Step::Smaller => {}
        Step::Evacuate => two.kill(0).await,
        Step::Confirm | Step::Revert => {
            two.begin(Step::Resize).await;
            two.settles(Step::Resize).await.unwrap();
            assert_eq!(two.row("vm_state"), "resized");
            two.nova().with(Database::take_names);
        }
    }
    two
}

/// How many steps the agent takes that is to be killed.
async fn steps_of((step, killed, to): (Step, Killed, usize)) -> usize {
    let two = before(step, to).await;
    let fuse = &two.hosts[two.agent_of(killed)].fuse;
    fuse.mend();
    two.begin(step).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    two.settles(step).await.unwrap();
    // The last thing that is said.
    tokio::time::sleep(Duration::from_millis(100)).await;
    fuse.taken()
}

/// Kills one of the agents after so many of its steps.
async fn killed_after(steps: usize, (step, killed, to): (Step, Killed, usize)) -> Result<(), String> {
    let mut two = before(step, to).await;
    let host = two.agent_of(killed);
    two.hosts[host].fuse.burn(steps);
    two.begin(step).await;
    for _ in 0..2000 {
        if two.hosts[host].fuse.is_blown() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if steps == 0 {
        // It gets as far as the first question.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    two.kill(host).await;
    two.start(host).await;
    let when = |wrong: String| format!("{step:?}, {killed:?} killed after {steps} steps:\n{wrong}");
    two.settles(step).await.map_err(when)?;
    if step == Step::Evacuate {
        two.start(0).await;
        let when =
            |wrong: String| format!("{step:?}, {killed:?} killed after {steps} steps, source back:\n{wrong}");
        two.settles(step).await.map_err(when)?;
    }
    Ok(())
}

async fn killed_at_every_step(step: Step, killed: Killed) {
    try_all((step, killed, 1)).await;
}

/// Source and destination are one.
async fn killed_at_every_step_here(step: Step) {
    try_all((step, Killed::Source, 0)).await;
}

async fn try_all(what: (Step, Killed, usize)) {
    let count = steps_of(what).await;
    assert!((3..MOST_STEPS).contains(&count), "{count} steps");
    let ways = stream::iter(0..=count).map(|steps| killed_after(steps, what));
    let wrong: Vec<String> = ways.buffer_unordered(AT_ONCE).filter_map(async |way| way.err()).collect().await;
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), count + 1, wrong.join("\n"));
}

#[tokio::test]
async fn a_source_killed_during_a_resize() {
    killed_at_every_step(Step::Resize, Killed::Source).await;
}

#[tokio::test]
async fn a_destination_killed_during_a_resize() {
    killed_at_every_step(Step::Resize, Killed::Destination).await;
}

#[tokio::test]
async fn a_source_killed_during_the_confirmation() {
    killed_at_every_step(Step::Confirm, Killed::Source).await;
}

#[tokio::test]
async fn a_source_killed_during_a_revert() {
    killed_at_every_step(Step::Revert, Killed::Source).await;
}

#[tokio::test]
async fn a_destination_killed_during_a_revert() {
    killed_at_every_step(Step::Revert, Killed::Destination).await;
}

#[tokio::test]
async fn killed_during_a_resize_on_one_host() {
    killed_at_every_step_here(Step::Resize).await;
}

#[tokio::test]
async fn killed_during_the_confirmation_on_one_host() {
    killed_at_every_step_here(Step::Confirm).await;
}

#[tokio::test]
async fn killed_during_a_revert_on_one_host() {
    killed_at_every_step_here(Step::Revert).await;
}

#[tokio::test]
async fn killed_while_a_resize_on_one_host_is_refused() {
    killed_at_every_step_here(Step::Refused).await;
}

#[tokio::test]
async fn a_source_killed_while_it_refuses_a_resize() {
    killed_at_every_step(Step::Smaller, Killed::Source).await;
}

#[tokio::test]
async fn a_destination_killed_during_an_evacuation() {
    killed_at_every_step(Step::Evacuate, Killed::Destination).await;
}

/// Covers: resize_instance
#[tokio::test]
async fn only_what_the_destination_has_not_is_sent_unless_docker_wants_it_all() {
    for (wants_all_layers, members) in [(false, 3), (true, 4)] {
        let two = before(Step::Resize, 1).await;
        two.hosts[1].docker(|docker| docker.wants_all_layers = wants_all_layers);
        two.begin(Step::Resize).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        two.settles(Step::Resize).await.unwrap();
        assert_eq!(two.row("vm_state"), "resized");
        let came = two.hosts[1].docker(|docker| docker.loads.last().cloned().unwrap());
        // The manifest, the configuration, and the layers.
        assert_eq!(came.len(), members, "{came:?}");
    }
}
