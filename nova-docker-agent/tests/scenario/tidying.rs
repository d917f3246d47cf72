//! What the clock puts right: what is left of deleted instances and of failed moves, resizes that nobody confirms, and ports
//! that the database has otherwise than Neutron.

use std::time::Duration;

use common::shutdown::Shutdown;
use nova_docker_agent::config::{Config, RunningDeleted};
use serde_json::{Value, json};

use crate::moves::{flavor, migration};
use crate::periodic::running;
use crate::support::neutron::{self, NETWORK};
use crate::support::nova::Database;
use crate::{CONTAINER, Cloud, HOST, UUID, revived, row};

const OTHER: &str = "99999999-0000-4000-8000-000000000000";
const NEW_PORT: &str = "aaaaaaaa-0000-4000-8000-000000000000";

/// What an operator sets, and what is of a running container then.
type Wish = (fn(&mut Config), Option<bool>);

/// What the row of a deleted instance says.
fn deleted(host: &str) -> Value {
    json!({"deleted": true, "soft_deleted": false, "cleaned": false, "host": host})
}

/// The row of a move.
fn moved(id: i64, instance: &str, status: &str) -> serde_json::Map<String, Value> {
    let mut data = migration(HOST, Some(HOST))["nova_object.data"].as_object().cloned().unwrap();
    data.extend([
        ("id".to_owned(), json!(id)),
        ("instance_uuid".to_owned(), json!(instance)),
        ("status".to_owned(), json!(status)),
    ]);
    data
}

#[tokio::test]
async fn what_is_left_of_a_deleted_instance_goes_and_its_row_says_so() {
    let cloud = running(|config| config.instance_delete_interval = 1).await;
    cloud.put("deleted", None, deleted(HOST));
    cloud.nova.until("it is cleaned", |db| db.instances[UUID]["cleaned"] == true).await;
    assert_eq!(cloud.container(), None);
}

#[tokio::test]
async fn the_container_of_a_deleted_instance_is_treated_as_the_operator_wants() {
    let cases: [Wish; 3] = [
        (|config| config.running_deleted_instance_action = RunningDeleted::Reap, None),
        (|config| config.running_deleted_instance_action = RunningDeleted::Shutdown, Some(false)),
        (|config| config.running_deleted_instance_action = RunningDeleted::Log, Some(true)),
    ];
    for (adjust, left) in cases {
        let cloud = running(adjust).await;
        cloud.put("deleted", None, deleted(HOST));
        cloud.docker(|docker| docker.containers.insert(CONTAINER.into(), true));
        // It is looked at once at the start.
        let cloud = cloud.killed_and_started().await;
        let looked_for = |db: &mut Database| {
            let filters = db.log.iter().filter(|sent| sent.name == "InstanceList.get_by_filters");
            filters
                .map(|sent| &sent.args["args"][0])
                .any(|asked| asked["deleted"] == true && asked["uuid"] == json!([UUID]))
        };
        cloud.nova.until("the rows of what is here are looked for", looked_for).await;
        for _ in 0..200 {
            if left != Some(true) && cloud.container() == left {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(cloud.container(), left);
    }
}

#[tokio::test]
async fn the_copy_that_a_failed_move_left_goes_when_its_instance_is_deleted() {
    let cloud = running(|config| config.instance_delete_interval = 1).await;
    cloud.put("active", None, json!({"host": "h2"}));
    cloud.nova.with(|db| db.migrations.insert(1, moved(1, UUID, "error")));
    tokio::time::sleep(Duration::from_millis(1300)).await;
    assert_eq!(cloud.container(), Some(false), "its instance is there still");
    cloud.put("deleted", None, deleted("h2"));
    cloud.nova.until("the move is over", |db| db.migrations[&1]["status"] == "failed").await;
    assert_eq!(cloud.container(), None);
}

#[tokio::test]
async fn a_resize_that_nobody_confirms_is_confirmed_unless_something_else_is_under_way() {
    let cloud = running(|config| config.resize_confirm_window = 1).await;
    let stash = json!({"old_vm_state": "active"});
    let resized = json!({"instance_type_id": 2, "old_flavor": flavor(1, 64, 1), "new_flavor": flavor(2, 128, 1),
                         "system_metadata": stash});
    cloud.put("resized", None, resized);
    cloud.docker(|docker| docker.containers.insert(CONTAINER.into(), true));
    cloud.nova.with(|db| {
        let mut other = row("resized", Some("deleting"));
        other.extend([("uuid".to_owned(), json!(OTHER)), ("host".to_owned(), json!(HOST))]);
        db.instances.insert(OTHER.into(), other);
        db.migrations.insert(1, moved(1, OTHER, "finished"));
        db.migrations.insert(2, moved(2, UUID, "finished"));
    });
    cloud.nova.until("it is confirmed", |db| db.migrations[&2]["status"] == "confirmed").await;
    assert_eq!((cloud.field("vm_state"), cloud.container()), (json!("active"), Some(true)));
    let (action, other) = cloud.nova.with(|db| {
        (db.find("InstanceAction.action_start").cloned().unwrap(), db.migrations[&1]["status"].clone())
    });
    assert_eq!((&action["args"], other), (&json!([UUID, "confirmResize"]), json!("finished")));
}

#[tokio::test]
async fn a_confirmation_that_the_source_may_not_have_heard_of_is_asked_for_again() {
    let cloud = running(|_| {}).await;
    cloud.put("resized", None, json!({}));
    cloud.nova.with(|db| {
        let mut confirming = moved(1, UUID, "confirming");
        confirming.insert("source_compute".into(), json!("h2"));
        db.migrations.insert(1, confirming)
    });
    cloud.life.drain(Duration::ZERO).await;
    let cloud = Cloud { nova: revived(&cloud.nova).await, life: Shutdown::new(), ..cloud };
    cloud.nova.neighbour("h2", &cloud.life).await;
    cloud.agent(&cloud.life).await.unwrap();
    cloud.nova.until("the source is asked", |db| db.find("confirm_resize").is_some()).await;
    // That it is confirmed is the source's to say.
    assert_eq!(cloud.nova.with(|db| db.migrations[&1]["status"].clone()), "confirming");
}

#[tokio::test]
async fn what_the_database_has_otherwise_than_neutron_is_put_right() {
    let cloud = running(|config| {
        config.heal_instance_info_cache_interval = 1;
        config.vif_plugging_timeout = 0;
    })
    .await;
    cloud.boot_on(&[json!({"network_id": NETWORK})]).await;
    cloud.until("vm_state", "active").await;
    cloud.until_event_ends().await;
    // Nobody told of these: a port that is bound elsewhere, one that came.
    let first = cloud.ports(|neutron| {
        let (id, port) = neutron.ports.iter_mut().next().unwrap();
        port["binding:host_id"] = json!("elsewhere");
        let id = id.clone();
        neutron.ports.insert(NEW_PORT.into(), neutron::port(NEW_PORT, "p", UUID));
        id
    });
    let names = |db: &Database, id: &str| db.caches[UUID].contains(id);
    cloud.nova.until("the new port is known", |db| names(db, NEW_PORT)).await;
    cloud.until_plugged(2).await;
    for id in [&first, NEW_PORT] {
        assert_eq!(cloud.ports(|neutron| neutron.ports[id]["binding:host_id"].clone()), HOST, "{id}");
    }
    cloud.ports(|neutron| neutron.ports.remove(&first));
    cloud.nova.until("the port is forgotten", |db| !names(db, &first) && names(db, NEW_PORT)).await;
    cloud.until_plugged(1).await;
}
