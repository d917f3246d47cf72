//! The whole agent between a scripted Nova, placement, Neutron and dockerd: what the database, placement, Neutron and
//! Docker hold when an operation is over, whatever went wrong in it.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

#[path = "scenario/bad_input.rs"]
mod bad_input;
#[path = "scenario/groups.rs"]
mod groups;
#[path = "scenario/guests.rs"]
mod guests;
#[path = "scenario/image_clock.rs"]
mod image_clock;
#[path = "scenario/images.rs"]
mod images;
#[path = "scenario/kills.rs"]
mod kills;
#[path = "scenario/moves.rs"]
mod moves;
#[path = "scenario/mutated.rs"]
mod mutated;
#[path = "scenario/network.rs"]
mod network;
#[path = "scenario/page.rs"]
mod page;
#[path = "scenario/periodic.rs"]
mod periodic;
#[path = "scenario/power.rs"]
mod power;
#[path = "scenario/releases.rs"]
mod releases;
mod support;
#[path = "scenario/two_hosts.rs"]
mod two_hosts;

use std::time::Duration;

use common::shutdown::Shutdown;
use nova_docker_agent::startup;
use serde_json::{Map, Value, json};
use support::agent::Cloud;
use support::glance::SLOW;
use support::nova::{Database, Nova, object};

const HOST: &str = "h1";
const UUID: &str = "2d206834-23ab-4b5d-a236-4608f438a9e2";
const CONTAINER: &str = "nova-2d206834-23ab-4b5d-a236-4608f438a9e2";

impl Cloud {
    fn container(&self) -> Option<bool> {
        self.docker(|docker| docker.containers.get(CONTAINER).copied())
    }

    fn field(&self, name: &str) -> Value {
        self.nova.with(|db| db.instances[UUID].get(name).cloned().unwrap_or(Value::Null))
    }

    async fn until(&self, field: &'static str, value: &str) {
        let value = json!(value);
        let done =
            |db: &mut Database| db.instances.get(UUID).is_some_and(|row| row.get(field) == Some(&value));
        self.nova.until(&format!("{field} is {value}"), done).await;
    }

    /// Waits for the end of the event that accompanies an operation.
    async fn until_event_ends(&self) {
        let ended = |db: &mut Database| db.find("InstanceActionEvent.event_finish_with_failure").is_some();
        self.nova.until("the event has ended", ended).await;
    }

    /// Sends a build as the conductor does.
    async fn boot(&self, change: impl FnOnce(&mut Value)) {
        self.nova.with(|db| db.instances.insert(UUID.into(), row("building", Some("scheduling"))));
        let mut args = build(&self.nova);
        change(&mut args);
        self.nova.cast("h1", "build_and_run_instance", args).await;
    }

    async fn booted() -> Self {
        let cloud = Self::running(HOST).await;
        cloud.boot(|_| {}).await;
        cloud.until("vm_state", "active").await;
        cloud.until_event_ends().await;
        cloud.nova.with(Database::take_names);
        cloud.placement.take();
        cloud
    }

    /// As nova-api: task state first, then the cast.
    async fn ask(&self, method: &str, task: &str, more: Value) {
        self.nova.with(|db| {
            db.instances.get_mut(UUID).unwrap().insert("task_state".into(), json!(task));
        });
        let mut args = json!({"instance": self.nova.instance(UUID)});
        args.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        self.nova.cast("h1", method, args).await;
    }

    fn allocations_deleted(&self) -> bool {
        self.placement.take_lines().contains(&format!("DELETE /service/allocations/{UUID}"))
    }
}

fn row(vm_state: &str, task: Option<&str>) -> Map<String, Value> {
    let flavor = json!({"id": 1, "name": "c1", "vcpus": 1, "memory_mb": 64, "root_gb": 1, "ephemeral_gb": 0,
                        "extra_specs": {}});
    let data = json!({
        "id": 3, "uuid": UUID, "user_id": "u", "project_id": "p", "image_ref": "i-1", "hostname": "rec1",
        "display_name": "rec1", "vm_state": vm_state, "task_state": task, "power_state": 0, "host": null,
        "node": null, "metadata": {}, "system_metadata": {"image_container_format": "docker", "image_disk_format": "raw"},
        "flavor": object("Flavor", "1.2", flavor.as_object().cloned().unwrap()),
    });
    data.as_object().cloned().unwrap()
}

