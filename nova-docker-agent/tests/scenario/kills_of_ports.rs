//! The agent is killed after each step of what changes an instance's ports or their addresses, and of its delete, and started
//! again: nothing is left over, nothing is lost, and Neutron, Nova's database and the host say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::kills::{MOST_STEPS, running_apart, started_again};
use crate::support::neutron::{self, NETWORK};
use crate::support::nova::Database;
use crate::{Cloud, HOST, UUID};

/// A port that the user made.
pub(crate) const OWN: &str = "aaaaaaaa-0000-4000-8000-000000000000";

/// An address that the scripted Neutron gives who asks for one more.
const MORE: &str = "10.0.0.99";

/// Nothing is done before.
async fn plain(_: &Cloud) {}

/// The instance has the user's own port, too.
async fn with_own_port(cloud: &Cloud) {
    let own = json!({"instance": cloud.nova.instance(UUID), "port_id": OWN});
    cloud.nova.call(HOST, "attach_interface", own).await.unwrap();
    cloud.until_event_ends().await;
}

/// The instance has one more address.
async fn with_another_address(cloud: &Cloud) {
    let more = json!({"instance": cloud.nova.instance(UUID), "network_id": NETWORK});
    cloud.nova.call(HOST, "add_fixed_ip_to_instance", more).await.unwrap();
    assert!(has_more(cloud));
}

/// Kills the agent after each step that `begin` leads to until it is over (`ends`), has it started again, and then the instance
/// deleted: of container, ports, claim and row nothing is left, and a user's own port, which the instance has by then or not, is
/// free again.
async fn deleted_after_every_step(
    prepare: impl AsyncFn(&Cloud),
    ends: fn(&Cloud) -> bool,
    begin: impl AsyncFn(&Cloud),
) {
    for steps in 0..MOST_STEPS {
        let (cloud, runtime) = running_apart().await;
        cloud.neutron.lock().unwrap().ports.insert(OWN.into(), neutron::port(OWN, "p", ""));
        prepare(&cloud).await;
        cloud.nova.with(Database::take_names);
        cloud.fuse.burn(steps);
        begin(&cloud).await;
        while !cloud.fuse.is_blown() && !ends(&cloud) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let survived = !cloud.fuse.is_blown();
        let cloud = started_again(cloud, runtime).await;
        if cloud.nova.with(|db| db.instances.contains_key(UUID)) {
            the_record_is_true(&cloud, steps);
            assert_eq!(cloud.container(), Some(true), "after {steps} steps");
            cloud.ask("terminate_instance", "deleting", json!({"bdms": null})).await;
            cloud.nova.until("the row is gone", |db| db.instances.is_empty()).await;
        }
        assert!(cloud.allocations_deleted(), "after {steps} steps");
        assert!(cloud.docker(|docker| docker.containers.is_empty() && docker.volumes.is_empty()), "{steps}");
        assert!(cloud.wiring.ports().is_empty(), "after {steps} steps");
        let ports = cloud.neutron.lock().unwrap().ports.clone();
        assert_eq!(ports.keys().collect::<Vec<_>>(), [OWN], "after {steps} steps");
        let own = &ports[OWN];
        assert_eq!(
            (&own["device_id"], &own["device_owner"]),
            (&json!(""), &json!("")),
            "after {steps} steps"
        );
        assert_eq!(own["binding:vif_type"], "unbound", "after {steps} steps");
        if survived {
            return;
        }
    }
    panic!("more steps than can be");
}

/// Ports and their addresses.
type Addresses = BTreeMap<String, BTreeSet<String>>;

fn texts<'a>(all: impl Iterator<Item = &'a Value>, field: &str) -> BTreeSet<String> {
    all.map(|one| one[field].as_str().unwrap().to_owned()).collect()
}

/// What the info cache in Nova's database says.
fn cached(cloud: &Cloud) -> Addresses {
    let cached: Value = serde_json::from_str(&cloud.nova.with(|db| db.caches[UUID].clone())).unwrap();
    let addresses = |vif: &Value| {
        let subnets = vif["network"]["subnets"].as_array().unwrap();
        texts(subnets.iter().flat_map(|subnet| subnet["ips"].as_array().unwrap()), "address")
    };
    cached
        .as_array()
        .unwrap()
        .iter()
        .map(|vif| (vif["id"].as_str().unwrap().to_owned(), addresses(vif)))
        .collect()
}

