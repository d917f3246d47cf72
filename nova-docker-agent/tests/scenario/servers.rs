//! Boots, deletes, stops, starts and reboots of instances without ports, and requests that are refused.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::agent::Cloud;
use crate::support::glance::SLOW;
use crate::support::nova::{Database, object};
use crate::{CONTAINER, HOST, UUID, build, row};

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

#[tokio::test]
async fn builds_that_wait_come_before_the_notes_of_those_that_are_done() {
    const OTHER: &str = "5d206834-23ab-4b5d-a236-4608f438a9e2";
    let cloud = Cloud { adjust: |config| config.max_concurrent_builds = 1, ..Cloud::new(HOST).await };
    cloud.agent(&cloud.life).await.unwrap();
    let mut other = row("building", Some("scheduling"));
    other.insert("uuid".into(), json!(OTHER));
    cloud.nova.with(|db| db.instances.insert(OTHER.into(), other));
    cloud.boot(|_| {}).await;
    let mut second = build(&cloud.nova);
    second["instance"] = cloud.nova.instance(OTHER);
    cloud.nova.cast(HOST, "build_and_run_instance", second).await;

    const END: &str = "InstanceActionEvent.event_finish_with_failure";
    let ended = |db: &mut Database| db.log.iter().filter(|sent| sent.name == END).count() == 2;
    cloud.nova.until("both builds are noted", ended).await;
    let names = cloud.nova.with(Database::take_names);
    let saves = names.iter().take_while(|name| *name != END).filter(|name| *name == "Instance.save").count();
    assert_eq!(saves, 4, "{names:?}");
}

/// Covers: build_and_run_instance, terminate_instance
#[tokio::test]
async fn the_flavors_ephemeral_disk_and_swap_are_the_guests_and_go_with_it() {
    let cloud = Cloud::running(HOST).await;
    cloud.docker(|docker| docker.quota = true);
    let blank = |id: u32, format: Value| {
        let data = json!({"id": id, "uuid": UUID, "instance_uuid": UUID, "boot_index": -1, "source_type": "blank",
                          "destination_type": "local", "guest_format": format, "device_name": null});
        object("BlockDeviceMapping", "1.21", data.as_object().cloned().unwrap())
    };
    cloud
        .boot(|args| {
            let flavor = &mut args["instance"]["nova_object.data"]["flavor"]["nova_object.data"];
            flavor["ephemeral_gb"] = json!(2);
            flavor["swap"] = json!(32);
            let disks = &mut args["block_device_mapping"]["nova_object.data"]["objects"];
            disks.as_array_mut().unwrap().extend([blank(2, json!("swap")), blank(3, Value::Null)]);
        })
        .await;
    cloud.until("vm_state", "active").await;
    cloud.until_event_ends().await;
    let volume = format!("{CONTAINER}-ephemeral0");
    let (body, volumes) = cloud.docker(|docker| (docker.bodies[CONTAINER].clone(), docker.volumes.clone()));
    let mount = json!(format!("{volume}:/mnt:nocopy"));
    assert!(body["HostConfig"]["Binds"].as_array().unwrap().contains(&mount), "{body}");
    assert_eq!(
        (&body["HostConfig"]["Memory"], &body["HostConfig"]["MemorySwap"]),
        (&json!(64 << 20), &json!(96 << 20))
    );
    // That engine limits containers, but no volumes.
    assert_eq!(
        (body["HostConfig"]["StorageOpt"]["size"].as_str(), volumes[&volume].get("size")),
        (Some("1G"), None)
    );
    let named =
        |db: &mut Database| db.log.iter().filter(|sent| sent.name == "BlockDeviceMapping.save").count() == 3;
    cloud.nova.until("the disks have names", named).await;
    let names = cloud.nova.with(|db| {
        let saved = db.log.iter().filter(|sent| sent.name == "BlockDeviceMapping.save");
        saved.map(|sent| sent.args["objinst"]["nova_object.data"]["device_name"].clone()).collect::<Vec<_>>()
    });
    assert_eq!(
        names,
        ["/dev/sda", "/dev/sdc", "/dev/sdb"],
        "the ephemeral disk, the third row, comes before swap"
    );
    cloud.ask("terminate_instance", "deleting", json!({"bdms": []})).await;
    cloud.nova.until("it is gone", |db| db.instances.is_empty()).await;
    assert!(cloud.docker(|docker| docker.volumes.is_empty() && docker.containers.is_empty()));
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

/// Covers: cache_images
#[tokio::test]
async fn images_are_fetched_before_they_are_needed_and_each_says_how_it_went() {
    let cloud = Cloud::booted().await;
    let ask = |ids: Value| cloud.nova.call("h1", "cache_images", json!({"image_ids": ids}));
    let states = ask(json!(["i-1", "i-none"])).await.unwrap();
    assert_eq!(states, json!({"i-1": "existing", "i-none": "error"}));
}
