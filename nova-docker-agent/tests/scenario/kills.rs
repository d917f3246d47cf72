//! The agent is killed after each step of an operation and started again: nothing is left over, nothing is lost.

use std::time::Duration;

use common::shutdown::Shutdown;
use serde_json::{Value, json};

use crate::images::{IMAGE, ORIGINAL};
use crate::support::agent::Cloud as Peers;
use crate::support::neutron::NETWORK;
use crate::support::nova::Database;
use crate::{CONTAINER, Cloud, HOST, UUID, networks, revived};

/// An operation: its method, the state it begins in, its task, and the states it may end in after a kill.
struct Operation {
    method: &'static str,
    from: &'static str,
    task: &'static str,
    ends: &'static [&'static str],
}

/// No operation has more.
pub(crate) const MOST_STEPS: usize = 30;

const SHELVE: Operation = Operation {
    method: "shelve_instance",
    from: "active",
    task: "shelving",
    ends: &["active", "shelved_offloaded"],
};

const SOFT_DELETE: Operation = Operation {
    method: "soft_delete_instance",
    from: "active",
    task: "soft-deleting",
    ends: &["active", "soft-delete"],
};

/// Without the offloading that comes with it by default.
const SHELVE_HERE: Operation = Operation { ends: &["active", "shelved"], ..SHELVE };

/// What nova-compute reads of it is its kind.
const REBOOT: Operation =
    Operation { method: "reboot_instance", from: "active", task: "rebooting", ends: &["active"] };

const RESCUE: Operation =
    Operation { method: "rescue_instance", from: "active", task: "rescuing", ends: &["active", "rescued"] };

impl Operation {
    fn args(&self) -> Value {
        let image = json!({"id": IMAGE, "checksum": "c", "container_format": "docker", "disk_format": "raw"});
        json!({"image_id": IMAGE, "clean_shutdown": true, "backup_type": "daily", "rotation": 1,
               "image_ref": "i-1", "rescue_password": "", "image": image, "node": HOST,
               "reboot_type": if self.task == "rebooting_hard" { "HARD" } else { "SOFT" }, "new_pass": "hunter2"})
    }

    /// As nova-api begins it.
    async fn begin(&self, cloud: &Cloud) {
        if matches!(self.task, "image_snapshot_pending" | "image_backup" | "shelving") {
            cloud.glance(|glance| glance.queue(IMAGE, UUID, json!({"image_type": "snapshot"})));
        }
        cloud.ask(self.method, self.task, self.args()).await;
    }

    async fn run(&self, cloud: &Cloud, end: &'static str) {
        cloud.nova.with(Database::take_names);
        self.begin(cloud).await;
        cloud.until_event_ends().await;
        cloud.until("vm_state", end).await;
    }
}

/// An instance with a port, in the state in which the operation begins; its agent is in a runtime of its own.
async fn before(operation: &Operation) -> (Cloud, tokio::runtime::Runtime) {
    let mut cloud = Cloud { adjust: |config| config.vif_plugging_timeout = 0, ..Peers::new(HOST).await };
    if operation.from == "shelved" {
        cloud.adjust = |config| (config.vif_plugging_timeout, config.shelved_offload_time) = (0, -1);
    }
    let runtime = cloud.agent_apart().await;
    cloud.boot(|args| args["requested_networks"] = networks(&[json!({"network_id": NETWORK})])).await;
    cloud.until("vm_state", "active").await;
    cloud.until_event_ends().await;
    match operation.from {
        "shelved_offloaded" => SHELVE.run(&cloud, operation.from).await,
        "shelved" => SHELVE_HERE.run(&cloud, operation.from).await,
        "soft-delete" => SOFT_DELETE.run(&cloud, operation.from).await,
        "rescued" => RESCUE.run(&cloud, operation.from).await,
        _ => {}
    }
    cloud.nova.with(|db| {
        db.take_names();
        db.instances.get_mut(UUID).unwrap().insert("updated_at".into(), json!("2026-01-01T00:00:00Z"));
    });
    (cloud, runtime)
}

/// An instance with a port that runs; its agent is in a runtime of its own.
pub(crate) async fn running_apart() -> (Cloud, tokio::runtime::Runtime) {
    before(&Operation { method: "", from: "active", task: "", ends: &[] }).await
}

/// Ends what is left of the agent and starts it on what it has left behind.
pub(crate) async fn started_again(cloud: Cloud, runtime: tokio::runtime::Runtime) -> Cloud {
    runtime.shutdown_background();
    cloud.fuse.mend();
    let cloud = Cloud { nova: revived(&cloud.nova).await, life: Shutdown::new(), ..cloud };
    cloud.agent(&cloud.life).await.unwrap();
    cloud
}

