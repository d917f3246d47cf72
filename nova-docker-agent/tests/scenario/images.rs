//! Snapshots, backups, rebuilds, shelving, rescues: what each leaves, and what it leaves when something is in its way.

use serde_json::{Value, json};

use crate::support::agent::Cloud as Peers;
use crate::support::glance;
use crate::support::nova::Database;
use crate::{CONTAINER, Cloud, HOST, UUID};

pub(crate) const ORIGINAL: &str = "nova-2d206834-23ab-4b5d-a236-4608f438a9e2-original";
/// The image that nova-api has made for the instance's file system.
pub(crate) const IMAGE: &str = "5a5a5a5a-0000-4000-8000-000000000000";

impl Cloud {
    pub(crate) fn glance<T>(&self, look: impl FnOnce(&mut glance::State) -> T) -> T {
        look(&mut self.glance.lock().unwrap())
    }

    /// As nova-api begins an operation on the file system of the instance.
    pub(crate) async fn ask_for_image(&self, method: &str, task: &str, more: Value) {
        self.glance(|glance| glance.queue(IMAGE, UUID, json!({"backup_type": more["backup_type"]})));
        let mut args = json!({"image_id": IMAGE, "clean_shutdown": true});
        args.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        self.ask(method, task, args).await;
    }

    pub(crate) fn image(&self) -> String {
        self.glance(|glance| glance.status(IMAGE).to_owned())
    }

    async fn until_over(&self) {
        self.until_event_ends().await;
        self.nova.until("no task is left", |db| db.instances[UUID]["task_state"].is_null()).await;
    }

    fn why(&self) -> String {
        let fault = self.nova.with(|db| db.find("InstanceFault.create").cloned());
        fault.map(|fault| fault["objinst"]["nova_object.data"]["message"].to_string()).unwrap_or_default()
    }

    /// What the instance went through, by the saves.
    fn tasks(&self) -> Vec<Value> {
        self.nova.with(|db| {
            let saves = db.log.iter().filter(|sent| sent.name == "Instance.save");
            let data = saves.map(|sent| &sent.args["objinst"]["nova_object.data"]);
            data.filter(|data| data.get("task_state").is_some())
                .map(|data| data["task_state"].clone())
                .collect()
        })
    }

    fn committed(&self) -> usize {
        self.docker(|docker| docker.committed.len())
    }
}

/// Covers: snapshot_instance
#[tokio::test]
async fn a_snapshot_does_not_stop_the_guest_and_leaves_only_the_image() {
    let cloud = Cloud::booted().await;
    cloud.engine.take();
    cloud.ask_for_image("snapshot_instance", "image_snapshot_pending", json!({})).await;
    cloud.until_over().await;
    let passed = ["image_snapshot", "image_pending_upload", "image_uploading"].map(|task| json!(task));
    assert_eq!(cloud.tasks(), [&passed[..], &[Value::Null]].concat());
    assert_eq!((cloud.image().as_str(), cloud.committed()), ("active", 0));
    let image = cloud.glance(|glance| glance.images[IMAGE].clone());
    for (name, value) in [("container_format", "docker"), ("disk_format", "raw"), ("owner_id", "p")] {
        assert_eq!(image[name], value);
    }
    let asked = cloud.engine.take();
    assert!(
        asked.iter().all(|request| !request.path.ends_with("/stop") && !request.path.ends_with("/pause"))
    );
    let commit = asked.iter().find(|request| request.path.ends_with("/commit")).unwrap();
    assert!(commit.query.contains("pause=false"), "{}", commit.query);
    assert_eq!(commit.body["Labels"]["nova.instance_uuid"], "", "another instance will have these labels");
    assert_eq!((cloud.container(), cloud.field("vm_state")), (Some(true), json!("active")));
}

