//! Resizes and migrations: what is claimed, what is passed on, and what is left when a step fails.

use serde_json::{Value, json};

use super::two_hosts::{VOLUME, content};
use super::*;

pub(crate) const MIGRATION: &str = "26bf7297-465b-4062-acc6-6170ad964e9b";

pub(crate) fn flavor(id: u64, memory_mb: u64, root_gb: u64) -> Value {
    let data = json!({"id": id, "name": format!("c{id}"), "vcpus": 1, "memory_mb": memory_mb, "root_gb": root_gb,
                      "ephemeral_gb": 0, "extra_specs": {}});
    object("Flavor", "1.2", data.as_object().cloned().unwrap())
}

/// A move of the instance; `to` None: not decided yet.
pub(crate) fn migration(from: &str, to: Option<&str>) -> Value {
    let data = json!({
        "id": 1, "uuid": MIGRATION, "instance_uuid": UUID, "source_compute": from, "source_node": from,
        "dest_compute": to, "dest_node": to, "dest_compute_id": 9, "old_instance_type_id": 1,
        "new_instance_type_id": 2, "migration_type": "resize", "status": "pre-migrating",
    });
    object("Migration", "1.8", data.as_object().cloned().unwrap())
}

impl Cloud {
    /// What the migration was said to be, in order.
    fn statuses(&self) -> Vec<String> {
        let status = |sent: &support::nova::Sent| {
            let status = &sent.args["objinst"]["nova_object.data"]["status"];
            (sent.name == "Migration.save").then(|| status.as_str().unwrap_or_default().to_owned())
        };
        self.nova.with(|db| db.log.iter().filter_map(status).collect())
    }

    fn allocation_moved_back(&self) -> bool {
        self.placement.take_lines().iter().any(|line| line.starts_with("POST /service/allocations"))
    }

    fn is_another_flavor(&self) {
        self.nova.with(|db| {
            let row = db.instances.get_mut(UUID).unwrap();
            row.insert("instance_type_id".into(), json!(1));
            row.insert("new_flavor".into(), flavor(2, 128, 1));
        });
    }
}

/// Covers: prep_resize
#[tokio::test]
async fn a_destination_claims_itself_and_notes_what_was() {
    let cloud = Cloud::booted().await;
    cloud.is_another_flavor();
    let more = json!({"flavor": flavor(2, 128, 1), "migration": migration("h2", None), "image": {},
                      "request_spec": null, "filter_properties": {}, "clean_shutdown": true, "host_list": null});
    cloud.ask("prep_resize", "resize_prep", more).await;
    cloud.until_event_ends().await;
    assert_eq!(cloud.statuses(), ["pre-migrating"]);
    assert_eq!(cloud.field("system_metadata")["old_vm_state"], "active");
    assert_eq!(cloud.field("new_flavor")["nova_object.data"]["id"], 2);
    assert_eq!(cloud.field("migration_context")["nova_object.data"]["migration_id"], 1);
    assert_eq!(cloud.field("task_state"), "resize_prep", "the source goes on from there");
}

/// Covers: prep_resize
#[tokio::test]
async fn a_migration_to_the_same_host_is_refused_and_changes_nothing() {
    let cloud = Cloud::booted().await;
    cloud.nova.with(|db| db.instances.get_mut(UUID).unwrap().insert("instance_type_id".into(), json!(1)));
    let more = json!({"flavor": flavor(1, 64, 1), "migration": migration(HOST, None), "image": {},
                      "request_spec": null, "filter_properties": {}, "clean_shutdown": true, "host_list": null});
    cloud.ask("prep_resize", "resize_prep", more).await;
    cloud.until_event_ends().await;
    cloud.nova.until("no task", |db| db.instances[UUID]["task_state"].is_null()).await;
    assert_eq!(cloud.field("vm_state"), "active");
    assert_eq!(cloud.statuses(), ["error"]);
    assert!(cloud.allocation_moved_back());
    assert_eq!(cloud.container(), Some(true));
}