/// A `NetworkRequestList`.
fn networks(requests: &[Value]) -> Value {
    let request = |data: &Value| object("NetworkRequest", "1.3", data.as_object().cloned().unwrap());
    let list = json!({"objects": requests.iter().map(request).collect::<Vec<_>>()});
    object("NetworkRequestList", "1.1", list.as_object().cloned().unwrap())
}

fn build(nova: &Nova) -> Value {
    let disk =
        json!({"id": 1, "uuid": UUID, "instance_uuid": UUID, "boot_index": 0, "destination_type": "local"});
    let disk = object("BlockDeviceMapping", "1.21", disk.as_object().cloned().unwrap());
    let disks = json!({"objects": [disk]});
    json!({
        "instance": nova.instance(UUID), "filter_properties": {"limits": {}}, "request_spec": {"id": 9},
        "image": {"id": "i-1", "checksum": "abc", "container_format": "docker", "disk_format": "raw",
                  "properties": {}},
        "block_device_mapping": object("BlockDeviceMappingList", "1.18", disks.as_object().cloned().unwrap()),
        "requested_networks": networks(&[json!({"network_id": "none"})]), "host_list": [{"service_host": "h2"}], "admin_password": "x",
    })
}

#[tokio::test]
async fn a_first_start_registers_and_publishes() {
    let cloud = Cloud::new(HOST).await;
    cloud.agent(&cloud.life).await.unwrap();
    let (service, node) = cloud.nova.with(|db| (db.service.clone().unwrap(), db.node.clone().unwrap()));
    assert_eq!((&service["host"], &service["version"]), (&json!("h1"), &json!(74)));
    let identity = std::fs::read_to_string(cloud.directory.path().join("compute_id")).unwrap();
    assert_eq!(node["uuid"], json!(identity));
    // A node without this field gets no instances.
    assert!(node["free_disk_gb"].is_i64());
    let put = cloud.placement.take().into_iter().find(|request| request.method == "PUT").unwrap();
    assert!(put.path.ends_with("/inventories") && put.body["inventories"]["VCPU"]["total"] == 2);
}

#[tokio::test]
async fn a_lost_identity_keeps_the_agent_from_starting() {
    let cloud = Cloud::new(HOST).await;
    cloud.agent(&cloud.life).await.unwrap();
    std::fs::remove_file(cloud.directory.path().join("compute_id")).unwrap();
    let refused = cloud.agent(&Shutdown::new()).await.err().unwrap();
    assert!(matches!(refused, startup::Error::IdentityLost { .. }), "{refused}");
}

#[tokio::test]
async fn a_renamed_host_keeps_the_agent_from_starting() {
    let cloud = Cloud::new(HOST).await;
    cloud.agent(&cloud.life).await.unwrap();
    cloud.nova.with(|db| db.node.as_mut().unwrap().insert("host".into(), json!("h0")));
    let refused = cloud.agent(&Shutdown::new()).await.err().unwrap().to_string();
    assert!(refused.contains("h0") && refused.contains("h1"), "{refused}");
}

#[tokio::test]
async fn other_computes_of_a_newer_release_keep_the_agent_from_starting() {
    let cloud = Cloud::new(HOST).await;
    cloud.nova.with(|db| (db.conductors, db.computes) = (72, 74));
    assert!(matches!(cloud.agent(&cloud.life).await.err(), Some(startup::Error::Profile(_))));
}

