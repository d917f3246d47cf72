//! Each kind of port that Neutron may hand out.

use serde_json::json;

use super::*;
use crate::test_support;

const PORT: &str = "9a4e1a1b-1c2d-4e5f-8a9b-0c1d2e3f4a5b";

/// A port as Nova describes one of ML2/OVN on the userspace datapath.
fn vif(change: impl FnOnce(&mut Value)) -> Vif {
    let ip = |address: &str| json!({"address": address, "type": "gateway", "version": 4, "meta": {}});
    let mut vif = json!({
        "id": PORT, "address": "fa:16:3e:00:00:2a", "type": "ovs", "vnic_type": "normal", "active": false,
        "devname": "tap9a4e1a1b-1c", "ovs_interfaceid": PORT, "profile": {}, "preserve_on_delete": false,
        "qbh_params": null, "qbg_params": null, "delegate_create": true, "meta": {},
        "details": {"port_filter": true, "connectivity": "l2", "bridge_name": "br-int", "datapath_type": "netdev"},
        "network": {
            "id": "5e0b1f66-4d5d-4a44-a3a3-7a5a5a5a5a5a", "bridge": "br-int", "label": "private",
            "meta": {"injected": false, "tenant_id": "p", "mtu": 1442, "physical_network": null, "tunneled": true},
            "subnets": [{
                "cidr": "10.0.0.0/24", "version": 4, "meta": {}, "dns": [ip("8.8.8.8")], "gateway": ip("10.0.0.1"),
                "routes": [], "ips": [{"address": "10.0.0.5", "type": "fixed", "version": 4, "meta": {}, "floating_ips": []}]
            }]
        }
    });
    change(&mut vif);
    serde_json::from_value(vif).unwrap()
}

fn v6(address: &str, gateway: Value, mode: &str) -> Value {
    json!({"cidr": "fd00:1::/64", "version": 6, "meta": {"ipv6_address_mode": mode}, "gateway": {"address": gateway},
           "ips": [{"address": address}]})
}

fn plan(vif: &Vif) -> Result<NicPlan, Error> {
    nic_plan(test_support::uuid(), vif, 0, &[])
}

#[test]
fn a_port_of_ovn() {
    insta::assert_debug_snapshot!(plan(&vif(|_| {})).unwrap());
}

#[test]
fn nothing_of_nova_s_is_lost() {
    let mut given = Value::Null;
    let vif = vif(|vif| given = vif.clone());
    assert_eq!(serde_json::to_value(vif).unwrap(), given);
}

#[test]
fn two_families_and_routes() {
    let plan = plan(&vif(|vif| {
        let subnets = vif["network"]["subnets"].as_array_mut().unwrap();
        subnets[0]["routes"] = json!([
            {"cidr": "192.168.9.7/16", "gateway": {"address": "10.0.0.254"}, "interface": null},
            {"cidr": "172.16.0.0/12", "gateway": {"address": "0.0.0.0"}},
        ]);
        subnets.push(v6("fd00:1::f816:3eff:fe00:2a", json!("fd00:1::1"), "slaac"));
    }));
    insta::assert_debug_snapshot!(plan.unwrap());
}

#[test]
fn gateways_of_ipv6() {
    let routes = |gateway| {
        routes_of(
            &plan(&vif(|vif| vif["network"]["subnets"] = json!([v6("fd00:1::5", gateway, "slaac")])))
                .unwrap(),
        )
    };
    assert_eq!(routes(json!("fe80::1")), ["::/0 via fe80::1"]);
    assert_eq!(routes(Value::Null), [""; 0], "only the routers of the network know");
}

fn routes_of(plan: &NicPlan) -> Vec<String> {
    let text = |route: &Route| match route.via {
        Some(via) => format!("{} via {via}", route.to),
        None => format!("{} on the link", route.to),
    };
    plan.routes.iter().map(text).collect()
}

