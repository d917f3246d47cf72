//! Every method with arguments that are missing, of another type, unknown or of a newer version: the caller gets an exception
//! it can rebuild, and the next request is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};

use common::messaging::RemoteError;
use futures_util::{StreamExt, stream};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

use crate::support::nova::{Database, object};
use crate::{Cloud, HOST, networks, row};

/// How many requests are under way at a time.
const AT_ONCE: usize = 16;

/// Other types that are tried for each argument.
const TRIES: usize = 6;

/// What `nova.compute.rpcapi` sends. An argument is of the same kind in every method (see [`good`]).
const ARGUMENTS: &[(&str, &str)] = &[
    (
        "build_and_run_instance",
        "instance image request_spec filter_properties admin_password injected_files requested_networks security_groups \
         block_device_mapping node limits host_list accel_uuids",
    ),
    ("terminate_instance", "instance bdms"),
    ("soft_delete_instance", "instance"),
    ("restore_instance", "instance"),
    ("start_instance", "instance"),
    ("stop_instance", "instance clean_shutdown"),
    ("reboot_instance", "instance block_device_info reboot_type"),
    ("pause_instance", "instance"),
    ("unpause_instance", "instance"),
    ("suspend_instance", "instance"),
    ("resume_instance", "instance"),
    ("rescue_instance", "instance rescue_password clean_shutdown rescue_image_ref"),
    ("unrescue_instance", "instance"),
    ("set_admin_password", "instance new_pass"),
    ("trigger_crash_dump", "instance"),
    ("snapshot_instance", "instance image_id"),
    ("backup_instance", "instance image_id backup_type rotation"),
    (
        "rebuild_instance",
        "instance new_pass injected_files image_ref orig_image_ref orig_sys_metadata bdms recreate on_shared_storage \
         preserve_ephemeral migration scheduled_node limits request_spec accel_uuids reimage_boot_volume target_state",
    ),
    ("cache_images", "image_ids"),
    ("volume_snapshot_create", "instance volume_id create_info"),
    ("volume_snapshot_delete", "instance volume_id snapshot_id delete_info"),
    ("quiesce_instance", "instance"),
    ("unquiesce_instance", "instance mapping"),
    ("shelve_instance", "instance image_id clean_shutdown accel_uuids"),
    ("shelve_offload_instance", "instance clean_shutdown accel_uuids"),
    ("unshelve_instance", "instance image filter_properties node request_spec accel_uuids"),
    ("attach_interface", "instance network_id port_id requested_ip tag"),
    ("detach_interface", "instance port_id"),
    ("add_fixed_ip_to_instance", "instance network_id"),
    ("remove_fixed_ip_from_instance", "instance address"),
    ("inject_network_info", "instance"),
    ("external_instance_event", "instances events"),
    ("reserve_block_device_name", "instance device volume_id disk_bus device_type tag multiattach"),
    ("attach_volume", "instance bdm"),
    ("detach_volume", "instance volume_id attachment_id"),
    ("swap_volume", "instance old_volume_id new_volume_id new_attachment_id"),
    ("remove_volume_connection", "instance volume_id delete_attachment"),
    ("allow_share", "instance share_mapping"),
    ("deny_share", "instance share_mapping"),
    ("get_console_output", "instance tail_length"),
    ("get_serial_console", "instance console_type"),
    ("validate_console_port", "instance port console_type"),
    ("get_vnc_console", "instance console_type"),
    ("get_spice_console", "instance console_type"),
    ("get_mks_console", "instance console_type"),
    ("get_rdp_console", "instance console_type"),
    ("get_diagnostics", "instance"),
    ("get_instance_diagnostics", "instance"),
    (
        "prep_resize",
        "instance image flavor request_spec filter_properties node clean_shutdown migration host_list",
    ),
    ("resize_instance", "instance migration image flavor clean_shutdown request_spec"),
    ("finish_resize", "disk_info image instance migration request_spec"),
    ("confirm_resize", "instance migration"),
    ("revert_resize", "instance migration request_spec"),
    ("finish_revert_resize", "instance migration request_spec"),
    ("check_instance_shared_storage", "data"),
    ("prep_snapshot_based_resize_at_dest", "instance flavor nodename migration limits"),
    ("prep_snapshot_based_resize_at_source", "instance migration snapshot_id"),
    ("finish_snapshot_based_resize_at_dest", "instance migration snapshot_id"),
    ("confirm_snapshot_based_resize_at_source", "instance migration"),
    ("revert_snapshot_based_resize_at_dest", "instance migration"),
    ("finish_revert_snapshot_based_resize_at_source", "instance migration"),
    ("check_can_live_migrate_destination", "instance block_migration disk_over_commit migration limits"),
    ("check_can_live_migrate_source", "instance dest_check_data"),
    ("pre_live_migration", "instance disk migrate_data"),
    ("live_migration", "instance dest block_migration migrate_data migration"),
    ("post_live_migration_at_destination", "instance block_migration"),
    ("rollback_live_migration_at_destination", "instance destroy_disks migrate_data"),
    ("drop_move_claim_at_destination", "instance"),
    ("live_migration_force_complete", "instance"),
    ("live_migration_abort", "instance migration_id"),
    ("set_host_enabled", "enabled"),
    ("get_host_uptime", ""),
    ("host_power_action", "action"),
    ("host_maintenance_mode", "host mode"),
];

