//! The whole agent between a scripted Nova, placement, Neutron and dockerd: what the database, placement, Neutron and
//! Docker hold when an operation is over, whatever went wrong in it.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

#[path = "scenario/bad_input.rs"]
mod bad_input;
#[path = "scenario/busy.rs"]
mod busy;
#[path = "scenario/consoles.rs"]
mod consoles;
#[path = "scenario/groups.rs"]
mod groups;
#[path = "scenario/guests.rs"]
mod guests;
#[path = "scenario/image_clock.rs"]
mod image_clock;
#[path = "scenario/images.rs"]
mod images;
#[path = "scenario/interfaces.rs"]
mod interfaces;
#[path = "scenario/kills.rs"]
mod kills;
#[path = "scenario/kills_of_builds.rs"]
mod kills_of_builds;
#[path = "scenario/kills_of_ports.rs"]
mod kills_of_ports;
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
#[path = "scenario/servers.rs"]
mod servers;
#[path = "scenario/settled_ports.rs"]
mod settled_ports;
#[path = "scenario/starts.rs"]
mod starts;
mod support;
#[path = "scenario/tidying.rs"]
mod tidying;
#[path = "scenario/two_hosts.rs"]
mod two_hosts;

use std::time::Duration;

use common::shutdown::Shutdown;
use serde_json::{Map, Value, json};
use support::agent::Cloud;
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

/// Nova again, with the same database, for an agent that starts anew: the old one's broker has its queues.
async fn revived(nova: &Nova) -> Nova {
    let again = Nova::start(&Shutdown::new()).await;
    let rows = nova.with(std::mem::take);
    again.with(|db| *db = rows);
    again
}
