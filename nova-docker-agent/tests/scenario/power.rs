//! Freezing, soft deletes, passwords: what each leaves, also when it fails, and when the agent is killed in the middle.

use std::time::Duration;

use common::shutdown::Shutdown;
use serde_json::{Value, json};

use crate::support::dockerd::Asked;
use crate::support::neutron::NETWORK;
use crate::support::nova::{Database, object};
use crate::{CONTAINER, Cloud, UUID, revived};

const SANDBOX: &str = "nova-2d206834-23ab-4b5d-a236-4608f438a9e2-net";

/// An operation: its method, the state it begins in and its task, what it asks dockerd in this order, and the state it
/// ends in.
struct Operation {
    method: &'static str,
    from: &'static str,
    task: &'static str,
    asks: &'static [Asked],
    to: &'static str,
    /// The container's state at the end.
    ends: &'static str,
}

const fn operation(
    (method, asks): (&'static str, &'static [Asked]),
    task: &'static str,
    (from, to, ends): (&'static str, &'static str, &'static str),
) -> Operation {
    Operation { method, from, task, asks, to, ends }
}

const OFF: &[Asked] = &[(CONTAINER, "stop"), (SANDBOX, "stop")];
const ON: &[Asked] = &[(SANDBOX, "start"), (CONTAINER, "start")];

const OPERATIONS: [Operation; 8] = [
    operation(("pause_instance", &[(CONTAINER, "pause")]), "pausing", ("active", "paused", "frozen")),
    operation(("unpause_instance", &[(CONTAINER, "unpause")]), "unpausing", ("paused", "active", "running")),
    operation(("suspend_instance", &[(CONTAINER, "pause")]), "suspending", ("active", "suspended", "frozen")),
    operation(("resume_instance", &[(CONTAINER, "unpause")]), "resuming", ("suspended", "active", "running")),
    operation(("soft_delete_instance", OFF), "soft-deleting", ("active", "soft-delete", "off")),
    operation(("restore_instance", ON), "restoring", ("soft-delete", "active", "running")),
    operation(("stop_instance", OFF), "powering-off", ("active", "stopped", "off")),
    operation(("start_instance", ON), "powering-on", ("stopped", "active", "running")),
];

impl Cloud {
    fn stands(&self) -> &'static str {
        self.docker(|docker| match docker.containers.get(CONTAINER) {
            None => "gone",
            Some(true) if docker.frozen.contains(CONTAINER) => "frozen",
            Some(true) => "running",
            Some(false) => "off",
        })
    }

    async fn does(&self, operation: &Operation) {
        self.ask(operation.method, operation.task, json!({"clean_shutdown": true})).await;
    }

    async fn until_settled(&self, vm_state: &'static str) {
        let settled = |db: &mut Database| {
            let row = &db.instances[UUID];
            row["vm_state"] == vm_state && row["task_state"].is_null()
        };
        self.nova.until(&format!("it is {vm_state} without a task"), settled).await;
    }

    /// An instance with a port, in the state in which `operation` begins.
    async fn before(operation: &Operation) -> Self {
        let cloud = Self::connected().await;
        for earlier in &OPERATIONS {
            if earlier.from == "active" && earlier.to == operation.from {
                cloud.does(earlier).await;
                cloud.until_settled(earlier.to).await;
                cloud.until_event_ends().await;
            }
        }
        cloud.nova.with(Database::take_names);
        cloud
    }

    /// How it has to be when an operation is over.
    fn is_as_after(&self, operation: &Operation, when: &str) {
        let Operation { method, to, ends, .. } = operation;
        assert_eq!(self.field("vm_state"), json!(to), "{method} {when}");
        assert_eq!((self.field("task_state"), self.stands()), (Value::Null, *ends), "{method} {when}");
        // What is off is off the network, too.
        let on = *ends != "off";
        assert_eq!(self.wiring.ports().len(), usize::from(on), "{method} {when}");
        assert_eq!(self.docker(|docker| docker.containers[SANDBOX]), on, "{method} {when}");
        match *ends {
            "frozen" => {
                assert!(!self.wiring.silent.lock().unwrap().is_empty(), "{method} {when}: its NICs speak")
            }
            "running" => {
                assert!(self.wiring.silent.lock().unwrap().is_empty(), "{method} {when}: silent NICs")
            }
            _ => {}
        }
        let power = match (*to, *ends) {
            ("suspended", _) => 7,
            (_, "frozen") => 3,
            (_, "running") => 1,
            _ => 4,
        };
        assert_eq!(self.field("power_state"), json!(power), "{method} {when}");
        assert_eq!(
            self.field("system_metadata")["old_vm_state"].is_string(),
            *to == "suspended",
            "{method} {when}"
        );
    }

    /// Kills the agent as soon as it waits for an answer that never comes, and starts another.
    pub(crate) async fn killed_and_started(self) -> Self {
        self.life.drain(Duration::ZERO).await;
        let cloud = Self { nova: revived(&self.nova).await, life: Shutdown::new(), ..self };
        cloud.agent(&cloud.life).await.unwrap();
        cloud
    }
}