/// Kills the agent after each step in turn.
async fn killed_at_every_step(operation: Operation) {
    let mut steps = 0;
    while steps < MOST_STEPS {
        let (cloud, runtime) = before(&operation).await;
        cloud.fuse.burn(steps);
        cloud.consumers.lock().unwrap().push(UUID.into());
        operation.begin(&cloud).await;
        let over = |db: &mut Database| db.find("InstanceActionEvent.event_finish_with_failure").is_some();
        while !cloud.fuse.is_blown() && !cloud.nova.with(over) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if steps == 0 {
            // It gets as far as the first question.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let survived = !cloud.fuse.is_blown();
        let cloud = started_again(cloud, runtime).await;
        is_well(&cloud, &operation, steps);
        if survived {
            break;
        }
        steps += 1;
    }
    assert!((2..MOST_STEPS).contains(&steps), "{}: {steps} steps", operation.method);
}

fn is_well(cloud: &Cloud, operation: &Operation, steps: usize) {
    let when = format!("{} after {steps} steps", operation.method);
    let state = cloud.field("vm_state").as_str().unwrap().to_owned();
    assert!(operation.ends.contains(&state.as_str()), "{when}: {state}");
    assert_eq!(cloud.field("task_state"), Value::Null, "{when}");
    let (containers, volumes, committed) =
        cloud.docker(|docker| (docker.containers.clone(), docker.volumes.len(), docker.committed.clone()));
    assert!(committed.is_empty(), "{when}: {committed:?}");
    let rescued = state == "rescued";
    assert_eq!((containers.contains_key(ORIGINAL), volumes), (rescued, usize::from(rescued)), "{when}");
    let here = state != "shelved_offloaded";
    if state == "error" {
        // A hard reboot makes it anew.
    } else if matches!(state.as_str(), "soft-delete" | "shelved") {
        assert_eq!(containers.get(CONTAINER), Some(&false), "{when}");
        assert_eq!(cloud.wiring.ports().len(), 0, "{when}");
    } else if here {
        assert_eq!(containers.get(CONTAINER), Some(&true), "{when}");
        assert_eq!(cloud.wiring.ports().len(), 1, "{when}");
    } else {
        assert!(containers.is_empty() && cloud.wiring.ports().is_empty(), "{when}: {containers:?}");
        assert!(cloud.field("host").is_null() && cloud.allocations_deleted(), "{when}");
    }
    let port = cloud.neutron.lock().unwrap().ports.values().next().cloned().unwrap();
    assert_eq!(port["device_id"], UUID, "{when}");
    assert_eq!(port["binding:host_id"], if here { json!(HOST) } else { Value::Null }, "{when}");
    // What a shelved instance is kept in, and what a user got for a snapshot; never half an image.
    let image = cloud.image();
    let image_may_be: &[&str] = match (operation.method, here) {
        ("snapshot_instance" | "backup_instance", _) => &["active", "gone"],
        (_, false) => &["active"],
        _ if state == "shelved" => &["active"],
        (_, true) => &["gone"],
    };
    assert!(image_may_be.contains(&image.as_str()), "{when}: the image is {image}");
    assert_eq!(
        cloud.field("system_metadata").get("shelved_image_id").is_some(),
        state.starts_with("shelved"),
        "{when}"
    );
}

#[tokio::test]
async fn during_a_snapshot() {
    let (method, task) = ("snapshot_instance", "image_snapshot_pending");
    killed_at_every_step(Operation { method, from: "active", task, ends: &["active"] }).await;
}

#[tokio::test]
async fn during_a_backup() {
    let (method, task) = ("backup_instance", "image_backup");
    killed_at_every_step(Operation { method, from: "active", task, ends: &["active"] }).await;
}

#[tokio::test]
async fn during_a_rebuild() {
    let (method, task) = ("rebuild_instance", "rebuilding");
    killed_at_every_step(Operation { method, from: "active", task, ends: &["active", "error"] }).await;
}

#[tokio::test]
async fn during_shelving() {
    killed_at_every_step(SHELVE).await;
}

#[tokio::test]
async fn during_unshelving() {
    let (method, from, task) = ("unshelve_instance", "shelved_offloaded", "unshelving");
    killed_at_every_step(Operation { method, from, task, ends: &["active", "shelved_offloaded"] }).await;
}

#[tokio::test]
async fn during_a_soft_reboot() {
    killed_at_every_step(REBOOT).await;
}

#[tokio::test]
async fn during_a_hard_reboot() {
    killed_at_every_step(Operation { task: "rebooting_hard", ..REBOOT }).await;
}

#[tokio::test]
async fn while_a_password_is_set() {
    let (method, task) = ("set_admin_password", "updating_password");
    killed_at_every_step(Operation { method, from: "active", task, ends: &["active"] }).await;
}

#[tokio::test]
async fn during_a_rescue() {
    killed_at_every_step(RESCUE).await;
}

#[tokio::test]
async fn during_the_end_of_a_rescue() {
    let (method, from, task) = ("unrescue_instance", "rescued", "unrescuing");
    killed_at_every_step(Operation { method, from, task, ends: &["active", "rescued"] }).await;
}

#[tokio::test]
async fn during_the_delete_of_a_rescued_instance() {
    let rescued = Operation { from: "rescued", ..RESCUE };
    for steps in 0..MOST_STEPS {
        let (cloud, runtime) = before(&rescued).await;
        cloud.fuse.burn(steps);
        cloud.ask("terminate_instance", "deleting", json!({"bdms": null})).await;
        while !cloud.fuse.is_blown() && !cloud.nova.with(|db| db.instances.is_empty()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let survived = !cloud.fuse.is_blown();
        let cloud = started_again(cloud, runtime).await;
        cloud.nova.until("the row is gone", |db| db.instances.is_empty()).await;
        assert!(cloud.docker(|docker| docker.containers.is_empty() && docker.volumes.is_empty()), "{steps}");
        if survived {
            return;
        }
    }
    panic!("more steps than can be");
}

#[tokio::test]
async fn during_a_soft_delete() {
    killed_at_every_step(SOFT_DELETE).await;
}

#[tokio::test]
async fn during_a_restore() {
    let (method, from, task) = ("restore_instance", "soft-delete", "restoring");
    killed_at_every_step(Operation { method, from, task, ends: &["active", "soft-delete"] }).await;
}

#[tokio::test]
async fn during_an_offloading() {
    let (method, from, task) = ("shelve_offload_instance", "shelved", "shelving_offloading");
    killed_at_every_step(Operation { method, from, task, ends: &["shelved_offloaded"] }).await;
}