/// Covers: snapshot_instance
#[tokio::test]
async fn a_snapshot_that_cannot_be_sent_leaves_no_image_and_tells_why() {
    let cloud = Cloud::booted().await;
    cloud.glance(|glance| glance.refuse_upload = Some(413));
    cloud.ask_for_image("snapshot_instance", "image_snapshot_pending", json!({})).await;
    cloud.until_over().await;
    assert_eq!((cloud.image().as_str(), cloud.committed()), ("gone", 0));
    assert!(cloud.why().contains("glance did not take the data"), "{}", cloud.why());
    assert_eq!((cloud.container(), cloud.field("vm_state")), (Some(true), json!("active")));
}

#[tokio::test]
async fn an_image_that_its_user_deletes_during_the_snapshot_is_no_error() {
    let cloud = Cloud::booted().await;
    cloud.glance(|glance| glance.delete_during_upload = true);
    cloud.ask_for_image("snapshot_instance", "image_snapshot_pending", json!({})).await;
    cloud.until_over().await;
    assert_eq!((cloud.why().as_str(), cloud.committed()), ("", 0));
}

#[tokio::test]
async fn an_instance_that_is_deleted_during_its_snapshot_leaves_no_image() {
    let cloud = Cloud::booted().await;
    cloud.glance(|glance| glance.queue(IMAGE, UUID, json!({})));
    let args = json!({"instance": cloud.nova.instance(UUID), "image_id": IMAGE});
    cloud.nova.with(|db| {
        db.instances.get_mut(UUID).unwrap().insert("task_state".into(), json!("deleting"));
    });
    cloud.nova.cast("h1", "snapshot_instance", args).await;
    cloud.until_event_ends().await;
    assert_eq!((cloud.image().as_str(), cloud.why().as_str()), ("gone", ""));
    assert_eq!(cloud.field("task_state"), json!("deleting"), "the delete goes on");
}

#[tokio::test]
async fn a_snapshot_of_what_has_no_container_fails() {
    let cloud = Cloud::booted().await;
    cloud.docker(|docker| docker.containers.clear());
    cloud.ask_for_image("snapshot_instance", "image_snapshot_pending", json!({})).await;
    cloud.until_over().await;
    assert_eq!(cloud.image(), "gone");
    assert!(cloud.why().contains("has no container on this host"), "{}", cloud.why());
}

/// Covers: backup_instance
#[tokio::test]
async fn a_backup_goes_when_there_are_newer_ones() {
    let cloud = Cloud::booted().await;
    let backup = |kind: &str| json!({"image_type": "backup", "backup_type": kind, "status": "active"});
    cloud.glance(|glance| {
        // In the order in which glance gives them: the newest first.
        glance.queue("6-old", UUID, backup("daily"));
        glance.queue("7-older", UUID, backup("daily"));
        glance.queue("8-weekly", UUID, backup("weekly"));
        glance.queue("9-other", "another instance", backup("daily"));
    });
    let args = json!({"backup_type": "daily", "rotation": 2, "image_type": "backup"});
    cloud.glance(|glance| glance.queue(IMAGE, UUID, json!({"image_type": "backup", "backup_type": "daily"})));
    let mut ask = json!({"image_id": IMAGE});
    ask.as_object_mut().unwrap().extend(args.as_object().cloned().unwrap());
    cloud.ask("backup_instance", "image_backup", ask).await;
    cloud.until_over().await;
    let status = |id: &str| cloud.glance(|glance| glance.status(id).to_owned());
    let all = [IMAGE, "6-old", "7-older", "8-weekly", "9-other"].map(status);
    assert_eq!(all, ["active", "active", "gone", "active", "active"]);
    let passed = ["image_pending_upload", "image_uploading"].map(|task| json!(task));
    assert_eq!(cloud.tasks(), [&passed[..], &[Value::Null]].concat());
}