/// An instance for each request, so that they do not wait for one another.
fn fresh_instance(cloud: &Cloud) -> (String, Value) {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let uuid = format!("00000000-0000-4000-9000-{:012}", NEXT.fetch_add(1, Ordering::Relaxed));
    let mut row = row("active", None);
    row.extend([("uuid".to_owned(), json!(uuid)), ("host".to_owned(), json!(HOST))]);
    cloud.docker(|docker| docker.put(&uuid, HOST, true));
    cloud.nova.with(|db| db.instances.insert(uuid.clone(), row));
    let instance = cloud.nova.instance(&uuid);
    (uuid, instance)
}

fn of(class: &str, version: &str, data: Value) -> Value {
    object(class, version, data.as_object().cloned().unwrap())
}

/// What an argument of this name should be.
fn good(name: &str, instance: &Value) -> Value {
    let uuid = &instance["nova_object.data"]["uuid"];
    let migration = json!({"id": 1, "uuid": uuid, "instance_uuid": uuid, "status": "migrating", "source_compute": HOST,
                           "dest_compute": HOST, "migration_type": "resize"});
    match name {
        "instance" => instance.clone(),
        "instances" => json!([instance]),
        "migration" => of("Migration", "1.8", migration),
        "flavor" => instance["nova_object.data"]["flavor"].clone(),
        "request_spec" => of("RequestSpec", "1.15", json!({"id": 9})),
        "requested_networks" => networks(&[json!({"network_id": "none"})]),
        "block_device_mapping" | "bdms" => of("BlockDeviceMappingList", "1.18", json!({"objects": []})),
        "bdm" => of("BlockDeviceMapping", "1.21", json!({"id": 1, "volume_id": "v"})),
        "share_mapping" => of("ShareMapping", "1.2", json!({"id": 1, "status": "attaching"})),
        "events" => {
            json!([of(
                "InstanceExternalEvent",
                "1.5",
                json!({"instance_uuid": uuid, "name": "network-changed", "tag": null, "status": "completed", "data": {}})
            )])
        }
        "image" => {
            json!({"id": "i-1", "checksum": "abc", "container_format": "docker", "disk_format": "raw"})
        }
        "image_ids" | "injected_files" | "security_groups" | "host_list" | "accel_uuids" | "mapping" => {
            json!([])
        }
        "filter_properties" | "limits" | "data" | "create_info" | "delete_info" | "orig_sys_metadata" => {
            json!({})
        }
        "on_shared_storage"
        | "preserve_ephemeral"
        | "reimage_boot_volume"
        | "enabled"
        | "clean_shutdown"
        | "recreate"
        | "multiattach"
        | "delete_attachment" => json!(true),
        "rotation" | "migration_id" => json!(1),
        "reboot_type" => json!("HARD"),
        "tail_length" | "block_device_info" => Value::Null,
        _ => json!("some-text"),
    }
}

