//! Two hosts with their agents, and what conductor and nova-api do to begin a step.

use std::cell::Cell;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{Killed, Step, VOLUME, content};
use crate::moves::{MIGRATION, flavor, migration};
use crate::support::agent::Cloud as Host;
use crate::support::neutron::NETWORK;
use crate::support::nova::{Database, Nova, object};
use crate::{UUID, networks, row};

/// How a server group is asked for.
const GET_GROUP: &str = "InstanceGroup.get_by_uuid";
/// A server group, and its other member.
const GROUP: &str = "99999999-23ab-4b5d-a236-4608f438a9e2";
const OTHER: &str = "2d206834-23ab-4b5d-a236-4608f438a9e3";

/// A source and a destination with their agents.
pub(super) struct Two {
    /// Which of the hosts is the destination; the first one where the instance stays.
    pub(super) to: Cell<usize>,
    pub(super) hosts: [Host; 2],
    pub(super) agents: [Option<Runtime>; 2],
}

impl Drop for Two {
    fn drop(&mut self) {
        for agent in self.agents.iter_mut().filter_map(Option::take) {
            agent.shutdown_background();
        }
    }
}

impl Two {
    /// An instance with a port runs on the first host.
    pub(super) async fn new(to: usize) -> Self {
        let source = Host {
            adjust: |config| {
                config.vif_plugging_timeout = 0;
                config.docker.migration_address = "127.0.0.1".into();
            },
            ..Host::new("h1").await
        };
        let destination = source.beside("h2");
        let agents = [Some(source.agent_apart().await), Some(destination.agent_apart().await)];
        let boot = |args: &mut Value| {
            args["requested_networks"] = networks(&[json!({"network_id": NETWORK})]);
            args["instance"]["nova_object.data"]["flavor"]["nova_object.data"]["ephemeral_gb"] = json!(1);
        };
        source.boot(boot).await;
        source.until("vm_state", "active").await;
        source.until_event_ends().await;
        source.docker(|docker| docker.contents.insert(VOLUME.into(), content()));
        let two = Self { to: Cell::new(to), hosts: [source, destination], agents };
        let held = json!({"VCPU": 1, "MEMORY_MB": 64});
        let ledger = [(UUID.to_owned(), [(two.node(0), held)].into())].into();
        *two.hosts[0].ledger.lock().unwrap() = Some(ledger);
        two.nova().with(|db| {
            db.take_names();
            let row = db.instances.get_mut(UUID).unwrap();
            row.insert("updated_at".into(), json!("2026-01-01T00:00:00Z"));
            row["flavor"]["nova_object.data"]["ephemeral_gb"] = json!(1);
        });
        two
    }

    /// Name of the destination.
    pub(super) fn destination(&self) -> &str {
        &self.hosts[self.to.get()].host
    }

    pub(super) fn nova(&self) -> &Nova {
        &self.hosts[0].nova
    }

    /// Uuid of the node of a host, which is its provider's.
    pub(super) fn node(&self, host: usize) -> String {
        let uuid = self.nova().with(|db| match host {
            0 => db.node.as_ref().unwrap()["uuid"].clone(),
            _ => db.others["h2"].node.as_ref().unwrap()["uuid"].clone(),
        });
        uuid.as_str().unwrap().to_owned()
    }

    pub(super) fn row(&self, field: &str) -> Value {
        self.nova().with(|db| db.instances[UUID].get(field).cloned().unwrap_or(Value::Null))
    }

    pub(super) fn status(&self) -> String {
        let status = self.nova().with(|db| db.migrations.get(&1).map(|row| row["status"].clone()));
        status.and_then(|status| status.as_str().map(str::to_owned)).unwrap_or_default()
    }

    fn set(&self, task: Option<&str>, status: &str) {
        self.nova().with(|db| {
            db.instances.get_mut(UUID).unwrap().insert("task_state".into(), json!(task));
            if let Some(migration) = db.migrations.get_mut(&1) {
                migration.insert("status".into(), json!(status));
            }
        });
    }

    fn objects(&self) -> (Value, Value) {
        let migration = self.nova().with(|db| db.migrations[&1].clone());
        (self.nova().instance(UUID), object("Migration", "1.8", migration))
    }

    /// As conductor and nova-api begin it.
    pub(super) async fn begin(&self, step: Step) {
        match step {
            Step::Resize => self.begin_resize((1, 1), json!({})).await,
            Step::Refused => self.begin_resize((1, 0), json!({})).await,
            Step::Smaller => self.begin_resize((0, 1), json!({})).await,
            Step::Unwanted => {
                self.is_unwanted();
                self.begin_resize((1, 1), json!({})).await;
            }
            Step::PassedOn => {
                self.is_unwanted();
                let retry = json!({"num_attempts": 1, "hosts": [["h2", "h2"]]});
                self.begin_resize((1, 1), json!({"retry": retry})).await;
            }
            Step::Confirm => {
                self.set(None, "confirming");
                let (instance, migration) = self.objects();
                let args = json!({"instance": instance, "migration": migration});
                self.nova().cast("h1", "confirm_resize", args).await;
            }
            Step::Revert => {
                self.set(Some("resize_reverting"), "reverting");
                let (instance, migration) = self.objects();
                let args = json!({"instance": instance, "migration": migration, "request_spec": null});
                self.nova().cast(self.destination(), "revert_resize", args).await;
            }
            Step::Evacuate => self.begin_evacuation().await,
        }
    }