/// Covers: build_and_run_instance
#[tokio::test]
async fn a_boot_takes_five_conductor_calls() {
    let cloud = Cloud::running(HOST).await;
    cloud.boot(|_| {}).await;
    cloud.until("vm_state", "active").await;
    cloud.until_event_ends().await;
    let mut names = cloud.nova.with(Database::take_names);
    // What the clock does is not part of a boot.
    names.retain(|name| {
        !["ComputeNode.", "Service.", "InstanceList."].iter().any(|class| name.starts_with(class))
    });
    names.sort();
    let expected = [
        "BlockDeviceMapping.save",
        "Instance.save",
        "Instance.save",
        "InstanceActionEvent.event_finish_with_failure",
        "InstanceActionEvent.event_start",
    ];
    assert_eq!(names, expected);
    assert_eq!(cloud.container(), Some(true));
    for (field, value) in [
        ("host", json!("h1")),
        ("node", json!("h1")),
        ("compute_id", json!(7)),
        ("task_state", Value::Null),
        ("power_state", json!(1)),
        ("root_device_name", json!("/dev/sda")),
    ] {
        assert_eq!(cloud.field(field), value, "{field}");
    }
    assert!(cloud.field("launched_at").is_string());
}

/// Covers: build_and_run_instance
#[tokio::test]
async fn a_container_that_does_not_start_leaves_an_error_and_nothing_else() {
    let cloud = Cloud::running(HOST).await;
    cloud.docker(|docker| docker.refuse_start = Some((500, "no such executable")));
    cloud.boot(|_| {}).await;
    cloud.until("vm_state", "error").await;
    cloud.until_event_ends().await;
    assert_eq!(cloud.container(), None);
    assert!(cloud.allocations_deleted());
    for field in ["host", "node", "compute_id", "task_state", "launched_at"] {
        assert_eq!(cloud.field(field), Value::Null, "{field}");
    }
    let fault = cloud.nova.with(|db| db.find("InstanceFault.create").cloned().unwrap());
    let message = fault["objinst"]["nova_object.data"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("no such executable"), "{message}");
}

/// Covers: build_and_run_instance
#[tokio::test]
async fn a_failed_build_with_retries_left_goes_back_to_the_conductor() {
    let cloud = Cloud::running(HOST).await;
    cloud.docker(|docker| docker.refuse_start = Some((500, "out of luck")));
    cloud
        .boot(|args| {
            args["filter_properties"] = json!({"retry": {"num_attempts": 1, "hosts": [["h1", "h1"]]}})
        })
        .await;
    cloud.nova.until("the build is given back", |db| db.find("build_instances").is_some()).await;
    let cast = cloud.nova.with(|db| db.find("build_instances").cloned().unwrap());
    assert_eq!(cast["host_lists"], json!([[{"service_host": "h2"}]]));
    assert_eq!(cast["request_spec"], json!({"id": 9}));
    assert!(cast["filter_properties"]["retry"]["exc_reason"].as_str().unwrap().contains("out of luck"));
    assert_eq!(cast["instances"][0]["nova_object.data"]["host"], Value::Null);
    assert_eq!(
        (cloud.field("vm_state"), cloud.field("task_state")),
        (json!("building"), json!("scheduling"))
    );
    assert!(cloud.nova.with(|db| db.find("InstanceFault.create").is_none()));
    assert_eq!(cloud.container(), None);
    assert!(cloud.allocations_deleted());
}

#[tokio::test]
async fn what_fails_everywhere_is_not_tried_elsewhere() {
    let cloud = Cloud::running(HOST).await;
    cloud
        .boot(|args| {
            args["block_device_mapping"]["nova_object.data"]["objects"][0]["nova_object.data"]["destination_type"] =
                json!("volume");
            args["filter_properties"] = json!({"retry": {"num_attempts": 1}});
        })
        .await;
    cloud.until("vm_state", "error").await;
    cloud.until_event_ends().await;
    assert!(cloud.nova.with(|db| db.find("build_instances").is_none()));
    let fault = cloud.nova.with(|db| db.find("InstanceFault.create").cloned().unwrap());
    assert!(fault.to_string().contains("volumes are not supported yet"));
}