/// Any JSON of a few levels.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        Just(json!({"nova_object.name": "Instance", "nova_object.version": "2.8"})),
        Just(json!({"nova_object.name": 1, "nova_object.version": [], "nova_object.data": "x"})),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The object, and those in it, in another version and with a field that nobody knows.
fn versioned(value: &Value, change: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Map<String, Value> =
                fields.iter().map(|(name, value)| (name.clone(), versioned(value, change))).collect();
            if let Some(version) = fields.get("nova_object.version").and_then(Value::as_str).map(change) {
                fields.insert("nova_object.version".into(), json!(version));
                fields["nova_object.data"]["colour"] = json!({"of": ["a", "later", "release"]});
            }
            Value::Object(fields)
        }
        Value::Array(values) => values.iter().map(|value| versioned(value, change)).collect(),
        other => other.clone(),
    }
}

/// What is wrong with one request.
#[derive(Clone, Debug)]
enum Wrong {
    Missing(&'static str),
    Mistyped(&'static str, Value),
    Unknown(Value),
    NewerMinor(&'static str),
    NewerMajor(&'static str),
}

impl Wrong {
    fn args(&self, names: &str, instance: &Value) -> Map<String, Value> {
        let mut args: Map<String, Value> =
            names.split_whitespace().map(|name| (name.to_owned(), good(name, instance))).collect();
        match self {
            Self::Missing(name) => drop(args.remove(*name)),
            Self::Mistyped(name, value) => drop(args.insert((*name).to_owned(), value.clone())),
            Self::Unknown(value) => drop(args.insert("of_a_later_release".into(), value.clone())),
            Self::NewerMinor(name) => {
                let newer = versioned(&args[*name], &|version| format!("{version}9"));
                args.insert((*name).to_owned(), newer);
            }
            Self::NewerMajor(name) => {
                let newer = versioned(&args[*name], &|_| "9.0".into());
                args.insert((*name).to_owned(), newer);
            }
        }
        args
    }
}

/// All that can be wrong with the arguments of a method.
fn wrongs(names: &'static str, runner: &mut TestRunner) -> Vec<Wrong> {
    let mut any = || anything().new_tree(runner).unwrap().current();
    let mut wrongs = vec![Wrong::Unknown(any())];
    for name in names.split_whitespace() {
        wrongs.push(Wrong::Missing(name));
        wrongs.extend((0..TRIES).map(|_| Wrong::Mistyped(name, any())));
        wrongs.extend([Wrong::NewerMinor(name), Wrong::NewerMajor(name)]);
    }
    wrongs
}

/// That nova-api can rebuild the exception, and that it is none of a defect.
fn assert_clean(what: &str, error: &RemoteError) {
    let modules = ["nova.exception", "builtins", "oslo_messaging.rpc.dispatcher"];
    assert!(modules.contains(&error.module.as_str()) && !error.class.is_empty(), "{what}: {error:?}");
    assert!(error.class != "RuntimeError", "{what}: {error:?}");
    assert!(!error.message.is_empty() && error.args == [json!(error.message)], "{what}: {error:?}");
    let code = error.kwargs.get("code").and_then(Value::as_u64);
    assert_eq!(
        code.is_some_and(|code| (400..600).contains(&code)),
        error.module == "nova.exception",
        "{what}: {error:?}"
    );
}

/// `tests/COVERAGE.md`
fn table() -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/COVERAGE.md");
    std::fs::read_to_string(path).unwrap()
}

/// The methods of `tests/COVERAGE.md`, which another test compares with the dispatch list, with how each is answered.
fn methods() -> Vec<(String, bool)> {
    let rows = table();
    let rows = rows.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.filter(|(name, _)| !["ping", "get_backdoor_port"].contains(name))
        .map(|(name, rest)| (name.to_owned(), rest.contains("| carried out |")))
        .collect()
}

/// Covers: every method
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_arguments_are_answered_with_an_exception_that_can_be_rebuilt() {
    let methods = methods();
    let named: BTreeSet<&str> = ARGUMENTS.iter().map(|(method, _)| *method).collect();
    assert_eq!(named, methods.iter().map(|(method, _)| method.as_str()).collect::<BTreeSet<_>>());
    let cloud = Cloud::running(HOST).await;
    // A method whose other arguments are good goes all the way.
    cloud.nova.with(|db| db.any_state = true);
    let mut runner = TestRunner::deterministic();
    for (method, names) in ARGUMENTS {
        let carried_out = methods.iter().any(|(name, carried_out)| name == method && *carried_out);
        let requests = stream::iter(wrongs(names, &mut runner)).map(|wrong| {
            let cloud = &cloud;
            async move {
                let (uuid, instance) = fresh_instance(cloud);
                let args = Value::Object(wrong.args(names, &instance));
                let what = format!("{method} with {wrong:?}");
                let answer = cloud.nova.call(HOST, method, args).await;
                cloud.nova.with(|db| db.instances.remove(&uuid));
                cloud.docker(|docker| docker.containers.remove(&format!("nova-{uuid}")));
                if let Err(error) = &answer {
                    assert_clean(&what, error);
                }
                let unreadable = matches!(wrong, Wrong::Missing("instance") | Wrong::Mistyped("instance", _));
                if carried_out && unreadable {
                    assert_eq!(answer.unwrap_err().class, "TypeError", "{what}");
                } else if let (Wrong::NewerMajor("request_spec"), Err(error)) = (&wrong, &answer) {
                    assert!(error.message.contains("RequestSpec"), "{what}: {error}");
                } else if let (Wrong::NewerMajor(_), Err(error)) = (&wrong, &answer) {
                    assert_ne!(error.class, "TypeError", "{what}: {error}");
                }
            }
        });
        requests.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
        let uptime = cloud.nova.call(HOST, "get_host_uptime", json!({})).await.unwrap();
        assert!(uptime.as_str().unwrap().contains("load average"), "after {method}");
    }
}

/// Covers: trigger_crash_dump, volume_snapshot_create, volume_snapshot_delete, quiesce_instance, unquiesce_instance
/// Covers: reserve_block_device_name, attach_volume, detach_volume, swap_volume, remove_volume_connection
/// Covers: allow_share, deny_share, get_vnc_console, get_spice_console, get_mks_console, get_rdp_console
/// Covers: prep_snapshot_based_resize_at_dest, prep_snapshot_based_resize_at_source
/// Covers: finish_snapshot_based_resize_at_dest, confirm_snapshot_based_resize_at_source
/// Covers: revert_snapshot_based_resize_at_dest, finish_revert_snapshot_based_resize_at_source
/// Covers: check_can_live_migrate_destination, check_can_live_migrate_source, pre_live_migration, live_migration
/// Covers: post_live_migration_at_destination, rollback_live_migration_at_destination, drop_move_claim_at_destination
/// Covers: live_migration_force_complete, live_migration_abort, host_power_action, host_maintenance_mode
#[tokio::test]
async fn what_a_container_cannot_do_is_refused_as_the_table_says() {
    let cloud = Cloud::running(HOST).await;
    let table = table();
    let answers: BTreeMap<&str, &str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter_map(|(method, rest)| Some((method, rest.split(" | ").nth(1)?)))
        .collect();
    let mut refused = 0;
    for (method, names) in ARGUMENTS {
        let expected = answers[method];
        if expected == "carried out" {
            continue;
        }
        let (uuid, instance) = fresh_instance(&cloud);
        let args = names.split_whitespace().map(|name| (name.to_owned(), good(name, &instance)));
        match cloud.nova.call(HOST, method, Value::Object(args.collect())).await {
            Ok(answer) => assert_eq!((expected, answer), ("nothing to do", Value::Null), "{method}"),
            Err(error) => {
                let code = error.kwargs.get("code").and_then(Value::as_i64).unwrap_or(501);
                assert_eq!(format!("refused: {} ({code})", error.class), expected, "{method}");
                refused += 1;
            }
        }
        // The server stays what it was, and may be asked for something else.
        let row = cloud.nova.with(|db| db.instances[&uuid].clone());
        assert_eq!((&row["vm_state"], &row["task_state"]), (&json!("active"), &Value::Null), "{method}");
    }
    assert!(refused > 20, "{refused} were refused");
}

#[tokio::test]
async fn an_instance_of_a_newer_release_is_converted_by_the_conductor() {
    let cloud = Cloud::booted().await;
    cloud.nova.with(|db| {
        db.instances.get_mut(crate::UUID).unwrap().insert("task_state".into(), json!("powering-off"))
    });
    let instance = versioned(&cloud.nova.instance(crate::UUID), &|_| "3.0".into());
    let args = json!({"instance": instance, "clean_shutdown": true});
    cloud.nova.call(HOST, "stop_instance", args).await.unwrap();
    assert_eq!(cloud.field("vm_state"), json!("stopped"));
    let asked = cloud.nova.with(|db| db.find("object_backport_versions").cloned().unwrap());
    assert_eq!(asked["object_versions"]["Instance"], "2.8");
    assert_eq!(asked["objinst"]["nova_object.version"], "3.0");
}

#[tokio::test]
async fn a_newer_minor_version_is_converted_only_where_it_cannot_be_read_as_it_is() {
    let cloud = Cloud::booted().await;
    let newer = |host_name: Value| {
        let mut instance = versioned(&cloud.nova.instance(crate::UUID), &|version| format!("{version}9"));
        instance["nova_object.data"]["hostname"] = host_name;
        json!({"events": [], "instances": [instance]})
    };
    let conversions =
        || cloud.nova.with(|db| db.log.iter().filter(|sent| sent.name == "object_backport_versions").count());
    cloud.nova.call(HOST, "external_instance_event", newer(json!("rec1"))).await.unwrap();
    assert_eq!(conversions(), 0);
    let odd = json!({"before": "rec1", "labels": ["rec1", "example.org"]});
    cloud.nova.call(HOST, "external_instance_event", newer(odd)).await.unwrap();
    assert_eq!(conversions(), 1);
}

#[tokio::test]
async fn what_cannot_be_converted_is_told_in_a_class_that_nova_api_knows() {
    let cloud = Cloud::booted().await;
    let spec = of("RequestSpec", "2.0", json!({"id": 9}));
    let args = json!({"instance": cloud.nova.instance(crate::UUID), "request_spec": spec});
    let error = cloud.nova.call(HOST, "stop_instance", args).await.unwrap_err();
    assert_eq!((error.module.as_str(), error.class.as_str()), ("nova.exception", "NovaException"));
    assert!(error.message.contains("Version 2.0 of RequestSpec"), "{error}");
}

#[tokio::test]
async fn arguments_that_cannot_be_read_leave_a_fault_an_event_and_no_task() {
    let cloud = Cloud::booted().await;
    cloud.ask("stop_instance", "powering-off", json!({"clean_shutdown": {"not": "a bool"}})).await;
    cloud.nova.until("no task is left", |db| db.instances[crate::UUID]["task_state"].is_null()).await;
    let (fault, end) = cloud.nova.with(|db: &mut Database| {
        (
            db.find("InstanceFault.create").cloned().unwrap(),
            db.find("InstanceActionEvent.event_finish_with_failure").cloned().unwrap(),
        )
    });
    assert!(fault.to_string().contains("the arguments of stop_instance cannot be used"), "{fault}");
    assert!(end["kwargs"]["exc_tb"].is_string(), "{end}");
    assert_eq!((cloud.container(), cloud.field("vm_state")), (Some(true), json!("active")));
}