/// Covers: rebuild_instance
#[tokio::test]
async fn a_rebuild_makes_another_container_and_keeps_a_stopped_one_off() {
    for (from, to) in [("active", "active"), ("stopped", "stopped")] {
        let cloud = Cloud::booted().await;
        cloud.nova.with(|db| {
            db.instances.get_mut(UUID).unwrap().insert("vm_state".into(), json!(from));
        });
        cloud.engine.take();
        cloud.ask("rebuild_instance", "rebuilding", json!({"image_ref": "i-1", "bdms": null})).await;
        cloud.nova.until("it is over", |db| db.instances[UUID]["task_state"].is_null()).await;
        cloud.until("vm_state", to).await;
        assert_eq!(cloud.container(), Some(to == "active"));
        let create = cloud.engine.take().into_iter().find(|request| request.path.ends_with("/create"));
        assert_eq!(
            create.unwrap().body["Cmd"],
            json!(["sleep", "1"]),
            "from glance, not from what Nova kept"
        );
        assert_eq!(cloud.tasks()[..3], [json!("rebuilding"), json!("rebuild_spawning"), Value::Null]);
    }
}

/// Covers: rebuild_instance
#[tokio::test]
async fn a_rebuild_to_an_image_that_is_none_touches_nothing_and_keeps_the_old_one() {
    let cloud = Cloud::booted().await;
    cloud.glance(|glance| {
        glance.queue(
            "i-2",
            "",
            json!({"status": "active", "container_format": "bare", "disk_format": "raw"}),
        );
    });
    cloud.nova.with(|db| {
        db.instances.get_mut(UUID).unwrap().insert("image_ref".into(), json!("i-2"));
    });
    cloud.engine.take();
    let args = json!({"image_ref": "i-2", "orig_image_ref": "i-1", "orig_sys_metadata": {"image_base_image_ref": "i-1"}});
    cloud.ask("rebuild_instance", "rebuilding", args).await;
    cloud.until_over().await;
    assert_eq!((cloud.field("vm_state"), cloud.field("image_ref")), (json!("error"), json!("i-1")));
    assert_eq!(cloud.container(), Some(true));
    assert!(cloud.engine.take().iter().all(|request| request.method == "GET"), "the guest was not touched");
    assert!(cloud.why().contains("its format is bare/raw"), "{}", cloud.why());
}

#[tokio::test]
async fn what_a_rebuild_cannot_keep_and_where_it_cannot_be_is_refused() {
    let cloud = Cloud::booted().await;
    cloud.ask("rebuild_instance", "rebuilding", json!({"preserve_ephemeral": true})).await;
    cloud.until_over().await;
    assert_eq!(cloud.field("vm_state"), json!("error"));
    assert!(cloud.why().contains("does not support preserving ephemeral"), "{}", cloud.why());
}

/// Covers: shelve_instance, unshelve_instance
#[tokio::test]
async fn a_shelved_instance_leaves_nothing_on_its_host_and_comes_back_from_its_image() {
    let cloud = Cloud::booted().await;
    cloud.ask_for_image("shelve_instance", "shelving", json!({})).await;
    cloud.until("vm_state", "shelved_offloaded").await;
    cloud.until_event_ends().await;
    let passed = ["shelving_image_pending_upload", "shelving_image_uploading", "shelving_offloading"];
    assert_eq!(cloud.tasks(), [&passed.map(|task| json!(task))[..], &[Value::Null]].concat());
    assert_eq!((cloud.container(), cloud.image().as_str(), cloud.committed()), (None, "active", 0));
    assert_eq!((cloud.field("host"), cloud.field("node")), (Value::Null, Value::Null));
    assert!(cloud.allocations_deleted());
    let metadata = cloud.field("system_metadata");
    assert_eq!((&metadata["shelved_image_id"], &metadata["shelved_host"]), (&json!(IMAGE), &json!("h1")));
    assert!(cloud.nova.with(|db| db.fanouts.iter().any(|sent| sent.name == "delete_instance_info")));

    cloud.nova.with(Database::take_names);
    let image = json!({"id": IMAGE, "checksum": "c", "container_format": "docker", "disk_format": "raw",
                       "properties": {"os_command_line": "sleep 2"}});
    cloud.ask("unshelve_instance", "unshelving", json!({"image": image, "node": "h1"})).await;
    cloud.until("vm_state", "active").await;
    cloud.until_event_ends().await;
    assert_eq!((cloud.container(), cloud.image().as_str()), (Some(true), "gone"));
    assert_eq!((cloud.field("host"), cloud.field("image_ref")), (json!("h1"), json!("i-1")));
    assert!(cloud.field("system_metadata").get("shelved_at").is_none());
    assert!(!cloud.allocations_deleted());
}