/// Covers: pause_instance, unpause_instance, suspend_instance, resume_instance, soft_delete_instance, restore_instance
#[tokio::test]
async fn each_operation_ends_where_nova_ends_it() {
    for operation in &OPERATIONS {
        let cloud = Cloud::before(operation).await;
        cloud.does(operation).await;
        cloud.until_event_ends().await;
        cloud.is_as_after(operation, "");
        let finish =
            cloud.nova.with(|db| db.find("InstanceActionEvent.event_finish_with_failure").cloned().unwrap());
        assert_eq!(finish["args"], json!([UUID, format!("compute_{}", operation.method)]));
        assert!(finish["kwargs"]["exc_tb"].is_null(), "{finish}");
        let saves = cloud.nova.with(|db| db.log.iter().filter(|sent| sent.name == "Instance.save").count());
        assert_eq!(saves, 1, "{}", operation.method);
    }
}

#[tokio::test]
async fn what_docker_refuses_leaves_the_states_that_nova_leaves() {
    for operation in &OPERATIONS {
        // That a sandbox does not stop is no reason for a server not to be off.
        for asked in operation.asks.iter().filter(|asked| **asked != (SANDBOX, "stop")) {
            let cloud = Cloud::before(operation).await;
            cloud.docker(|docker| docker.refuse = Some((*asked, 500, "no luck today")));
            cloud.does(operation).await;
            cloud.until_event_ends().await;
            cloud.nova.until("the task is reverted", |db| db.instances[UUID]["task_state"].is_null()).await;
            // Nova gives up on an instance that could not be suspended or resumed; all others stay as they were.
            let stays = match operation.method {
                "suspend_instance" | "resume_instance" => "error",
                _ => operation.from,
            };
            assert_eq!(cloud.field("vm_state"), json!(stays), "{}", operation.method);
            let (fault, finish) = cloud.nova.with(|db| {
                let find = |name: &str| db.find(name).cloned().unwrap();
                (find("InstanceFault.create"), find("InstanceActionEvent.event_finish_with_failure"))
            });
            let fault = &fault["objinst"]["nova_object.data"];
            assert!(fault["message"].as_str().unwrap().contains("no luck today"), "{fault}");
            assert!(finish["kwargs"]["exc_tb"].is_string(), "{finish}");
        }
    }
}