/// Covers: prep_resize
#[tokio::test]
async fn a_resize_whose_disks_need_another_container_goes_to_another_host() {
    for (quota, root_gb, ephemeral_gb, what) in [
        (true, 5, 0, "the size of its root disk cannot be changed there"),
        (false, 1, 3, "its ephemeral disk cannot be changed there"),
    ] {
        let cloud = Cloud::running(HOST).await;
        cloud.docker(|docker| docker.quota = quota);
        cloud.boot(|_| {}).await;
        cloud.until("vm_state", "active").await;
        cloud.until_event_ends().await;
        cloud.nova.with(Database::take_names);
        let mut wanted = flavor(2, 128, root_gb);
        wanted["nova_object.data"]["ephemeral_gb"] = json!(ephemeral_gb);
        let properties = json!({"retry": {"num_attempts": 1, "hosts": [[HOST, HOST]]}});
        let more = json!({"flavor": wanted, "migration": migration(HOST, None), "image": {}, "request_spec": {},
                          "filter_properties": properties, "clean_shutdown": true, "host_list": [{"service_host": "h2"}]});
        cloud.ask("prep_resize", "resize_prep", more).await;
        cloud.nova.until("it is given back", |db| db.find("migrate_server").is_some()).await;
        let fault = cloud.nova.with(|db| db.find("InstanceFault.create").cloned());
        assert!(fault.is_some_and(|fault| fault.to_string().contains(what)), "{what}");
        assert_eq!((cloud.field("vm_state"), cloud.container()), (json!("active"), Some(true)));
    }
}

/// Covers: resize_instance
#[tokio::test]
async fn a_smaller_disk_is_refused_before_the_guest_is_touched() {
    let cloud = Cloud::booted().await;
    let more = json!({"flavor": flavor(2, 64, 0), "migration": migration(HOST, Some(HOST)), "image": {},
                      "request_spec": null, "clean_shutdown": true});
    cloud.ask("resize_instance", "resize_prep", more).await;
    cloud.until_event_ends().await;
    cloud.nova.until("no task", |db| db.instances[UUID]["task_state"].is_null()).await;
    assert_eq!((cloud.field("vm_state"), cloud.container()), (json!("active"), Some(true)));
    assert_eq!(cloud.statuses(), ["migrating", "error"]);
    assert!(cloud.allocation_moved_back());
    let fault = cloud.nova.with(|db| db.find("InstanceFault.create").cloned()).unwrap();
    let message = &fault["objinst"]["nova_object.data"]["message"];
    assert_eq!(message, "Resize error: Unable to resize disk down.");
}

/// Covers: resize_instance
#[tokio::test]
async fn a_disk_that_cannot_be_sent_leaves_the_guest_running_as_before() {
    let cloud = Cloud::booted().await;
    let more = json!({"flavor": flavor(2, 128, 1), "migration": migration(HOST, Some("h2")), "image": {},
                      "request_spec": null, "clean_shutdown": true});
    cloud.ask("resize_instance", "resize_prep", more).await;
    cloud.until_event_ends().await;
    cloud.nova.until("no task", |db| db.instances[UUID]["task_state"].is_null()).await;
    assert_eq!((cloud.field("vm_state"), cloud.field("host")), (json!("active"), json!(HOST)));
    assert_eq!(cloud.container(), Some(true), "it was stopped, and runs again");
    assert_eq!(cloud.statuses(), ["migrating", "error"]);
    assert!(cloud.allocation_moved_back());
}

