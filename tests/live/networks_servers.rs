//! Servers on real networks: a port with its addresses, a floating address, the key, metadata; what stops, restarts and
//! hot changes do to them, and that a delete leaves nothing on the host or in Neutron.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::agent::platform_option;
use tests::cloud::{Cloud, DEADLINE, text};
use tests::host::Host;
use tests::network::{container, delete, greeting, greets, in_the_switch, nothing_is_left, ports};

use crate::{shared, small};

/// A key that nobody has.
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA8Jx0mJ9n6m3pHk0y9lYw2t5q8r1s4u7v0x3z6A9B2C octopenstack-test";

/// What the tests of this file need beside a server: a network with a router to the outside, a group, a key.
struct Net {
    network: String,
    subnet: String,
    router: String,
    group: String,
    key: String,
    external: String,
}

impl Net {
    async fn new(cloud: &Cloud, name: &str, cidr: &str) -> Result<Self> {
        let external = cloud.get("network", "/v2.0/networks?router:external=true").await?;
        let external = text(&external["networks"][0]["id"]).to_owned();
        ensure!(!external.is_empty(), "the platform has no external network");
        let made = |answer: Value, kind: &str| text(&answer[kind]["id"]).to_owned();
        let post = |path: &'static str, body: Value| cloud.post("network", path, body);
        let network = made(post("/v2.0/networks", json!({"network": {"name": name}})).await?, "network");
        let subnet = json!({"subnet": {"network_id": network, "ip_version": 4, "cidr": cidr, "name": name}});
        let subnet = made(post("/v2.0/subnets", subnet).await?, "subnet");
        let router = json!({"router": {"name": name, "external_gateway_info": {"network_id": external}}});
        let router = made(post("/v2.0/routers", router).await?, "router");
        let interface = format!("/v2.0/routers/{router}/add_router_interface");
        cloud.put_body("network", &interface, json!({"subnet_id": subnet})).await?;
        let group = json!({"security_group": {"name": name}});
        let group = made(post("/v2.0/security-groups", group).await?, "security_group");
        for rule in [
            json!({"protocol": "tcp", "port_range_min": 22, "port_range_max": 22}),
            json!({"protocol": "tcp", "port_range_min": 80, "port_range_max": 80}),
            json!({"protocol": "icmp"}),
        ] {
            let mut rule = rule;
            rule["security_group_id"] = json!(group);
            rule["direction"] = json!("ingress");
            rule["ethertype"] = json!("IPv4");
            post("/v2.0/security-group-rules", json!({"security_group_rule": rule})).await?;
        }
        cloud
            .post(
                "compute",
                "/os-keypairs",
                json!({"keypair": {"name": name, "type": "ssh", "public_key": KEY}}),
            )
            .await?;
        Ok(Self { network, subnet, router, group, key: name.to_owned(), external })
    }