/// What Neutron has of the instance.
fn in_neutron(cloud: &Cloud) -> Addresses {
    let ports = cloud.neutron.lock().unwrap().ports.clone();
    let of_it = ports.into_iter().filter(|(_, port)| port["device_id"] == UUID);
    of_it.map(|(id, port)| (id, texts(port["fixed_ips"].as_array().unwrap().iter(), "ip_address"))).collect()
}

/// What is plugged, what Neutron has of the instance, and the rows of its ports are what its info cache in Nova's database says.
fn the_record_is_true(cloud: &Cloud, steps: usize) {
    let (cached, plugged) = (cached(cloud), cloud.wiring.addresses());
    assert_eq!((&plugged, &in_neutron(cloud)), (&cached, &cached), "after {steps} steps");
    let rows: BTreeSet<String> = cloud.nova.with(|db| db.interfaces.keys().cloned().collect());
    assert_eq!(rows, cached.into_keys().collect(), "after {steps} steps");
    let notes = ["attaching", "changing"].map(|folder| {
        std::fs::read_dir(cloud.directory.path().join(folder)).map_or(0, |notes| notes.count())
    });
    assert_eq!(notes, [0, 0], "after {steps} steps");
}

#[tokio::test]
async fn during_the_delete_of_an_instance() {
    let gone = |cloud: &Cloud| cloud.nova.with(|db| db.instances.is_empty());
    deleted_after_every_step(plain, gone, async |cloud: &Cloud| {
        cloud.ask("terminate_instance", "deleting", json!({"bdms": null})).await;
    })
    .await;
}

/// Asks for something that is answered; the answer of one that was killed never comes.
fn call(cloud: &Cloud, method: &'static str, more: Value) {
    let mut args = json!({"instance": cloud.nova.instance(UUID)});
    args.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    let nova = cloud.nova.clone();
    tokio::spawn(async move { nova.cast(HOST, method, args).await });
}

pub(crate) fn is_over(cloud: &Cloud) -> bool {
    cloud.nova.with(|db| db.find("InstanceActionEvent.event_finish_with_failure").is_some())
}

#[tokio::test]
async fn while_an_interface_is_attached() {
    deleted_after_every_step(plain, is_over, async |cloud: &Cloud| {
        let more = json!({"network_id": NETWORK, "port_id": null, "requested_ip": null, "tag": null});
        call(cloud, "attach_interface", more);
    })
    .await;
}

#[tokio::test]
async fn while_a_port_of_the_user_is_attached() {
    deleted_after_every_step(plain, is_over, async |cloud: &Cloud| {
        let more = json!({"network_id": null, "port_id": OWN, "requested_ip": null, "tag": null});
        call(cloud, "attach_interface", more);
    })
    .await;
}

#[tokio::test]
async fn while_an_interface_is_detached() {
    deleted_after_every_step(plain, is_over, async |cloud: &Cloud| {
        let port = cloud.wiring.ports().remove(0);
        call(cloud, "detach_interface", json!({"port_id": port}));
    })
    .await;
}

#[tokio::test]
async fn while_a_port_of_the_user_is_detached() {
    deleted_after_every_step(with_own_port, is_over, async |cloud: &Cloud| {
        call(cloud, "detach_interface", json!({"port_id": OWN}));
    })
    .await;
}

/// The instance has the address, as all say.
fn has_more(cloud: &Cloud) -> bool {
    [cached(cloud), cloud.wiring.addresses()]
        .iter()
        .all(|all| all.values().any(|addresses| addresses.contains(MORE)))
}

fn has_it_no_more(cloud: &Cloud) -> bool {
    [cached(cloud), cloud.wiring.addresses()]
        .iter()
        .all(|all| all.values().all(|addresses| !addresses.contains(MORE)))
}

#[tokio::test]
async fn while_an_address_is_added() {
    deleted_after_every_step(plain, has_more, async |cloud: &Cloud| {
        call(cloud, "add_fixed_ip_to_instance", json!({"network_id": NETWORK}));
    })
    .await;
}

#[tokio::test]
async fn while_an_address_is_taken_away() {
    deleted_after_every_step(with_another_address, has_it_no_more, async |cloud: &Cloud| {
        call(cloud, "remove_fixed_ip_from_instance", json!({"address": MORE}));
    })
    .await;
}
