//! What an agent that was killed puts right of ports when it starts again: what Neutron told before, and what was to go.

use std::time::Duration;

use serde_json::{Value, json};

use crate::kills::{running_apart, started_again};
use crate::support::neutron;
use crate::support::nova::Database;
use crate::{Cloud, HOST, UUID};

/// The instance is told of a change in Neutron, and its agent killed as soon as Nova's database has it.
async fn killed_when_recorded(change: fn(&mut neutron::State), event: &str) -> Cloud {
    let (cloud, runtime) = running_apart().await;
    let port = cloud.wiring.ports().remove(0);
    cloud.ports(change);
    let before = cloud.nova.with(|db| db.caches[UUID].clone());
    cloud.fuse.burn(1);
    cloud.event(event, &port, "completed").await;
    cloud.nova.until("the cache is another one", |db| db.caches[UUID] != before).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    started_again(cloud, runtime).await
}

/// Covers: external_instance_event
#[tokio::test]
async fn a_nic_has_its_new_address_though_the_agent_was_killed_before_it_plugged_it() {
    let change = |neutron: &mut neutron::State| {
        let port = neutron.ports.values_mut().next().unwrap();
        port["fixed_ips"] = json!([{"subnet_id": "s", "ip_address": "10.0.0.55"}]);
    };
    let cloud = killed_when_recorded(change, "network-changed").await;
    let addresses: Vec<String> = cloud.wiring.addresses().into_values().flatten().collect();
    assert_eq!(addresses, ["10.0.0.55"]);
}

/// Covers: external_instance_event
#[tokio::test]
async fn a_nic_goes_with_its_port_though_the_agent_was_killed_before_it_took_it_out() {
    let cloud = killed_when_recorded(|neutron| neutron.ports.clear(), "network-vif-deleted").await;
    assert_eq!(cloud.wiring.ports(), [""; 0]);
}

/// An instance whose agent was killed while it detached its port, and which is started while Neutron answers the next request to
/// delete a port with this status.
async fn killed_while_it_detached(status: u16) -> (Cloud, String) {
    let (cloud, runtime) = running_apart().await;
    let port = cloud.wiring.ports().remove(0);
    let in_neutron = cloud.ports(|neutron| neutron.ports[&port].clone());
    cloud.fuse.burn(1);
    let args = json!({"instance": cloud.nova.instance(UUID), "port_id": port});
    cloud.nova.cast(HOST, "detach_interface", args).await;
    while !cloud.fuse.is_blown() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cloud.ports(|neutron| {
        // As if it had not got so far.
        neutron.ports.insert(port.clone(), in_neutron);
        neutron.refuse = Some(("DELETE", 1, status, "Trouble"));
    });
    cloud.nova.with(Database::take_names);
    (started_again(cloud, runtime).await, port)
}

impl Cloud {
    fn names_no_port(&self) -> bool {
        self.nova.with(|db| db.caches[UUID] == "[]") && self.ports(|neutron| neutron.ports.is_empty())
    }

    /// What the ends of the events say, in their order: the reason of a failure.
    fn ends_of_events(&self) -> Vec<Value> {
        let is_end = "InstanceActionEvent.event_finish_with_failure";
        let all =
            |db: &mut Database| db.log.iter().filter(|sent| sent.name == is_end).cloned().collect::<Vec<_>>();
        self.nova.with(all).into_iter().map(|sent| sent.args["kwargs"]["exc_val"].clone()).collect()
    }
}

/// Covers: detach_interface
#[tokio::test]
async fn a_detach_that_was_begun_is_finished_once_neutron_answers() {
    let (cloud, port) = killed_while_it_detached(503).await;
    assert!(cloud.nova.with(|db| db.caches[UUID].contains(&port)), "Neutron did not answer");
    for _ in 0..300 {
        if cloud.names_no_port() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(cloud.names_no_port(), "{:?}", cloud.ports(|neutron| neutron.requests.clone()));
    cloud.until_event_ends().await;
    assert_eq!((cloud.ends_of_events(), cloud.wiring.ports().len()), (vec![Value::Null], 0));
}

/// As when the user asks for it and nova-compute's Neutron says no: he is told, and may ask again.
///
/// Covers: detach_interface
#[tokio::test]
async fn a_detach_that_was_begun_and_is_refused_is_told_and_not_tried_again() {
    let (cloud, port) = killed_while_it_detached(409).await;
    cloud.until_event_ends().await;
    let told = cloud.ends_of_events();
    assert!(told.len() == 1 && told[0].to_string().contains("Trouble"), "{told:?}");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(cloud.nova.with(|db| db.caches[UUID].contains(&port)), "nobody asks Neutron again");
    let args = json!({"instance": cloud.nova.instance(UUID), "port_id": port});
    cloud.nova.cast(HOST, "detach_interface", args).await;
    cloud.nova.until("it is detached when asked for again", |db| db.caches[UUID] == "[]").await;
}
