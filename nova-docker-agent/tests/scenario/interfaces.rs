//! Ports that come and go, and their addresses, while the instance is there: by request, and as Neutron tells.

use common::messaging::RemoteError;
use serde_json::{Value, json};

use crate::network::{MADE, PORT};
use crate::support::neutron::{self, NETWORK};
use crate::support::nova::Database;
use crate::{Cloud, HOST, UUID};

const SECOND: &str = "00000002-0000-4000-8000-000000000000";

impl Cloud {
    async fn attach(&self, more: Value) -> Result<Value, RemoteError> {
        let mut args = json!({"instance": self.nova.instance(UUID), "network_id": null, "port_id": null,
                              "requested_ip": null, "tag": null});
        args.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        self.nova.call("h1", "attach_interface", args).await
    }

    async fn until_event_ends_again(&self) {
        let count = |db: &mut Database| {
            db.log.iter().filter(|sent| sent.name == "InstanceActionEvent.event_finish_with_failure").count()
        };
        self.nova.until("two events have ended", |db| count(db) >= 2).await;
    }
}

/// Covers: attach_interface, detach_interface
#[tokio::test]
async fn interfaces_come_and_go_while_the_instance_runs() {
    let cloud = Cloud::connected().await;
    let vif = cloud
        .attach(json!({"network_id": NETWORK, "requested_ip": "10.0.0.77", "tag": "back"}))
        .await
        .unwrap();
    assert_eq!((&vif["id"], &vif["type"]), (&json!(SECOND), &json!("ovs")));
    assert_eq!(cloud.wiring.ports(), [MADE, SECOND]);
    assert_eq!(cloud.cache().as_array().unwrap().len(), 2);
    assert_eq!(cloud.nova.with(|db| db.interfaces[SECOND]["tag"].clone()), "back");

    cloud
        .nova
        .cast("h1", "detach_interface", json!({"instance": cloud.nova.instance(UUID), "port_id": SECOND}))
        .await;
    cloud.until_event_ends_again().await;
    assert_eq!(cloud.wiring.ports(), [MADE]);
    assert_eq!(cloud.cache().as_array().unwrap().len(), 1);
    assert!(cloud.ports(|neutron| !neutron.ports.contains_key(SECOND)));
    assert!(cloud.nova.with(|db| !db.interfaces.contains_key(SECOND)));
}

/// Covers: add_fixed_ip_to_instance, remove_fixed_ip_from_instance, inject_network_info
#[tokio::test]
async fn addresses_come_and_go_and_a_refresh_shows_what_neutron_has() {
    let cloud = Cloud::connected().await;
    let addresses =
        |cloud: &Cloud| cloud.nova.with(|db| db.caches[UUID].matches("\"address\":\"10.0.0.").count());
    let before = addresses(&cloud);
    let ask = async |method: &str, name: &str, value: &str| {
        let args = json!({"instance": cloud.nova.instance(UUID), name: value});
        cloud.nova.call("h1", method, args).await
    };
    ask("add_fixed_ip_to_instance", "network_id", NETWORK).await.unwrap();
    assert!(cloud.cache().to_string().contains("10.0.0.99"));
    ask("remove_fixed_ip_from_instance", "address", "10.0.0.99").await.unwrap();
    assert_eq!(addresses(&cloud), before);
    let refused = ask("remove_fixed_ip_from_instance", "address", "10.0.0.99").await.unwrap_err();
    assert_eq!(refused.class, "FixedIpNotFoundForInstance");
    let moved = json!([{"subnet_id": "s", "ip_address": "10.0.0.55"}]);
    cloud.ports(|neutron| neutron.ports.get_mut(MADE).unwrap()["fixed_ips"] = moved);
    ask("inject_network_info", "unused", "").await.unwrap();
    assert!(cloud.cache().to_string().contains("10.0.0.55"));
}

