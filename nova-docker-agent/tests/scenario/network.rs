//! Ports: what Neutron, the database and the host hold when a boot or a delete is over.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::neutron::{self, NETWORK};
use crate::support::nova::{Database, object};
use crate::{CONTAINER, Cloud, HOST, UUID, build, networks, row};

pub(crate) const PORT: &str = "aaaaaaaa-0000-4000-8000-000000000000";
pub(crate) const MADE: &str = "00000001-0000-4000-8000-000000000000";

impl Cloud {
    pub(crate) fn ports<T>(&self, look: impl FnOnce(&mut neutron::State) -> T) -> T {
        look(&mut self.neutron.lock().unwrap())
    }

    /// Boots with these networks; ports are reported as plugged as soon as they are.
    pub(crate) async fn boot_on(&self, requests: &[Value]) {
        self.boot(|args| args["requested_networks"] = networks(requests)).await;
    }

    /// Tells what Neutron tells when it has seen these ports.
    pub(crate) async fn event(&self, name: &str, port: &str, status: &str) {
        let data = json!({"instance_uuid": UUID, "name": name, "tag": port, "status": status, "data": {}});
        let event = object("InstanceExternalEvent", "1.5", data.as_object().cloned().unwrap());
        let args = json!({"instances": [self.nova.instance(UUID)], "events": [event]});
        self.nova.cast("h1", "external_instance_event", args).await;
    }