/// Covers: build_and_run_instance
#[tokio::test]
async fn a_build_that_cannot_be_read_is_an_error_and_a_running_instance_is_not() {
    let cloud = Cloud::running(HOST).await;
    cloud.boot(|args| args["instance"]["nova_object.version"] = json!("garbage")).await;
    cloud.until("vm_state", "error").await;
    assert_eq!((cloud.field("task_state"), cloud.container()), (Value::Null, None));
    cloud.nova.until("why", |db| db.find("InstanceFault.create").is_some()).await;
    let freed = format!("DELETE /service/allocations/{UUID}");
    for _ in 0..100 {
        if cloud.placement.take_lines().contains(&freed) {
            return still_runs().await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the allocation stays");
}

async fn still_runs() {
    let cloud = Cloud::booted().await;
    let mut args = build(&cloud.nova);
    args["instance"]["nova_object.version"] = json!("garbage");
    cloud.nova.cast(HOST, "build_and_run_instance", args).await;
    cloud.nova.until("it was asked for", |db| db.find("Instance.save").is_some()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((cloud.field("vm_state"), cloud.container()), (json!("active"), Some(true)));
    assert!(cloud.nova.with(|db| db.find("InstanceFault.create").is_none()));
}

/// Covers: check_instance_shared_storage
#[tokio::test]
async fn no_disk_is_shared_with_another_host() {
    let cloud = Cloud::running(HOST).await;
    for data in [json!({"filename": "/var/lib/nova/instances/x"}), Value::Null] {
        let answer = cloud.nova.call(HOST, "check_instance_shared_storage", json!({"data": data})).await;
        assert_eq!(answer.unwrap(), json!(false));
    }
}

#[tokio::test]
async fn a_delete_during_a_build_ends_it_quietly() {
    let cloud = Cloud::running(HOST).await;
    // The image has to be fetched and glance does not answer: the build hangs there.
    cloud.docker(|docker| docker.no_images = true);
    cloud.boot(|args| args["image"]["id"] = json!(SLOW)).await;
    cloud.until("task_state", "spawning").await;
    cloud.ask("terminate_instance", "deleting", json!({"bdms": null})).await;
    cloud.nova.until("the row is gone", |db| db.instances.is_empty()).await;
    assert_eq!(cloud.container(), None);
    assert!(cloud.allocations_deleted());
    assert!(cloud.nova.with(|db| db.find("InstanceFault.create").is_none()));
}

/// Covers: terminate_instance
#[tokio::test]
async fn a_delete_removes_container_allocations_and_row() {
    let cloud = Cloud::booted().await;
    cloud.ask("terminate_instance", "deleting", json!({"bdms": null})).await;
    cloud.nova.until("the row is gone", |db| db.instances.is_empty()).await;
    cloud.until_event_ends().await;
    assert_eq!(cloud.container(), None);
    assert!(cloud.allocations_deleted());
    let save = cloud.nova.with(|db| db.find("Instance.save").cloned().unwrap());
    let saved = &save["objinst"]["nova_object.data"];
    assert_eq!((&saved["vm_state"], &saved["power_state"]), (&json!("deleted"), &json!(0)));
    assert!(saved["terminated_at"].is_string());
}

/// Covers: terminate_instance
#[tokio::test]
async fn a_delete_of_what_is_gone_is_no_error() {
    let cloud = Cloud::booted().await;
    let instance = cloud.nova.instance(UUID);
    cloud.nova.with(|db| db.instances.clear());
    cloud.nova.cast("h1", "terminate_instance", json!({"instance": instance})).await;
    cloud.until_event_ends().await;
    assert!(cloud.nova.with(|db| db.find("InstanceFault.create").is_none()));
    assert_eq!(cloud.container(), None);
}

#[tokio::test]
async fn a_build_that_comes_twice_does_not_touch_the_running_instance() {
    let cloud = Cloud::booted().await;
    cloud.nova.cast("h1", "build_and_run_instance", build(&cloud.nova)).await;
    cloud.nova.until("the second one was refused", |db| db.find("Instance.save").is_some()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!((cloud.container(), cloud.field("vm_state")), (Some(true), json!("active")));
    assert!(!cloud.allocations_deleted());
}

#[tokio::test]
async fn a_save_whose_answer_is_lost_is_not_done_twice() {
    let cloud = Cloud::running(HOST).await;
    // The first save is done, but the conductor dies before it says so.
    cloud.nova.with(|db| db.silent = Some(("Instance.save".into(), true)));
    cloud.boot(|_| {}).await;
    cloud.until("vm_state", "active").await;
    let names = cloud.nova.with(Database::take_names);
    let count = |name: &str| names.iter().filter(|called| *called == name).count();
    assert_eq!((count("Instance.save"), count("Instance.get_by_uuid")), (2, 1));
}

#[tokio::test]
async fn a_save_that_never_arrived_is_done_again() {
    let cloud = Cloud::running(HOST).await;
    cloud.nova.with(|db| db.silent = Some(("Instance.save".into(), false)));
    cloud.boot(|_| {}).await;
    cloud.until("vm_state", "active").await;
    assert_eq!(cloud.container(), Some(true));
}

/// Covers: stop_instance, start_instance, reboot_instance
#[tokio::test]
async fn stop_start_and_reboots_end_where_nova_ends_them() {
    let cloud = Cloud::booted().await;
    cloud.ask("stop_instance", "powering-off", json!({"clean_shutdown": true})).await;
    cloud.until("vm_state", "stopped").await;
    assert_eq!((cloud.container(), cloud.field("power_state")), (Some(false), json!(4)));
    cloud.ask("start_instance", "powering-on", json!({})).await;
    cloud.until("vm_state", "active").await;
    assert_eq!((cloud.container(), cloud.field("task_state")), (Some(true), Value::Null));
    for (kind, task) in [("SOFT", "rebooting"), ("HARD", "rebooting_hard")] {
        cloud.nova.with(Database::take_names);
        cloud.ask("reboot_instance", task, json!({"reboot_type": kind, "block_device_info": null})).await;
        cloud.until_event_ends().await;
        assert_eq!((cloud.container(), cloud.field("task_state")), (Some(true), Value::Null), "{kind}");
    }
}

#[tokio::test]
async fn a_hard_reboot_brings_back_a_container_that_is_gone() {
    let cloud = Cloud::booted().await;
    cloud.docker(|docker| docker.containers.clear());
    cloud.ask("reboot_instance", "rebooting_hard", json!({"reboot_type": "HARD"})).await;
    cloud.until_event_ends().await;
    assert_eq!((cloud.container(), cloud.field("vm_state")), (Some(true), json!("active")));
}

#[tokio::test]
async fn a_start_without_a_container_tells_the_user_what_to_do() {
    let cloud = Cloud::booted().await;
    cloud.docker(|docker| docker.containers.clear());
    cloud.ask("start_instance", "powering-on", json!({})).await;
    cloud.until_event_ends().await;
    cloud.nova.until("no task is left", |db| db.instances[UUID]["task_state"].is_null()).await;
    let fault = cloud.nova.with(|db| db.find("InstanceFault.create").cloned().unwrap());
    assert!(fault.to_string().contains("A hard reboot makes a new one"));
}

#[tokio::test]
async fn what_is_not_supported_is_refused_with_fault_event_and_no_task() {
    let cloud = Cloud::booted().await;
    cloud.ask("live_migration", "migrating", json!({})).await;
    cloud.nova.until("no task is left", |db| db.instances[UUID]["task_state"].is_null()).await;
    let finish =
        cloud.nova.with(|db| db.find("InstanceActionEvent.event_finish_with_failure").cloned().unwrap());
    assert_eq!(finish["args"], json!([UUID, "compute_live_migration"]));
    assert!(finish["kwargs"]["exc_val"].is_string() && finish["kwargs"]["exc_tb"].is_string());
    assert!(cloud.nova.with(|db| db.find("InstanceFault.create").is_some()));
    assert_eq!(cloud.field("vm_state"), json!("active"));
    let refused = cloud.nova.call("h1", "host_power_action", json!({"action": "reboot"})).await.unwrap_err();
    assert_eq!((refused.module.as_str(), refused.class.as_str()), ("builtins", "NotImplementedError"));
    let refused = cloud.nova.call("h1", "make_coffee", json!({})).await.unwrap_err();
    assert_eq!(refused.class, "NoSuchMethod");
    let refused = cloud.nova.call("h1", "stop_instance", json!({"instance": 5})).await.unwrap_err();
    assert_eq!(refused.class, "TypeError");
}

/// Covers: set_host_enabled, get_host_uptime
#[tokio::test]
async fn the_disabled_service_is_told_to_placement() {
    let cloud = Cloud::running(HOST).await;
    assert_eq!(
        cloud.nova.call("h1", "set_host_enabled", json!({"enabled": false})).await.unwrap(),
        json!("disabled")
    );
    assert_eq!(
        cloud.nova.call("h1", "set_host_enabled", json!({"enabled": true})).await.unwrap(),
        json!("enabled")
    );
    assert!(
        cloud
            .nova
            .call("h1", "get_host_uptime", json!({}))
            .await
            .unwrap()
            .as_str()
            .unwrap()
            .contains("load average")
    );
}

/// Covers: cache_images
#[tokio::test]
async fn images_are_fetched_before_they_are_needed_and_each_says_how_it_went() {
    let cloud = Cloud::booted().await;
    let ask = |ids: Value| cloud.nova.call("h1", "cache_images", json!({"image_ids": ids}));
    let states = ask(json!(["i-1", "i-none"])).await.unwrap();
    assert_eq!(states, json!({"i-1": "existing", "i-none": "error"}));
}

#[tokio::test]
async fn a_restart_picks_up_what_the_last_run_left() {
    let cloud = Cloud::booted().await;
    cloud.life.drain(Duration::from_secs(1)).await;
    let cloud = Cloud { nova: revived(&cloud.nova).await, life: Shutdown::new(), ..cloud };
    // Interrupted while it deleted, and another while it was built.
    let other = "00000000-0000-4000-8000-000000000001";
    cloud.nova.with(|db| {
        db.instances.get_mut(UUID).unwrap().insert("task_state".into(), json!("deleting"));
        let mut building = row("building", Some("spawning"));
        building.extend([("uuid".to_owned(), json!(other)), ("host".to_owned(), json!("h1"))]);
        db.instances.insert(other.into(), building);
    });
    cloud.agent(&cloud.life).await.unwrap();
    assert_eq!(cloud.container(), None);
    let (gone, built) = cloud.nova.with(|db| (!db.instances.contains_key(UUID), db.instances[other].clone()));
    assert!(gone);
    assert_eq!((&built["vm_state"], &built["task_state"]), (&json!("error"), &Value::Null));
}

#[tokio::test]
async fn a_restart_does_not_touch_running_containers() {
    let cloud = Cloud::booted().await;
    cloud.life.drain(Duration::from_secs(1)).await;
    let cloud = Cloud { nova: revived(&cloud.nova).await, life: Shutdown::new(), ..cloud };
    cloud.engine.take();
    cloud.agent(&cloud.life).await.unwrap();
    assert_eq!(cloud.container(), Some(true));
    let changing =
        cloud.engine.take().into_iter().filter(|request| request.method != "GET" && request.method != "HEAD");
    assert_eq!(changing.map(|request| request.line()).collect::<Vec<_>>(), Vec::<String>::new());
    assert!(cloud.nova.with(|db| db.find("Instance.save").is_none()));
}

/// Nova again, with the same database, for an agent that starts anew: the old one's broker has its queues.
async fn revived(nova: &Nova) -> Nova {
    let again = Nova::start(&Shutdown::new()).await;
    let rows = nova.with(std::mem::take);
    again.with(|db| *db = rows);
    again
}