    fn move_is_known(&self, kind: &str, status: &str) -> Value {
        let mut moves = migration("h1", None);
        let data = moves["nova_object.data"].as_object_mut().unwrap();
        data.insert("status".into(), json!(status));
        data.insert("migration_type".into(), json!(kind));
        data.insert("dest_compute_id".into(), Value::Null);
        let row = data.clone();
        self.nova().with(|db| db.migrations.insert(1, row));
        moves
    }

    /// A server group does not let the instance onto the second host: its other member is elsewhere.
    fn is_unwanted(&self) {
        let members = json!({"uuid": GROUP, "policy": "affinity", "rules": {}, "members": [UUID, OTHER]});
        let group = object("InstanceGroup", "1.11", members.as_object().cloned().unwrap());
        self.nova().with(|db| {
            let mut other = row("soft-delete", None);
            other.extend([("uuid".to_owned(), json!(OTHER)), ("host".to_owned(), json!("h1"))]);
            db.instances.insert(OTHER.into(), other);
            db.recorded.insert(GET_GROUP.into(), [Ok(group)].into());
        });
    }

    async fn begin_resize(&self, disks: (u64, u64), filter_properties: Value) {
        let moves = self.move_is_known("resize", "pre-migrating");
        self.nova().with(|db| {
            let row = db.instances.get_mut(UUID).unwrap();
            row.extend([
                ("instance_type_id".to_owned(), json!(1)),
                ("task_state".to_owned(), json!("resize_prep")),
            ]);
        });
        self.prepare(disks, (moves, filter_properties)).await;
    }

    /// As the conductor does for each host that it tries: the migration holds the source, the instance the destination.
    async fn prepare(&self, (root_gb, ephemeral_gb): (u64, u64), (moves, filter_properties): (Value, Value)) {
        {
            let mut ledger = self.hosts[0].ledger.lock().unwrap();
            let ledger = ledger.as_mut().unwrap();
            let held = ledger.remove(UUID).unwrap();
            ledger.insert(MIGRATION.into(), held);
            let claimed = json!({"VCPU": 1, "MEMORY_MB": 128});
            ledger.insert(UUID.into(), [(self.node(self.to.get()), claimed)].into());
        }
        let hints = json!({"scheduler_hints": {"group": [GROUP]}});
        let spec = match self.nova().with(|db| db.recorded.contains_key(GET_GROUP)) {
            true => object("RequestSpec", "1.15", hints.as_object().cloned().unwrap()),
            false => Value::Null,
        };
        let mut args = json!({"instance": self.nova().instance(UUID), "flavor": flavor(2, 128, root_gb),
            "migration": moves, "image": {}, "request_spec": spec, "filter_properties": filter_properties,
            "clean_shutdown": true, "host_list": [{"service_host": "h1"}]});
        args["flavor"]["nova_object.data"]["ephemeral_gb"] = json!(ephemeral_gb);
        self.nova().cast(self.destination(), "prep_resize", args).await;
    }

    /// As the conductor, which was given a resize back: the first host is tried next, with the same migration.
    pub(super) async fn conduct(&self) {
        let given_back = |db: &mut Database| {
            let asked = db.log.iter().position(|sent| sent.name == "migrate_server");
            asked.map(|index| db.log.remove(index))
        };
        if self.nova().with(given_back).is_some() {
            self.to.set(0);
            let moves = object("Migration", "1.8", self.nova().with(|db| db.migrations[&1].clone()));
            self.prepare((1, 1), (moves, json!({}))).await;
        }
    }

    /// The first host is gone; what it had is still there when it comes back.
    async fn begin_evacuation(&self) {
        let moves = self.move_is_known("evacuation", "accepted");
        let claimed = json!({"VCPU": 1, "MEMORY_MB": 64});
        let node = self.node(1);
        self.hosts[0].ledger.lock().unwrap().as_mut().unwrap().get_mut(UUID).unwrap().insert(node, claimed);
        self.set(Some("rebuilding"), "accepted");
        let args = json!({"instance": self.nova().instance(UUID), "migration": moves, "recreate": true,
            "on_shared_storage": null, "scheduled_node": "h2", "image_ref": "i-1", "orig_image_ref": "i-1",
            "orig_sys_metadata": null, "bdms": null, "new_pass": null, "injected_files": [], "limits": {},
            "request_spec": null, "preserve_ephemeral": false, "accel_uuids": [], "reimage_boot_volume": false,
            "target_state": null});
        self.nova().cast("h2", "rebuild_instance", args).await;
    }

    pub(super) fn agent_of(&self, killed: Killed) -> usize {
        if killed == Killed::Source { 0 } else { self.to.get() }
    }

    pub(super) async fn kill(&mut self, host: usize) {
        if let Some(agent) = self.agents[host].take() {
            // None of it may go on when the world is there again.
            let ended = move || agent.shutdown_timeout(Duration::from_secs(5));
            tokio::task::spawn_blocking(ended).await.unwrap();
        }
        self.hosts[host].fuse.mend();
    }

    pub(super) async fn start(&mut self, host: usize) {
        self.agents[host] = Some(self.hosts[host].agent_apart().await);
    }
}