    /// The server that the tests boot.
    fn boot<'a>(&self, name: &'a str) -> tests::cloud::Boot<'a> {
        let mut boot = small(name);
        boot.extra = json!({
            "networks": [{"uuid": self.network}], "key_name": self.key, "security_groups": [{"name": self.group}],
        });
        boot
    }

    /// Gives a port a floating address.
    async fn floating(&self, cloud: &Cloud, port: &str) -> Result<(String, String)> {
        let body = json!({"floatingip": {"floating_network_id": self.external, "port_id": port}});
        let made = cloud.post("network", "/v2.0/floatingips", body).await?["floatingip"].clone();
        Ok((text(&made["id"]).to_owned(), text(&made["floating_ip_address"]).to_owned()))
    }

    async fn remove(self, cloud: &Cloud) -> Result<()> {
        let interface = format!("/v2.0/routers/{}/remove_router_interface", self.router);
        cloud.put_body("network", &interface, json!({"subnet_id": self.subnet})).await?;
        for (service, path) in [
            ("network", format!("/v2.0/routers/{}", self.router)),
            ("network", format!("/v2.0/networks/{}", self.network)),
            ("network", format!("/v2.0/security-groups/{}", self.group)),
            ("compute", format!("/os-keypairs/{}", self.key)),
        ] {
            delete(cloud, service, &path).await?;
        }
        Ok(())
    }
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_server_with_network_key_and_group_is_reached_through_its_floating_address() -> Result<()> {
    let _platform = shared().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let net = Net::new(&cloud, "net-boot", "10.81.1.0/24").await?;
    let server = cloud.boot_active(&net.boot("net-boot")).await?;
    let id = text(&server["id"]).to_owned();
    let found = ports(&cloud, &id).await?;
    ensure!(found.len() == 1, "{found:?}");
    let (port, address) =
        (text(&found[0]["id"]).to_owned(), text(&found[0]["fixed_ips"][0]["ip_address"]).to_owned());
    assert_eq!(found[0]["status"], "ACTIVE");
    assert_eq!(found[0]["binding:host_id"], platform_option("host").await?.as_str());
    assert_eq!(found[0]["security_groups"], json!([net.group]));
    assert_eq!(server["addresses"]["net-boot"][0]["addr"], address.as_str());
    assert_eq!(server["addresses"]["net-boot"][0]["OS-EXT-IPS-MAC:mac_addr"], found[0]["mac_address"]);

    // The guest has the port's address, MAC, MTU and route from its first moment on.
    let guest = container(&id);
    let shown = host.exec(&guest, &["ip", "address", "show", "eth0"]).await?;
    assert!(shown.contains(&address) && shown.contains(text(&found[0]["mac_address"])), "{shown}");
    assert!(shown.contains("mtu 1442") || shown.contains("mtu 14"), "{shown}");
    assert!(host.exec(&guest, &["ip", "route"]).await?.contains("default via 10.81.1.1"));

    let (floating, outside) = net.floating(&cloud, &port).await?;
    assert!(greeting(&outside, 22).await?.starts_with("SSH-2.0-"));
    let keys = host.exec(&guest, &["cat", "/root/.ssh/authorized_keys"]).await?;
    assert!(keys.contains(KEY), "{keys}");
    let metadata = "http://169.254.169.254/openstack/latest/meta_data.json";
    let metadata = host.exec(&guest, &["wget", "-q", "-O", "-", metadata]).await?;
    let metadata: Value = serde_json::from_str(&metadata).context(metadata)?;
    assert_eq!((&metadata["uuid"], &metadata["name"]), (&json!(id), &json!("net-boot")));

    // Nova learns of the floating address by Neutron's event.
    let start = Instant::now();
    loop {
        let server = cloud.server(&id).await?.context("the server is gone")?;
        if server["addresses"].to_string().contains(&outside) {
            break;
        }
        ensure!(start.elapsed() < DEADLINE, "Nova does not know {outside}: {}", server["addresses"]);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    delete(&cloud, "network", &format!("/v2.0/floatingips/{floating}")).await?;
    cloud.delete(&id).await?;
    nothing_is_left(&cloud, &host, &id, &port).await?;
    net.remove(&cloud).await
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn stops_starts_and_reboots_keep_the_network() -> Result<()> {
    let _platform = shared().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let net = Net::new(&cloud, "net-keep", "10.81.2.0/24").await?;
    let server = cloud.boot_active(&net.boot("net-keep")).await?;
    let id = text(&server["id"]).to_owned();
    let port = text(&ports(&cloud, &id).await?[0]["id"]).to_owned();
    let (floating, outside) = net.floating(&cloud, &port).await?;
    greeting(&outside, 22).await?;

    cloud.action(&id, json!({"os-stop": null})).await?;
    cloud.wait_for(&id, "SHUTOFF").await?;
    // Not refused: nobody is there to refuse it.
    let silence = greets(&outside, 22).await?;
    ensure!(silence.as_ref().is_err_and(|error| error.kind() == ErrorKind::TimedOut), "{silence:?}");
    ensure!(in_the_switch(&host, &id).await?.is_empty(), "it is plugged still");
    cloud.action(&id, json!({"os-start": null})).await?;
    cloud.wait_for(&id, "ACTIVE").await?;
    greeting(&outside, 22).await.context("after stop and start")?;
    for kind in ["SOFT", "HARD"] {
        cloud.action(&id, json!({"reboot": {"type": kind}})).await?;
        cloud.wait_for(&id, "ACTIVE").await?;
        greeting(&outside, 22).await.with_context(|| format!("after the {kind} reboot"))?;
    }
    // Somebody restarts the container behind Nova's back.
    host.restart(&container(&id)).await?;
    greeting(&outside, 22).await.context("after a restart by Docker")?;

    delete(&cloud, "network", &format!("/v2.0/floatingips/{floating}")).await?;
    cloud.delete(&id).await?;
    nothing_is_left(&cloud, &host, &id, &port).await?;
    net.remove(&cloud).await
}

/// Covers: attach_interface, detach_interface
#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn interfaces_are_attached_and_detached_while_the_server_runs() -> Result<()> {
    let _platform = shared().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let net = Net::new(&cloud, "net-hot", "10.81.3.0/24").await?;
    let server = cloud.boot_active(&net.boot("net-hot")).await?;
    let id = text(&server["id"]).to_owned();
    let guest = container(&id);

    let wanted = json!({"interfaceAttachment": {"net_id": net.network,
        "fixed_ips": [{"ip_address": "10.81.3.77"}], "tag": "second"}});
    let attached = cloud.post("compute", &format!("/servers/{id}/os-interface"), wanted).await?;
    let attached = &attached["interfaceAttachment"];
    let port = text(&attached["port_id"]).to_owned();
    assert_eq!(attached["fixed_ips"][0]["ip_address"], "10.81.3.77");
    assert!(host.exec(&guest, &["ip", "address", "show", "eth1"]).await?.contains("10.81.3.77"));

    delete(&cloud, "compute", &format!("/servers/{id}/os-interface/{port}")).await?;
    let start = Instant::now();
    while ports(&cloud, &id).await?.len() != 1 {
        ensure!(start.elapsed() < DEADLINE, "the port is still there");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!host.exec(&guest, &["ip", "-o", "link"]).await?.contains("eth1"));

    // A port that the user made survives the server.
    let own = json!({"port": {"network_id": net.network, "name": "own"}});
    let own = text(&cloud.post("network", "/v2.0/ports", own).await?["port"]["id"]).to_owned();
    let wanted = json!({"interfaceAttachment": {"port_id": own}});
    cloud.post("compute", &format!("/servers/{id}/os-interface"), wanted).await?;
    let first = text(&ports(&cloud, &id).await?[0]["id"]).to_owned();
    cloud.delete(&id).await?;
    nothing_is_left(&cloud, &host, &id, &first).await?;
    let kept = cloud.get("network", &format!("/v2.0/ports/{own}")).await?["port"].clone();
    assert_eq!((&kept["device_id"], &kept["device_owner"]), (&json!(""), &json!("")));
    delete(&cloud, "network", &format!("/v2.0/ports/{own}")).await?;
    net.remove(&cloud).await
}

/// Covers: external_instance_event
#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_port_that_neutron_deletes_takes_its_nic_along() -> Result<()> {
    let _platform = shared().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let net = Net::new(&cloud, "net-lost", "10.81.4.0/24").await?;
    let server = cloud.boot_active(&net.boot("net-lost")).await?;
    let id = text(&server["id"]).to_owned();
    let port = text(&ports(&cloud, &id).await?[0]["id"]).to_owned();
    delete(&cloud, "network", &format!("/v2.0/ports/{port}")).await?;
    let start = Instant::now();
    while !in_the_switch(&host, &id).await?.is_empty() {
        ensure!(start.elapsed() < DEADLINE, "the NIC is still plugged");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let shown = cloud.server(&id).await?.context("the server is gone")?;
    assert_eq!(shown["addresses"], json!({}));
    cloud.delete(&id).await?;
    nothing_is_left(&cloud, &host, &id, &port).await?;
    net.remove(&cloud).await
}