#[tokio::test]
async fn an_agent_that_is_killed_while_docker_works_ends_it_when_it_comes_back() {
    for (operation, done) in OPERATIONS.iter().flat_map(|each| [(each, false), (each, true)]) {
        for asked in operation.asks {
            let when = format!("killed while {asked:?} was {}done", if done { "" } else { "not " });
            let cloud = Cloud::before(operation).await;
            cloud.docker(|docker| docker.silent = Some((*asked, done)));
            cloud.does(operation).await;
            while cloud.docker(|docker| docker.silent.is_some()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let cloud = cloud.killed_and_started().await;
            if operation.method == "pause_instance" && !done {
                // As in Nova: it runs, so nothing has happened.
                cloud.until_settled("active").await;
                assert_eq!(cloud.stands(), "running");
            } else {
                cloud.until_settled(operation.to).await;
                cloud.is_as_after(operation, &when);
            }
        }
    }
}

#[tokio::test]
async fn an_agent_that_is_killed_while_nova_saves_ends_it_when_it_comes_back() {
    for (operation, done) in OPERATIONS.iter().flat_map(|each| [(each, false), (each, true)]) {
        let when = format!("killed while the conductor had {}saved it", if done { "" } else { "not " });
        let cloud = Cloud::before(operation).await;
        cloud.nova.with(|db| db.silent = Some(("Instance.save".into(), done)));
        cloud.does(operation).await;
        cloud.nova.until("the save was begun", |db| db.silent.is_none()).await;
        let cloud = cloud.killed_and_started().await;
        cloud.until_settled(operation.to).await;
        cloud.is_as_after(operation, &when);
    }
}

#[tokio::test]
async fn a_frozen_instance_is_stopped_rebooted_and_deleted_as_any_other() {
    let paused = &OPERATIONS[1];
    let cloud = Cloud::before(paused).await;
    cloud.ask("reboot_instance", "rebooting_hard", json!({"reboot_type": "HARD"})).await;
    cloud.until_settled("active").await;
    assert_eq!(cloud.stands(), "running");

    let cloud = Cloud::before(paused).await;
    cloud.ask("stop_instance", "powering-off", json!({"clean_shutdown": true})).await;
    cloud.until_settled("stopped").await;
    cloud.is_as_after(&OPERATIONS[6], "from frozen");

    let cloud = Cloud::before(&OPERATIONS[3]).await;
    cloud.ask("terminate_instance", "deleting", json!({})).await;
    cloud.nova.until("the row is gone", |db| db.instances.is_empty()).await;
    assert_eq!((cloud.stands(), cloud.wiring.ports().len()), ("gone", 0));
}

#[tokio::test]
async fn a_suspended_instance_that_the_host_lost_starts_again_and_one_without_a_container_does_not() {
    let resume = &OPERATIONS[3];
    let cloud = Cloud::before(resume).await;
    cloud.docker(|docker| {
        docker.frozen.clear();
        docker.containers.insert(CONTAINER.into(), false);
        docker.containers.insert(SANDBOX.into(), false);
    });
    cloud.does(resume).await;
    cloud.until_settled("active").await;
    assert_eq!(cloud.stands(), "running");

    let cloud = Cloud::before(resume).await;
    cloud.docker(|docker| (docker.frozen.clear(), docker.containers.remove(CONTAINER)));
    cloud.does(resume).await;
    cloud.until_settled("error").await;
    let fault = cloud.nova.with(|db| db.find("InstanceFault.create").cloned().unwrap());
    assert!(fault.to_string().contains("A hard reboot makes a new one"), "{fault}");
}

/// Covers: soft_delete_instance, terminate_instance
#[tokio::test]
async fn a_soft_deleted_instance_can_be_deleted_for_good() {
    let cloud = Cloud::before(&OPERATIONS[5]).await;
    cloud.ask("terminate_instance", "deleting", json!({})).await;
    cloud.nova.until("the row is gone", |db| db.instances.is_empty()).await;
    assert_eq!(cloud.stands(), "gone");
    assert!(cloud.allocations_deleted());
}

#[tokio::test]
async fn a_host_that_was_rebooted_starts_its_guests_again_if_it_is_told_to() {
    for (resume, refuse, vm_state, stands) in
        [(false, false, "active", "off"), (true, false, "active", "running"), (true, true, "error", "off")]
    {
        let mut cloud = Cloud::connected().await;
        if resume {
            cloud.adjust = |config| config.resume_guests_state_on_host_boot = true;
        }
        // The power sync would stop what is off, in the place of the user.
        cloud.docker(|docker| {
            docker.containers.insert(CONTAINER.into(), false);
            docker.containers.insert(SANDBOX.into(), false);
            docker.refuse_start = refuse.then_some((500, "no luck today"));
        });
        let cloud = cloud.killed_and_started().await;
        assert_eq!((cloud.field("vm_state"), cloud.stands()), (json!(vm_state), stands), "{resume} {refuse}");
    }
}

#[tokio::test]
async fn a_port_that_cannot_be_plugged_is_an_error_of_its_instance_at_the_start() {
    for (kind, vm_state) in [("ovs", "active"), ("binding_failed", "error")] {
        let cloud = Cloud::connected().await;
        cloud.nova.with(|db| {
            let mut vifs: Value = serde_json::from_str(&db.caches[UUID]).unwrap();
            vifs[0]["type"] = json!(kind);
            let cache = json!({"instance_uuid": UUID, "network_info": vifs.to_string()});
            let cache = object("InstanceInfoCache", "1.5", cache.as_object().cloned().unwrap());
            db.instances.get_mut(UUID).unwrap().insert("info_cache".into(), cache);
        });
        let cloud = cloud.killed_and_started().await;
        assert_eq!((cloud.field("vm_state"), cloud.stands()), (json!(vm_state), "running"), "{kind}");
    }
}

#[tokio::test]
async fn a_stopped_instance_that_was_made_without_ports_gets_the_one_it_was_given_after_a_restart_of_the_agent()
 {
    let cloud = Cloud::booted().await;
    let args = json!({"instance": cloud.nova.instance(UUID), "network_id": NETWORK, "port_id": null,
        "requested_ip": null, "tag": null});
    cloud.nova.call("h1", "attach_interface", args).await.unwrap();
    let stop = &OPERATIONS[6];
    cloud.does(stop).await;
    cloud.until_settled("stopped").await;
    // The kernel takes the NIC along with the namespace of the container.
    cloud.wiring.plugged.lock().unwrap().clear();
    cloud.nova.with(|db| {
        let cache = json!({"instance_uuid": UUID, "network_info": db.caches[UUID]});
        let cache = object("InstanceInfoCache", "1.5", cache.as_object().cloned().unwrap());
        db.instances.get_mut(UUID).unwrap().insert("info_cache".into(), cache);
    });
    let cloud = cloud.killed_and_started().await;
    cloud.ask("start_instance", "powering-on", json!({})).await;
    cloud.until_settled("active").await;
    assert_eq!(cloud.wiring.ports().len(), 1);
}

/// Covers: get_diagnostics, get_instance_diagnostics
#[tokio::test]
async fn diagnostics_are_of_running_instances_only() {
    let cloud = Cloud::booted().await;
    let args = || json!({"instance": cloud.nova.instance(UUID)});
    let flat = cloud.nova.call("h1", "get_diagnostics", args()).await.unwrap();
    assert_eq!((&flat["cpu0_time"], &flat["memory"]), (&json!(42_000), &json!(64 * 1024)));
    let object = cloud.nova.call("h1", "get_instance_diagnostics", args()).await.unwrap();
    assert_eq!(object["nova_object.name"], "Diagnostics");
    let memory = &object["nova_object.data"]["memory_details"]["nova_object.data"];
    assert_eq!(memory, &json!({"maximum": 64, "used": 3}));
    cloud.docker(|docker| docker.containers.insert(CONTAINER.into(), false));
    let refused = cloud.nova.call("h1", "get_instance_diagnostics", args()).await.unwrap_err();
    assert_eq!(refused.class, "InstanceInvalidState");
    assert!(refused.message.contains("in power state shutdown"), "{}", refused.message);
}

/// Covers: set_admin_password
#[tokio::test]
async fn a_password_is_not_set_in_what_does_not_run_and_is_told_to_nobody() {
    let cloud = Cloud::booted().await;
    cloud.docker(|docker| docker.containers.insert(CONTAINER.into(), false));
    cloud.nova.with(|db| {
        db.instances.get_mut(UUID).unwrap().insert("task_state".into(), json!("updating_password"))
    });
    let args = json!({"instance": cloud.nova.instance(UUID), "new_pass": "hunter2"});
    let refused = cloud.nova.call("h1", "set_admin_password", args).await.unwrap_err();
    assert_eq!(refused.class, "InstancePasswordSetFailed");
    assert!(refused.message.contains("is not running"), "{}", refused.message);
    assert_eq!((cloud.field("task_state"), cloud.field("vm_state")), (Value::Null, json!("active")));
    let told = cloud.nova.with(|db| db.log.iter().any(|sent| sent.args.to_string().contains("hunter2")));
    let asked = cloud.engine.take().iter().any(|request| format!("{request:?}").contains("hunter2"));
    assert!(!told && !asked);
}