/// Covers: resize_instance
#[tokio::test]
async fn a_destination_that_leaves_the_ephemeral_disk_behind_gets_no_instance() {
    let cloud = Cloud {
        adjust: |config| config.docker.migration_address = "127.0.0.1".into(),
        ..Cloud::new(HOST).await
    };
    cloud.agent(&cloud.life).await.unwrap();
    let ephemeral = |flavor: &mut Value| flavor["nova_object.data"]["ephemeral_gb"] = json!(1);
    cloud.boot(|args| ephemeral(&mut args["instance"]["nova_object.data"]["flavor"])).await;
    cloud.until("vm_state", "active").await;
    cloud.until_event_ends().await;
    cloud.docker(|docker| docker.contents.insert(VOLUME.into(), content()));
    cloud.nova.with(|db| {
        db.take_names();
        ephemeral(db.instances.get_mut(UUID).unwrap().get_mut("flavor").unwrap());
    });
    // As an agent that knows of no such disk, it answers that it has all.
    cloud.nova.neighbour("h2", &cloud.life).await;
    let mut wanted = flavor(2, 128, 1);
    ephemeral(&mut wanted);
    let more = json!({"flavor": wanted, "migration": migration(HOST, Some("h2")), "image": {},
                      "request_spec": null, "clean_shutdown": true});
    cloud.ask("resize_instance", "resize_prep", more).await;
    cloud.until_event_ends().await;
    cloud.nova.until("no task", |db| db.instances[UUID]["task_state"].is_null()).await;
    assert_eq!((cloud.field("vm_state"), cloud.field("host")), (json!("active"), json!(HOST)));
    assert_eq!((cloud.container(), cloud.statuses().pop()), (Some(true), Some("error".into())));
    let told =
        cloud.nova.with(|db| (db.find("InstanceFault.create").cloned(), db.find("discard_disk").is_some()));
    assert!(told.0.unwrap().to_string().contains("did not fetch the ephemeral disk"));
    assert!(told.1, "what it has of the disk goes");
}

/// Covers: resize_instance, finish_resize, confirm_resize
#[tokio::test]
async fn a_resize_on_one_host_keeps_the_container_and_is_confirmed() {
    let cloud = Cloud::booted().await;
    cloud.is_another_flavor();
    let mut moved = migration(HOST, Some(HOST));
    moved["nova_object.data"]["status"] = json!("post-migrating");
    cloud
        .ask("finish_resize", "resize_migrated", json!({"migration": moved, "disk_info": "", "image": {}}))
        .await;
    cloud.until("vm_state", "resized").await;
    cloud.until_event_ends().await;
    assert_eq!((cloud.field("memory_mb"), cloud.field("instance_type_id")), (json!(128), json!(2)));
    assert_eq!((cloud.statuses(), cloud.container()), (vec!["finished".to_owned()], Some(true)));
    cloud.nova.with(Database::take_names);
    cloud.placement.take();

    moved["nova_object.data"]["status"] = json!("confirming");
    let args = json!({"instance": cloud.nova.instance(UUID), "migration": moved});
    cloud.nova.cast(HOST, "confirm_resize", args).await;
    cloud.until("vm_state", "active").await;
    cloud.until_event_ends().await;
    assert_eq!(cloud.statuses(), ["confirmed"]);
    assert!(cloud.field("new_flavor").is_null() && cloud.field("migration_context").is_null());
    let freed = format!("DELETE /service/allocations/{MIGRATION}");
    assert!(cloud.placement.take_lines().contains(&freed));
    assert_eq!(cloud.container(), Some(true));
}

#[tokio::test]
async fn an_agent_that_was_killed_while_it_sent_a_disk_takes_the_guest_back() {
    let cloud = Cloud::new(HOST).await;
    let first = Shutdown::new();
    cloud.agent(&first).await.unwrap();
    cloud.boot(|_| {}).await;
    cloud.until("vm_state", "active").await;
    first.stop();
    cloud.nova.with(|db| {
        db.take_names();
        let row = db.instances.get_mut(UUID).unwrap();
        row.insert("task_state".into(), json!("resize_migrating"));
    });
    cloud.docker(|docker| docker.containers.insert(CONTAINER.into(), false));
    cloud.agent(&cloud.life).await.unwrap();
    assert!(cloud.field("task_state").is_null());
    assert_eq!((cloud.field("vm_state"), cloud.container()), (json!("active"), Some(true)));
}