/// Covers: detach_interface
#[tokio::test]
async fn a_port_that_its_user_has_given_to_another_instance_stays_that_one_s() {
    let cloud = Cloud::connected().await;
    cloud.ports(|neutron| neutron.ports.insert(PORT.into(), neutron::port(PORT, "p", "")));
    cloud.attach(json!({"port_id": PORT})).await.unwrap();
    cloud.until_event_ends().await;
    cloud.nova.with(Database::take_names);
    let given = cloud.ports(|neutron| {
        let port = neutron.ports.get_mut(PORT).unwrap();
        port["device_id"] = json!("another-instance");
        port["binding:host_id"] = json!("elsewhere");
        port.clone()
    });
    let args = json!({"instance": cloud.nova.instance(UUID), "port_id": PORT});
    cloud.nova.cast(HOST, "detach_interface", args).await;
    cloud.until_event_ends().await;
    cloud.until_plugged(1).await;
    assert_eq!(cloud.ports(|neutron| neutron.ports[PORT].clone()), given);
    assert_eq!(cloud.cache().as_array().unwrap().len(), 1);
}

/// Covers: attach_interface
#[tokio::test]
async fn a_refused_attach_tells_nova_api_why_and_changes_nothing() {
    let cloud = Cloud::connected().await;
    let used = "cccccccc-0000-4000-8000-000000000000";
    cloud.ports(|neutron| neutron.ports.insert(used.into(), neutron::port(used, "p", "another-instance")));
    let before = cloud.ports(|neutron| neutron.ports.clone());
    let class = |refused: Result<Value, RemoteError>| refused.unwrap_err().class;
    assert_eq!(class(cloud.attach(json!({"port_id": used})).await), "PortInUse");
    assert_eq!(class(cloud.attach(json!({"port_id": MADE})).await), "PortInUse");
    assert_eq!(class(cloud.attach(json!({"port_id": PORT})).await), "PortNotFound");
    assert_eq!(class(cloud.attach(json!({"network_id": "nowhere"})).await), "NetworkNotFound");
    let notes = || std::fs::read_dir(cloud.directory.path().join("attaching")).unwrap().count();
    assert_eq!(notes(), 0, "nothing of it is to be finished at the next start");
    *cloud.wiring.refuse.lock().unwrap() = true;
    assert_eq!(class(cloud.attach(json!({"network_id": NETWORK})).await), "InterfaceAttachFailed");
    assert_eq!(notes(), 0);
    assert_eq!(cloud.ports(|neutron| neutron.ports.clone()), before);
    assert_eq!(cloud.cache().as_array().unwrap().len(), 1);
    assert_eq!(cloud.nova.with(|db| db.interfaces.len()), 1);
    // Nor was any port taken for the user's that is not.
    cloud.ask("terminate_instance", "deleting", json!({"bdms": null})).await;
    cloud.nova.until("the row is gone", |db| db.instances.is_empty()).await;
    assert_eq!(cloud.ports(|neutron| neutron.ports.keys().cloned().collect::<Vec<_>>()), [used]);
}

/// Covers: external_instance_event
#[tokio::test]
async fn neutron_s_events_keep_cache_and_nics_true() {
    let cloud = Cloud::connected().await;
    cloud.ports(|neutron| {
        neutron
            .floating_ips
            .push(json!({"floating_ip_address": "10.20.0.9", "fixed_ip_address": "10.0.0.11",
                                         "port_id": MADE}));
    });
    cloud.event("network-changed", MADE, "completed").await;
    let floating = |db: &mut Database| db.caches[UUID].contains("10.20.0.9");
    cloud.nova.until("the floating address is known", floating).await;
    assert_eq!(
        cloud.wiring.history.lock().unwrap().len(),
        1,
        "a floating address is no reason to plug again"
    );

    cloud.ports(|neutron| neutron.ports.clear());
    cloud.event("network-vif-deleted", MADE, "completed").await;
    cloud.nova.until("the port is forgotten", |db| db.caches[UUID] == "[]").await;
    cloud.until_plugged(0).await;
}