    pub(crate) async fn until_plugged(&self, count: usize) {
        for _ in 0..500 {
            if self.wiring.ports().len() == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!(
            "{:?} are plugged, not {count}; Neutron: {:?}",
            self.wiring.ports(),
            self.ports(|n| n.requests.clone())
        );
    }

    /// An instance with one port of the network.
    pub(crate) async fn connected() -> Self {
        let cloud = Self::running(HOST).await;
        cloud.boot_on(&[json!({"network_id": NETWORK})]).await;
        cloud.until_plugged(1).await;
        cloud.event("network-vif-plugged", MADE, "completed").await;
        cloud.until("vm_state", "active").await;
        cloud.until_event_ends().await;
        cloud.nova.with(Database::take_names);
        cloud
    }

    pub(crate) fn cache(&self) -> Value {
        let text = self.nova.with(|db| db.caches.get(UUID).cloned()).unwrap_or_else(|| "[]".into());
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) fn fault(&self) -> String {
        let fault = self.nova.with(|db| db.find("InstanceFault.create").cloned());
        fault.map(|fault| fault["objinst"]["nova_object.data"]["message"].to_string()).unwrap_or_default()
    }

    /// A boot that must fail; returns the sentence of the fault.
    async fn fails_to_boot_on(&self, requests: &[Value]) -> String {
        self.boot_on(requests).await;
        self.until("vm_state", "error").await;
        self.until_event_ends().await;
        self.nothing_is_left();
        self.fault()
    }

    /// No port that was made, no NIC, no row, no cache, no container.
    pub(crate) fn nothing_is_left(&self) {
        assert_eq!(self.wiring.ports(), [""; 0], "NICs");
        assert_eq!(self.cache(), json!([]));
        assert_eq!(self.container(), None);
        let ours = self.ports(|neutron| {
            neutron.ports.values().filter(|port| port["device_id"] == UUID).cloned().collect::<Vec<_>>()
        });
        assert_eq!(ours, [Value::Null; 0], "ports");
        assert!(self.nova.with(|db| db.interfaces.is_empty()), "rows");
    }
}

#[tokio::test]
async fn a_boot_with_a_port_takes_two_conductor_calls_more() {
    let cloud = Cloud::running(HOST).await;
    cloud.boot_on(&[json!({"network_id": NETWORK})]).await;
    cloud.until_plugged(1).await;
    assert_eq!(cloud.field("vm_state"), json!("building"), "nobody has reported the port yet");
    cloud.event("network-vif-plugged", MADE, "completed").await;
    cloud.until("vm_state", "active").await;
    cloud.until_event_ends().await;
    let mut names = cloud.nova.with(Database::take_names);
    names.retain(|name| {
        !["ComputeNode.", "Service.", "InstanceList."].iter().any(|class| name.starts_with(class))
    });
    assert_eq!(names.len(), 7, "{names:?}");
    let port = cloud.ports(|neutron| neutron.ports[MADE].clone());
    for (field, value) in [
        ("device_id", json!(UUID)),
        ("device_owner", json!("compute:None")),
        ("binding:host_id", json!("h1")),
        ("tenant_id", json!("p")),
        ("dns_name", json!("rec1")),
        ("admin_state_up", json!(true)),
    ] {
        assert_eq!(port[field], value, "{field}");
    }
    let cache = cloud.cache();
    assert_eq!((&cache[0]["id"], &cache[0]["preserve_on_delete"]), (&json!(MADE), &json!(false)));
    assert_eq!(cache[0]["network"]["subnets"][0]["ips"][0]["address"], "10.0.0.11");
    let row = cloud.nova.with(|db| db.interfaces[MADE].clone());
    assert_eq!((&row["tag"], &row["address"]), (&Value::Null, &json!(format!("fa:16:3e:00:00:0b/{MADE}"))));
    // Made and bound by one request.
    let posts =
        cloud.ports(|neutron| neutron.requests.iter().filter(|line| !line.starts_with("GET")).count());
    assert_eq!(posts, 1);
}

#[tokio::test]
async fn a_tag_is_in_the_row_and_in_the_metadata() {
    let cloud = Cloud::running(HOST).await;
    cloud.boot_on(&[json!({"network_id": NETWORK, "tag": "front"})]).await;
    cloud.until_plugged(1).await;
    cloud.event("network-vif-plugged", MADE, "completed").await;
    cloud.until("vm_state", "active").await;
    assert_eq!(cloud.nova.with(|db| db.interfaces[MADE]["tag"].clone()), "front");
    let devices = &cloud.field("device_metadata")["nova_object.data"]["devices"];
    assert_eq!(devices[0]["nova_object.data"], json!({"mac": "fa:16:3e:00:00:0b", "tags": ["front"]}));
}

#[tokio::test]
async fn a_boot_without_a_network_asks_neutron_nothing() {
    let cloud = Cloud::booted().await;
    assert_eq!(cloud.ports(|neutron| neutron.requests.clone()), [""; 0]);
    assert_eq!(cloud.docker(|docker| docker.network_of(CONTAINER)), "none");
}

#[tokio::test]
async fn ports_are_in_the_order_of_the_request_and_a_given_one_is_kept() {
    let cloud = Cloud::running(HOST).await;
    cloud.ports(|neutron| neutron.ports.insert(PORT.into(), neutron::port(PORT, "p", "")));
    cloud.boot_on(&[json!({"network_id": NETWORK}), json!({"port_id": PORT})]).await;
    cloud.until_plugged(2).await;
    for port in [MADE, PORT] {
        cloud.event("network-vif-plugged", port, "completed").await;
    }
    cloud.until("vm_state", "active").await;
    let cache = cloud.cache();
    let order: Vec<&Value> = cache.as_array().unwrap().iter().map(|vif| &vif["id"]).collect();
    assert_eq!(order, [&json!(MADE), &json!(PORT)]);
    assert_eq!(cache[1]["preserve_on_delete"], json!(true));
    cloud.until_event_ends().await;
    cloud.ask("terminate_instance", "deleting", json!({"bdms": null})).await;
    cloud.nova.until("the row is gone", |db| db.instances.is_empty()).await;
    cloud.nothing_is_left();
    let kept = cloud.ports(|neutron| neutron.ports.clone());
    assert_eq!(kept.keys().collect::<Vec<_>>(), [PORT]);
    for (field, value) in [
        ("device_id", json!("")),
        ("device_owner", json!("")),
        ("binding:host_id", Value::Null),
        ("binding:profile", json!({"kept": 1})),
        ("dns_name", json!("")),
    ] {
        assert_eq!(kept[PORT][field], value, "{field}");
    }
}

#[tokio::test]
async fn the_only_network_is_taken_and_two_are_ambiguous() {
    let cloud = Cloud::running(HOST).await;
    cloud.ports(|neutron| neutron.networks.push(neutron::network("n2", "p", &["s2"])));
    let fault = cloud.fails_to_boot_on(&[json!({})]).await;
    assert!(fault.contains("Multiple possible networks found"), "{fault}");

    let cloud = Cloud::running(HOST).await;
    cloud.boot_on(&[json!({})]).await;
    cloud.until_plugged(1).await;
    cloud.event("network-vif-plugged", MADE, "completed").await;
    cloud.until("vm_state", "active").await;
}

#[tokio::test]
async fn ports_of_others_are_refused_and_stay_theirs() {
    let foreign = "bbbbbbbb-0000-4000-8000-000000000000";
    let used = "cccccccc-0000-4000-8000-000000000000";
    let missing = "dddddddd-0000-4000-8000-000000000000";
    for (port, sentence) in [
        (foreign, format!("Port {foreign} not usable for instance {UUID}.")),
        (used, format!("Port {used} is still in use.")),
        (missing, format!("Port id {missing} could not be found.")),
    ] {
        let cloud = Cloud::running(HOST).await;
        cloud.ports(|neutron| {
            neutron.ports.insert(foreign.into(), neutron::port(foreign, "other", ""));
            neutron.ports.insert(used.into(), neutron::port(used, "p", "another-instance"));
        });
        let before = cloud.ports(|neutron| neutron.ports.clone());
        let fault = cloud.fails_to_boot_on(&[json!({"port_id": port})]).await;
        assert!(fault.contains(&sentence), "{fault}");
        assert_eq!(cloud.ports(|neutron| neutron.ports.clone()), before);
    }
}

#[tokio::test]
async fn networks_without_subnet_and_of_the_outside_are_refused() {
    let cloud = Cloud::running(HOST).await;
    cloud.ports(|neutron| neutron.networks.push(neutron::network("bare", "p", &[])));
    let fault = cloud.fails_to_boot_on(&[json!({"network_id": "bare"})]).await;
    assert!(fault.contains("Network requires port_security_enabled and subnet"), "{fault}");
    let fault = cloud_with_external().await.fails_to_boot_on(&[json!({"network_id": "outside"})]).await;
    // The scripted Nova asks as an administrator, who may use it; what fails is the missing subnet.
    assert!(fault.contains("outside"), "{fault}");
}

async fn cloud_with_external() -> Cloud {
    let cloud = Cloud::running(HOST).await;
    let mut outside = neutron::network("outside", "admin", &[]);
    outside["router:external"] = json!(true);
    cloud.ports(|neutron| neutron.networks.push(outside));
    cloud
}

#[tokio::test]
async fn what_neutron_refuses_is_told_in_nova_s_words_and_the_set_is_taken_back() {
    for (kind, status, sentence, aborted) in [
        ("IpAddressGenerationFailure", 409, "No fixed IP addresses available for network", true),
        ("OverQuota", 409, "Maximum number of ports exceeded", false),
        ("IpAddressInUse", 409, "Fixed IP 10.0.0.50 is already in use", false),
        ("InvalidIpForNetwork", 400, "Fixed IP 10.0.0.50 is not a valid ip address for network", true),
        ("Boom", 500, "because of Boom", false),
    ] {
        let cloud = Cloud::running(HOST).await;
        // The second of two.
        cloud.ports(|neutron| neutron.refuse = Some(("POST", 2, status, kind)));
        let two = [
            json!({"network_id": NETWORK, "address": "10.0.0.50"}),
            json!({"network_id": NETWORK, "address": "10.0.0.50"}),
        ];
        let fault = cloud.fails_to_boot_on(&two).await;
        assert!(fault.contains(sentence), "{fault}");
        assert_eq!(fault.contains("not rescheduling"), aborted, "{fault}");
        assert!(cloud.ports(|neutron| neutron.ports.is_empty()), "{kind}");
    }
}

#[tokio::test]
async fn an_exhausted_pool_is_not_tried_elsewhere_but_a_used_port_is() {
    let retry = json!({"retry": {"num_attempts": 1, "hosts": [["h1", "h1"]]}});
    let cloud = Cloud::running(HOST).await;
    cloud.ports(|neutron| neutron.refuse = Some(("POST", 1, 409, "IpAddressGenerationFailure")));
    cloud
        .boot(|args| {
            args["requested_networks"] = networks(&[json!({"network_id": NETWORK})]);
            args["filter_properties"] = retry.clone();
        })
        .await;
    cloud.until("vm_state", "error").await;
    assert!(cloud.nova.with(|db| db.find("build_instances").is_none()));

    let cloud = Cloud::running(HOST).await;
    cloud.ports(|neutron| neutron.refuse = Some(("POST", 1, 409, "OverQuota")));
    cloud
        .boot(|args| {
            args["requested_networks"] = networks(&[json!({"network_id": NETWORK})]);
            args["filter_properties"] = retry;
        })
        .await;
    cloud.nova.until("the build is given back", |db| db.find("build_instances").is_some()).await;
    cloud.nothing_is_left();
}

#[tokio::test]
async fn an_event_that_never_comes_ends_the_build() {
    let cloud = Cloud::running(HOST).await;
    let fault = cloud.fails_to_boot_on(&[json!({"network_id": NETWORK})]).await;
    assert!(fault.contains("did not report port") && fault.contains(MADE), "{fault}");
    assert!(cloud.ports(|neutron| neutron.ports.is_empty()));
}

#[tokio::test]
async fn a_port_that_neutron_cannot_make_active_ends_the_build() {
    let cloud = Cloud::running(HOST).await;
    cloud.boot_on(&[json!({"network_id": NETWORK})]).await;
    cloud.until_plugged(1).await;
    cloud.event("network-vif-plugged", MADE, "failed").await;
    cloud.until("vm_state", "error").await;
    cloud.until_event_ends().await;
    assert!(cloud.fault().contains("could not make port"), "{}", cloud.fault());
    cloud.nothing_is_left();
}

#[tokio::test]
async fn a_nic_that_cannot_be_plugged_leaves_no_port() {
    let cloud = Cloud::running(HOST).await;
    *cloud.wiring.refuse.lock().unwrap() = true;
    cloud.fails_to_boot_on(&[json!({"network_id": NETWORK})]).await;
    assert!(cloud.ports(|neutron| neutron.ports.is_empty()));
}

/// The user deletes an instance before this host can say that it is its own. The image is known: what can be made ahead is
/// begun at once.
async fn deleted_before_its_build(request: Value) -> Cloud {
    let cloud = Cloud::booted().await;
    cloud.ask("terminate_instance", "deleting", json!({"bdms": null})).await;
    cloud.nova.until("the row is gone", |db| db.instances.is_empty()).await;
    cloud.until_event_ends().await;
    cloud.docker(|docker| docker.started.clear());
    cloud.nova.with(|db| {
        db.take_names();
        db.instances.insert(UUID.into(), row("building", Some("scheduling")))
    });
    let mut args = build(&cloud.nova);
    args["requested_networks"] = networks(&[request]);
    cloud.nova.with(|db| db.instances.insert(UUID.into(), row("building", Some("deleting"))));
    cloud.nova.cast("h1", "build_and_run_instance", args).await;
    cloud.until_event_ends().await;
    cloud.nothing_is_left();
    cloud
}

#[tokio::test]
async fn a_guest_that_was_started_ahead_goes_when_the_instance_is_not_this_host_s() {
    let cloud = deleted_before_its_build(json!({"network_id": "none"})).await;
    assert_eq!(cloud.docker(|docker| docker.started.clone()), [CONTAINER]);
    assert!(cloud.docker(|docker| docker.containers.is_empty()));
}

#[tokio::test]
async fn what_was_made_ahead_goes_when_the_instance_is_not_this_host_s() {
    let cloud = deleted_before_its_build(json!({"network_id": NETWORK})).await;
    assert!(!cloud.docker(|docker| docker.started.contains(&CONTAINER.to_owned())), "without its ports");
    assert!(cloud.docker(|docker| docker.containers.is_empty()), "a sandbox is left");
    assert!(!cloud.ports(|neutron| neutron.requests.contains(&"POST ports".to_owned())));

    // One that is stopped here keeps what it has when its build comes once more.
    let cloud = Cloud::connected().await;
    cloud.ask("stop_instance", "powering-off", json!({"clean_shutdown": true})).await;
    cloud.until_event_ends().await;
    cloud.nova.with(Database::take_names);
    let before = cloud.docker(|docker| docker.containers.clone());
    let mut again = build(&cloud.nova);
    again["requested_networks"] = networks(&[json!({"network_id": NETWORK})]);
    cloud.nova.cast("h1", "build_and_run_instance", again).await;
    cloud.nova.until("it was refused", |db| db.find("Instance.save").is_some()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(cloud.docker(|docker| docker.containers.clone()), before);
    assert_eq!(cloud.field("vm_state"), json!("stopped"));
}

#[tokio::test]
async fn a_delete_while_the_event_is_awaited_ends_quietly_and_leaves_nothing() {
    let cloud = Cloud::running(HOST).await;
    cloud.boot_on(&[json!({"network_id": NETWORK})]).await;
    cloud.until_plugged(1).await;
    cloud.ask("terminate_instance", "deleting", json!({"bdms": null})).await;
    cloud.nova.until("the row is gone", |db| db.instances.is_empty()).await;
    cloud.nothing_is_left();
    assert_eq!(cloud.fault(), "");
}

#[tokio::test]
async fn stop_and_start_keep_the_nic_and_a_hard_reboot_plugs_it_again() {
    let cloud = Cloud::connected().await;
    let plugs = || cloud.wiring.history.lock().unwrap().len();
    cloud.ask("stop_instance", "powering-off", json!({"clean_shutdown": true})).await;
    cloud.until("vm_state", "stopped").await;
    cloud.ask("start_instance", "powering-on", json!({})).await;
    cloud.until("vm_state", "active").await;
    assert_eq!(cloud.wiring.ports(), [MADE]);
    assert_eq!(cloud.container(), Some(true));
    let before = plugs();
    cloud.nova.with(Database::take_names);
    cloud.ask("reboot_instance", "rebooting_hard", json!({"reboot_type": "HARD"})).await;
    cloud.until_event_ends().await;
    assert_eq!((cloud.container(), cloud.wiring.ports().len()), (Some(true), 1));
    assert!(plugs() > before);
}
