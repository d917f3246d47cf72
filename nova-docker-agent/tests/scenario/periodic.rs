//! What the clock does: soft-deleted instances, builds and reboots that do not end, orphans, news for the schedulers.

use std::time::Duration;

use nova_docker_agent::config::{Config, Orphans};
use serde_json::json;

use crate::support::agent::Cloud as Peers;
use crate::support::nova::Database;
use crate::{CONTAINER, Cloud, HOST, UUID, row};

const LONG_AGO: &str = "2020-01-01T00:00:00Z";

pub(crate) async fn running(adjust: fn(&mut Config)) -> Cloud {
    let cloud = Cloud { adjust, ..Peers::new(HOST).await };
    cloud.agent(&cloud.life).await.unwrap();
    cloud
}

impl Cloud {
    /// An instance of this host in this state, with a container.
    pub(crate) fn put(&self, vm_state: &str, task: Option<&str>, more: serde_json::Value) {
        let mut row = row(vm_state, task);
        row.insert("host".into(), json!(HOST));
        row.extend(more.as_object().cloned().unwrap());
        self.docker(|docker| docker.put(UUID, HOST, false));
        self.nova.with(|db| db.instances.insert(UUID.into(), row));
    }
}

#[tokio::test]
async fn a_soft_deleted_instance_is_reclaimed_when_its_time_is_over() {
    let cloud = running(|config| config.reclaim_instance_interval = 1).await;
    let now = jiff::Timestamp::now().to_string();
    cloud.put("soft-delete", Some("restoring"), json!({"deleted_at": LONG_AGO}));
    tokio::time::sleep(Duration::from_millis(1300)).await;
    assert_eq!(cloud.container(), Some(false), "it is being restored");
    cloud.put("soft-delete", None, json!({"deleted_at": "2999-01-01T00:00:00Z"}));
    tokio::time::sleep(Duration::from_millis(1300)).await;
    assert_eq!(cloud.container(), Some(false), "it was deleted just now");
    cloud.placement.take();
    cloud.put("soft-delete", None, json!({"deleted_at": now}));
    cloud.nova.until("the row is gone", |db| db.instances.is_empty()).await;
    assert_eq!(cloud.container(), None);
    // Without force: only what was looked at is taken away.
    let sent = cloud.placement.take();
    let given = sent
        .iter()
        .find(|request| request.method == "PUT" && request.path.contains("/allocations/"))
        .unwrap();
    assert_eq!((&given.body["allocations"], &given.body["consumer_generation"]), (&json!({}), &json!(3)));
}

#[tokio::test]
async fn an_agent_that_is_killed_while_it_reclaims_ends_it_when_it_comes_back() {
    for (call, done) in [
        ("Instance.save", false),
        ("Instance.save", true),
        ("Instance.destroy", false),
        ("Instance.destroy", true),
    ] {
        let cloud = running(|config| config.reclaim_instance_interval = 1).await;
        cloud.nova.with(|db| db.silent = Some((call.into(), done)));
        cloud.put("soft-delete", None, json!({"deleted_at": LONG_AGO}));
        cloud.nova.until("the call was begun", |db| db.silent.is_none()).await;
        let cloud = cloud.killed_and_started().await;
        cloud.nova.until("the row is gone", |db| db.instances.is_empty()).await;
        assert_eq!(cloud.container(), None, "{call} {done}");
    }
}

#[tokio::test]
async fn orphans_are_reported_or_removed_and_what_nova_knows_is_neither() {
    const STRAY: &str = "99999999-0000-4000-8000-000000000000";
    for (adjust, left) in [
        (None, Some(true)),
        (Some((|config: &mut Config| config.docker.orphans = Orphans::Remove) as fn(&mut Config)), None),
    ] {
        let cloud = Cloud { adjust: adjust.unwrap_or(|_| {}), ..Peers::new(HOST).await };
        cloud.put("active", None, json!({"power_state": 4}));
        cloud.docker(|docker| docker.put(STRAY, HOST, true));
        let folder = cloud.directory.path().join("instances").join(STRAY);
        std::fs::create_dir_all(&folder).unwrap();
        // Nova knows the service: a new one refuses to begin with guests.
        let service =
            json!({"id": 4, "host": HOST, "binary": "nova-compute", "topic": "compute", "version": 74});
        cloud.nova.with(|db| db.service = service.as_object().cloned());
        std::fs::write(cloud.directory.path().join("compute_id"), UUID).unwrap();
        cloud.agent(&cloud.life).await.unwrap();
        let stray = || cloud.docker(|docker| docker.containers.get(&format!("nova-{STRAY}")).copied());
        for _ in 0..100 {
            if stray() == left && folder.exists() == left.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!((stray(), folder.exists()), (left, left.is_some()));
        assert!(cloud.docker(|docker| docker.containers.contains_key(CONTAINER)));
    }
}

#[tokio::test]
async fn the_schedulers_hear_of_all_instances_again_and_again() {
    let cloud = running(|config| config.scheduler_instance_sync_interval = 1).await;
    cloud.put("active", None, json!({"power_state": 4}));
    let told = |db: &mut Database| {
        let of_ours = |args: &serde_json::Value| args["instance_uuids"] == json!([UUID]);
        db.fanouts.iter().any(|sent| sent.name == "sync_instance_info" && of_ours(&sent.args))
    };
    cloud.nova.until("the schedulers are told", told).await;
}

#[tokio::test]
async fn a_build_that_does_not_end_is_an_error() {
    let cloud = running(|config| config.instance_build_timeout = 1).await;
    cloud.put("building", Some("spawning"), json!({"created_at": LONG_AGO}));
    cloud.until("vm_state", "error").await;
    // As in Nova: only the state is changed.
    assert_eq!((cloud.field("task_state"), cloud.container()), (json!("spawning"), Some(false)));
}

#[tokio::test]
async fn a_soft_reboot_that_does_not_end_becomes_a_hard_one() {
    let cloud = running(|config| config.reboot_timeout = 1).await;
    cloud.put("active", Some("reboot_started"), json!({"updated_at": LONG_AGO}));
    let done = |db: &mut Database| {
        let row = &db.instances[UUID];
        row["task_state"].is_null() && row["power_state"] == 1
    };
    cloud.nova.until("it was rebooted", done).await;
    assert_eq!(cloud.container(), Some(true));
    let action = cloud.nova.with(|db| db.find("InstanceAction.action_start").cloned().unwrap());
    assert_eq!(action["args"], json!([UUID, "reboot"]));
}