#[tokio::test]
async fn an_image_that_glance_does_not_take_leaves_the_instance_on_its_host() {
    let cloud = Cloud::booted().await;
    cloud.glance(|glance| glance.refuse_upload = Some(500));
    cloud.ask_for_image("shelve_instance", "shelving", json!({})).await;
    cloud.until_over().await;
    // The guest is off, as Nova leaves it.
    assert_eq!((cloud.container(), cloud.field("vm_state")), (Some(false), json!("active")));
    assert_eq!((cloud.image().as_str(), cloud.committed()), ("gone", 0));
    assert!(!cloud.allocations_deleted());
}

/// An instance that is shelved and still on its host.
async fn shelved_here() -> Cloud {
    let cloud = Cloud { adjust: |config| config.shelved_offload_time = 3600, ..Peers::new(HOST).await };
    cloud.agent(&cloud.life).await.unwrap();
    cloud.boot(|_| {}).await;
    cloud.until("vm_state", "active").await;
    cloud.until_event_ends().await;
    cloud.nova.with(Database::take_names);
    cloud.ask_for_image("shelve_instance", "shelving", json!({})).await;
    cloud.until("vm_state", "shelved").await;
    cloud.until_over().await;
    assert_eq!((cloud.container(), cloud.image().as_str()), (Some(false), "active"));
    cloud
}

#[tokio::test]
async fn a_shelved_instance_stays_as_long_as_it_is_told_to_and_starts_where_it_is() {
    let cloud = shelved_here().await;
    cloud.ask("start_instance", "powering-on", json!({})).await;
    cloud.until("vm_state", "active").await;
    assert_eq!((cloud.container(), cloud.image().as_str()), (Some(true), "gone"));
    assert!(cloud.field("system_metadata").get("shelved_at").is_none());
}

/// Covers: shelve_offload_instance
#[tokio::test]
async fn a_shelved_instance_leaves_its_host_when_it_is_told_to() {
    let cloud = shelved_here().await;
    cloud.ask("shelve_offload_instance", "shelving_offloading", json!({"clean_shutdown": false})).await;
    cloud.until("vm_state", "shelved_offloaded").await;
    assert_eq!((cloud.container(), cloud.image().as_str()), (None, "active"));
    assert_eq!((cloud.field("host"), cloud.field("node")), (Value::Null, Value::Null));
    assert!(cloud.allocations_deleted());
}

/// Covers: unshelve_instance
#[tokio::test]
async fn an_unshelving_that_fails_leaves_the_instance_on_no_host_and_with_its_image() {
    let cloud = Cloud::booted().await;
    cloud.ask_for_image("shelve_instance", "shelving", json!({})).await;
    cloud.until("vm_state", "shelved_offloaded").await;
    cloud.until_event_ends().await;
    cloud.nova.with(Database::take_names);
    cloud.placement.take();
    cloud.docker(|docker| docker.refuse_start = Some((500, "no luck today")));
    let image = json!({"id": IMAGE, "checksum": "c", "container_format": "docker", "disk_format": "raw"});
    cloud.ask("unshelve_instance", "unshelving", json!({"image": image, "node": "h1"})).await;
    cloud.until_over().await;
    assert_eq!((cloud.field("vm_state"), cloud.field("host")), (json!("shelved_offloaded"), Value::Null));
    assert_eq!((cloud.container(), cloud.image().as_str()), (None, "active"));
    assert!(cloud.allocations_deleted());
    assert!(cloud.why().contains("no luck today"), "{}", cloud.why());
}

