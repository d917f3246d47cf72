//! What takes long, or does not work, with one instance holds up nothing else.

use nova_docker_agent::config::Config;
use serde_json::{Value, json};

use crate::moves::migration;
use crate::periodic::running;
use crate::support::glance::SLOW;
use crate::support::neutron::NETWORK;
use crate::support::nova::object;
use crate::{CONTAINER, Cloud, HOST, UUID, row};

const OTHER: &str = "99999999-0000-4000-8000-000000000000";
const OTHER_PORT: &str = "bbbbbbbb-0000-4000-8000-000000000000";

/// News of a port that has other addresses now.
fn changed(instance: &str, port: &str) -> Value {
    let data = json!({"instance_uuid": instance, "name": "network-changed", "tag": port, "status": "completed",
                      "data": {}});
    object("InstanceExternalEvent", "1.5", data.as_object().cloned().unwrap())
}

/// Two instances whose ports have other addresses now in Neutron, the first of which is busy, for Docker takes its time to stop
/// it. Gives back the port of that one.
async fn one_is_busy(cloud: &Cloud) -> String {
    let port = cloud.wiring.ports().remove(0);
    cloud.nova.with(|db| {
        let mut other = row("active", None);
        other.extend([("uuid".to_owned(), json!(OTHER)), ("host".to_owned(), json!(HOST))]);
        db.instances.insert(OTHER.into(), other);
        let cache = db.caches[UUID].replace(&port, OTHER_PORT);
        db.caches.insert(OTHER.into(), cache);
    });
    cloud.docker(|docker| docker.silent = Some(((CONTAINER, "stop"), false)));
    cloud.ask("stop_instance", "powering-off", json!({"clean_shutdown": true})).await;
    while cloud.docker(|docker| docker.silent.is_some()) {
        tokio::task::yield_now().await;
    }
    cloud.ports(|neutron| {
        let mut other = neutron.ports[&port].clone();
        other["id"] = json!(OTHER_PORT);
        other["device_id"] = json!(OTHER);
        neutron.ports.insert(OTHER_PORT.into(), other);
        for port in neutron.ports.values_mut() {
            port["fixed_ips"] = json!([{"subnet_id": "s", "ip_address": "10.0.0.55"}]);
        }
    });
    port
}

/// Covers: external_instance_event
#[tokio::test]
async fn news_of_an_instance_that_is_busy_keep_no_other_waiting() {
    let cloud = Cloud::connected().await;
    let port = one_is_busy(&cloud).await;
    let instances = [UUID, OTHER].map(|uuid| cloud.nova.instance(uuid));
    let events = [changed(UUID, &port), changed(OTHER, OTHER_PORT)];
    cloud.nova.cast(HOST, "external_instance_event", json!({"instances": instances, "events": events})).await;
    cloud.nova.until("the other is looked after", |db| db.caches[OTHER].contains("10.0.0.55")).await;
}

#[tokio::test]
async fn an_instance_that_is_busy_keeps_no_other_from_being_healed() {
    let cloud = running(|config| {
        config.heal_instance_info_cache_interval = 1;
        config.vif_plugging_timeout = 0;
    })
    .await;
    cloud.boot_on(&[json!({"network_id": NETWORK})]).await;
    cloud.until("vm_state", "active").await;
    cloud.until_event_ends().await;
    one_is_busy(&cloud).await;
    cloud.nova.until("the other is looked after", |db| db.caches[OTHER].contains("10.0.0.55")).await;
}

/// Covers: terminate_instance
#[tokio::test]
async fn a_delete_does_not_wait_for_the_image_of_a_rescue() {
    let cloud = Cloud::booted().await;
    cloud
        .ask(
            "rescue_instance",
            "rescuing",
            json!({"rescue_password": "", "rescue_image_ref": SLOW, "clean_shutdown": true}),
        )
        .await;
    cloud.nova.until("the rescue has begun", |db| db.find("InstanceActionEvent.event_start").is_some()).await;
    cloud.ask("terminate_instance", "deleting", json!({"bdms": null})).await;
    cloud.nova.until("the row is gone", |db| db.instances.is_empty()).await;
    assert_eq!(cloud.container(), None);
}

/// An instance that is deleted, and of which there is a container here.
fn left(cloud: &Cloud, uuid: &str) {
    let mut row = row("deleted", None);
    row.extend([("uuid".to_owned(), json!(uuid)), ("host".to_owned(), json!(HOST))]);
    row.extend([("deleted".to_owned(), json!(true)), ("soft_deleted".to_owned(), json!(false))]);
    row.insert("cleaned".into(), json!(false));
    cloud.docker(|docker| docker.put(uuid, HOST, false));
    cloud.nova.with(|db| db.instances.insert(uuid.to_owned(), row));
}

fn move_of(id: i64, uuid: &str, (kind, status): (&str, &str)) -> serde_json::Map<String, Value> {
    let mut moved = migration(HOST, Some("h2"))["nova_object.data"].as_object().cloned().unwrap();
    moved.extend([("id".to_owned(), json!(id)), ("instance_uuid".to_owned(), json!(uuid))]);
    moved.extend([("migration_type".to_owned(), json!(kind)), ("status".to_owned(), json!(status))]);
    moved
}

/// Two instances of which the container of the first cannot be removed.
async fn stuck(adjust: fn(&mut Config)) -> Cloud {
    let cloud = running(adjust).await;
    cloud.docker(|docker| docker.stuck = Some(CONTAINER));
    cloud
}

#[tokio::test]
async fn a_deleted_instance_that_cannot_be_cleaned_up_keeps_no_other_from_it() {
    let cloud = stuck(|config| config.instance_delete_interval = 1).await;
    left(&cloud, UUID);
    left(&cloud, OTHER);
    cloud.nova.until("the other is cleaned", |db| db.instances[OTHER]["cleaned"] == true).await;
    assert_eq!((cloud.field("cleaned"), cloud.container()), (json!(false), Some(false)));
}

#[tokio::test]
async fn a_failed_move_that_cannot_be_cleaned_up_keeps_no_other_from_it() {
    let cloud = stuck(|config| config.instance_delete_interval = 1).await;
    for (id, uuid) in [(1, UUID), (2, OTHER)] {
        left(&cloud, uuid);
        cloud.nova.with(|db| {
            db.instances.get_mut(uuid).unwrap().insert("host".into(), json!("h2"));
            db.migrations.insert(id, move_of(id, uuid, ("resize", "error")))
        });
    }
    cloud.nova.until("the other move is over", |db| db.migrations[&2]["status"] == "failed").await;
    assert_eq!(cloud.nova.with(|db| db.migrations[&1]["status"].clone()), "error");
}

#[tokio::test]
async fn an_evacuated_instance_that_cannot_be_removed_keeps_no_other_here() {
    let cloud = stuck(|_| {}).await;
    for (id, uuid) in [(1, UUID), (2, OTHER)] {
        cloud.docker(|docker| docker.put(uuid, HOST, true));
        cloud.nova.with(|db| {
            let mut row = row("active", None);
            row.extend([("uuid".to_owned(), json!(uuid)), ("host".to_owned(), json!("h2"))]);
            db.instances.insert(uuid.to_owned(), row);
            db.migrations.insert(id, move_of(id, uuid, ("evacuation", "done")))
        });
    }
    let cloud = cloud.killed_and_started().await;
    let statuses = cloud.nova.with(|db| [1, 2].map(|id| db.migrations[&id]["status"].clone()));
    assert_eq!(statuses, [json!("done"), json!("completed")]);
    assert!(cloud.docker(|docker| !docker.containers.contains_key(&format!("nova-{OTHER}"))));
}