#[test]
fn a_gateway_outside_the_subnet_and_a_default_route_among_the_host_routes() {
    let plan = plan(&vif(|vif| {
        let subnet = &mut vif["network"]["subnets"][0];
        subnet["cidr"] = json!("10.0.0.5/32");
        subnet["routes"] = json!([{"cidr": "0.0.0.0/0", "gateway": {"address": "10.9.9.9"}}]);
    }));
    assert_eq!(routes_of(&plan.unwrap()), ["10.9.9.9/32 on the link", "0.0.0.0/0 via 10.9.9.9"]);
}

#[test]
fn only_the_first_gateway_gets_the_default_route() {
    let other = |port: &str, gateway: Value| {
        vif(|vif| {
            vif["id"] = json!(port);
            vif["network"]["subnets"][0]["gateway"] = gateway;
        })
    };
    let none = other("1a4e1a1b-1c2d-4e5f-8a9b-0c1d2e3f4a5b", json!({"address": null, "type": "gateway"}));
    let second = other("2a4e1a1b-1c2d-4e5f-8a9b-0c1d2e3f4a5b", json!({"address": "10.0.0.2"}));
    let plans = nic_plans(test_support::uuid(), &[none, vif(|_| {}), second]).unwrap();
    let told: Vec<_> = plans.iter().map(|plan| (plan.name.as_str(), routes_of(plan).join(","))).collect();
    assert_eq!(
        told,
        [("eth0", String::new()), ("eth1", "0.0.0.0/0 via 10.0.0.1".into()), ("eth2", String::new())]
    );
}

#[test]
fn kernel_datapath_and_linux_bridge() {
    let system = plan(&vif(|vif| vif["details"] = json!({"datapath_type": "system"}))).unwrap();
    assert_eq!((system.bridge.as_str(), system.switch), ("br-int", Switch::Ovs { netdev: false }));
    let bridge = |name: Value| {
        plan(&vif(|vif| {
            vif["type"] = json!("bridge");
            vif["details"] = Value::Null;
            vif["network"]["bridge"] = name;
        }))
        .unwrap()
    };
    assert_eq!(bridge(json!("brq5e0b1f66-4d")).bridge, "brq5e0b1f66-4d");
    assert_eq!(
        (bridge(Value::Null).bridge.as_str(), bridge(Value::Null).switch),
        ("brq5e0b1f66-4d", Switch::LinuxBridge)
    );
}

#[test]
fn an_mtu_that_nobody_told() {
    assert_eq!(plan(&vif(|vif| vif["network"]["meta"]["mtu"] = Value::Null)).unwrap().mtu, 1500);
    assert_eq!(plan(&vif(|vif| vif["network"]["meta"]["mtu"] = json!(9000))).unwrap().mtu, 9000);
}

#[test]
fn what_cannot_be_plugged_says_why() {
    let refusal = |change: fn(&mut Value)| plan(&vif(change)).unwrap_err().to_string();
    assert_eq!(
        refusal(|vif| vif["type"] = json!("binding_failed")),
        format!("Binding failed for port {PORT}, please check neutron logs for more information.")
    );
    assert!(refusal(|vif| vif["type"] = Value::Null).contains("is not bound to this host (vif_type none)"));
    assert!(refusal(|vif| vif["type"] = json!("unbound")).contains("(vif_type unbound)"));
    assert!(refusal(|vif| vif["type"] = json!("hw_veb")).contains("vif_type is hw_veb"));
    assert!(refusal(|vif| vif["vnic_type"] = json!("direct")).contains("vnic_type is direct"));
    assert!(
        refusal(|vif| vif["details"]["ovs_hybrid_plug"] = json!(true))
            .contains("firewall_driver = openvswitch")
    );
    assert!(refusal(|vif| vif["address"] = json!("fa:16:3e")).contains("its MAC address is \"fa:16:3e\""));
    assert!(
        refusal(|vif| vif["network"]["subnets"][0]["ips"][0]["address"] = json!("fd00::1"))
            .contains("fd00::1 is not one of")
    );
}