/// Covers: rescue_instance, unrescue_instance
#[tokio::test]
async fn a_rescue_puts_the_container_aside_and_its_end_brings_it_back() {
    let cloud = Cloud::booted().await;
    let args = json!({"rescue_password": "hunter2", "rescue_image_ref": null, "clean_shutdown": true});
    cloud.ask("rescue_instance", "rescuing", args).await;
    cloud.until("vm_state", "rescued").await;
    cloud.until_event_ends().await;
    let aside = cloud.docker(|docker| (docker.containers.get(ORIGINAL).copied(), docker.volumes.clone()));
    assert_eq!((cloud.container(), aside.0), (Some(true), Some(false)));
    let options = aside.1.values().next().unwrap();
    assert_eq!(options["o"], "lowerdir=/l1:/l2,upperdir=/u,workdir=/w");
    let asked = cloud.engine.take();
    let create = asked.iter().rev().find(|request| request.path.ends_with("/containers/create")).unwrap();
    let binds = create.body["HostConfig"]["Binds"].to_string();
    assert!(binds.contains(&format!("{CONTAINER}-rescue:/rescue")), "{binds}");

    cloud.nova.with(Database::take_names);
    cloud.ask("unrescue_instance", "unrescuing", json!({})).await;
    cloud.until("vm_state", "active").await;
    cloud.until_event_ends().await;
    let left = cloud.docker(|docker| (docker.containers.contains_key(ORIGINAL), docker.volumes.len()));
    assert_eq!((cloud.container(), left), (Some(true), (false, 0)));
}

#[tokio::test]
async fn a_rescued_instance_reboots_and_is_deleted_with_all_that_it_has() {
    let cloud = Cloud::booted().await;
    let args = json!({"rescue_password": "", "clean_shutdown": true});
    cloud.ask("rescue_instance", "rescuing", args).await;
    cloud.until("vm_state", "rescued").await;
    cloud.until_event_ends().await;
    for lost in [false, true] {
        if lost {
            cloud.docker(|docker| docker.containers.remove(CONTAINER));
        }
        cloud.nova.with(Database::take_names);
        cloud.ask("reboot_instance", "rebooting_hard", json!({"reboot_type": "HARD"})).await;
        cloud.until_over().await;
        assert_eq!((cloud.container(), cloud.field("vm_state")), (Some(true), json!("rescued")));
        assert_eq!(cloud.docker(|docker| docker.containers.get(ORIGINAL).copied()), Some(false));
    }
    cloud.ask("terminate_instance", "deleting", json!({"bdms": null})).await;
    cloud.nova.until("the row is gone", |db| db.instances.is_empty()).await;
    assert!(cloud.docker(|docker| docker.containers.is_empty() && docker.volumes.is_empty()));
}

#[tokio::test]
async fn what_cannot_be_rescued_is_told_before_it_is_touched() {
    let cloud = Cloud::booted().await;
    cloud.docker(|docker| docker.storage_driver = "btrfs");
    cloud.engine.take();
    cloud.ask("rescue_instance", "rescuing", json!({"rescue_password": "x", "clean_shutdown": true})).await;
    cloud.until_over().await;
    assert!(cloud.why().contains("only overlay2 lets another container have it"), "{}", cloud.why());
    assert_eq!((cloud.container(), cloud.field("vm_state")), (Some(true), json!("active")));
    assert!(cloud.engine.take().iter().all(|request| request.method == "GET"));
}

#[tokio::test]
async fn a_rescue_that_fails_on_the_way_leaves_the_instance_in_error_with_its_own_container() {
    let cloud = Cloud::booted().await;
    cloud.docker(|docker| docker.refuse = Some(((CONTAINER, "start"), 500, "no luck today")));
    cloud.ask("rescue_instance", "rescuing", json!({"rescue_password": "x", "clean_shutdown": true})).await;
    cloud.until_over().await;
    assert_eq!((cloud.container(), cloud.field("vm_state")), (Some(true), json!("error")));
    let left = cloud.docker(|docker| (docker.containers.contains_key(ORIGINAL), docker.volumes.len()));
    assert_eq!(left, (false, 0));
    assert!(cloud.why().contains("cannot be rescued: Driver Error: Docker could not"), "{}", cloud.why());
}
