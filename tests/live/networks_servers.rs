//! Servers on real networks: a port with its addresses, a floating address, the key, metadata; what stops, restarts and
//! hot changes do to them. That nothing is left on the host or in Neutron [`Lab::remove`] looks for.

use std::io::ErrorKind;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::agent::platform_option;
use tests::cloud::{Boot, Cloud, text};
use tests::network::{Guest, Lab, becomes, delete, greeting, greets, in_the_switch, ports, tcp};

use crate::{shared, small};

/// A key that nobody has.
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA8Jx0mJ9n6m3pHk0y9lYw2t5q8r1s4u7v0x3z6A9B2C octopenstack-test";

/// A lab with a network that has a way to the outside, and a server on it that lets SSH, HTTP and pings in. `more` goes into
/// the request for the server.
struct Stage<'a> {
    lab: Lab<'a>,
    network: String,
    group: String,
    guest: Guest,
}

impl<'a> Stage<'a> {
    async fn set(cloud: &'a Cloud, name: &str, cidr: &str, more: Value) -> Result<Self> {
        let mut lab = Lab::new(cloud).await?;
        let (network, subnet) = lab.network(name, cidr, json!({})).await?;
        lab.router(name, &[&subnet]).await?;
        let group = lab.group(name, &[tcp(22), tcp(80), json!({"protocol": "icmp"})]).await?;
        let mut extra = json!({"networks": [{"uuid": network}], "security_groups": [{"name": group}]});
        if let (Some(extra), Value::Object(more)) = (extra.as_object_mut(), more) {
            extra.extend(more);
        }
        let [guest] = lab.guests([Boot { extra, ..small(name) }]).await?;
        Ok(Self { lab, network, group, guest })
    }
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_server_with_network_key_and_group_is_reached_through_its_floating_address() -> Result<()> {
    let _platform = shared().await;
    let cloud = Cloud::admin().await?;
    let key = json!({"keypair": {"name": "net-boot", "type": "ssh", "public_key": KEY}});
    cloud.post("compute", "/os-keypairs", key).await?;
    let stage = Stage::set(&cloud, "net-boot", "10.81.1.0/24", json!({"key_name": "net-boot"})).await?;
    let Stage { mut lab, network, group, guest } = stage;
    let found = ports(&cloud, &guest.id).await?;
    ensure!(found.len() == 1, "{found:?}");
    let server = cloud.server(&guest.id).await?.context("the server is gone")?;
    // Neutron tells Nova so before it has committed it.
    becomes("the port is ACTIVE", || async { Ok(ports(&cloud, &guest.id).await?[0]["status"] == "ACTIVE") })
        .await?;
    assert_eq!(found[0]["binding:host_id"], platform_option("host").await?.as_str());
    assert_eq!(found[0]["security_groups"], json!([group]));
    assert_eq!(server["addresses"]["net-boot"][0]["addr"], guest.address.as_str());
    assert_eq!(server["addresses"]["net-boot"][0]["OS-EXT-IPS-MAC:mac_addr"], found[0]["mac_address"]);

    // The guest has the port's address, MAC, MTU and route from its first moment on.
    let inside = async |command: &[&str]| lab.host.exec(&guest.container(), command).await;
    let mtu = cloud.get("network", &format!("/v2.0/networks/{network}")).await?["network"]["mtu"].clone();
    let shown = inside(&["ip", "address", "show", "eth0"]).await?;
    for wanted in [guest.address.as_str(), text(&found[0]["mac_address"]), &format!("mtu {mtu} ")] {
        assert!(shown.contains(wanted), "no {wanted:?} in {shown}");
    }
    assert!(inside(&["ip", "route"]).await?.contains("default via 10.81.1.1"));
    let keys = inside(&["cat", "/root/.ssh/authorized_keys"]).await?;
    assert!(keys.contains(KEY), "{keys}");
    let metadata = "http://169.254.169.254/openstack/latest/meta_data.json";
    let metadata = inside(&["wget", "-q", "-O", "-", metadata]).await?;
    let metadata: Value = serde_json::from_str(&metadata).context(metadata)?;
    assert_eq!((&metadata["uuid"], &metadata["name"]), (&json!(guest.id), &json!("net-boot")));

    let (_, outside) = lab.floating(Some(&guest.port)).await?;
    assert!(greeting(&outside, 22).await?.starts_with("SSH-2.0-"));
    // Nova learns of the floating address by Neutron's event.
    becomes("Nova knows the floating address", async || {
        let server = cloud.server(&guest.id).await?.context("the server is gone")?;
        Ok(server["addresses"].to_string().contains(&outside))
    })
    .await?;
    lab.remove().await?;
    delete(&cloud, "compute", "/os-keypairs/net-boot").await
}

/// Nobody is there, not even somebody who refuses.
async fn is_silent(address: &str) -> Result<()> {
    let silence = greets(address, 22).await?;
    ensure!(silence.as_ref().is_err_and(|error| error.kind() == ErrorKind::TimedOut), "{silence:?}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn stops_starts_and_reboots_keep_the_network() -> Result<()> {
    let _platform = shared().await;
    let cloud = Cloud::admin().await?;
    let Stage { mut lab, guest, .. } = Stage::set(&cloud, "net-keep", "10.81.2.0/24", Value::Null).await?;
    let (_, outside) = lab.floating(Some(&guest.port)).await?;
    greeting(&outside, 22).await?;

    cloud.action(&guest.id, json!({"os-stop": null})).await?;
    cloud.wait_for(&guest.id, "SHUTOFF").await?;
    is_silent(&outside).await?;
    ensure!(in_the_switch(&lab.host, &guest.id).await?.is_empty(), "it is plugged still");
    cloud.action(&guest.id, json!({"os-start": null})).await?;
    cloud.wait_for(&guest.id, "ACTIVE").await?;
    greeting(&outside, 22).await.context("after stop and start")?;
    for kind in ["SOFT", "HARD"] {
        cloud.action(&guest.id, json!({"reboot": {"type": kind}})).await?;
        cloud.wait_for(&guest.id, "ACTIVE").await?;
        greeting(&outside, 22).await.with_context(|| format!("after the {kind} reboot"))?;
    }
    for (stop, status, go_on) in [("pause", "PAUSED", "unpause"), ("suspend", "SUSPENDED", "resume")] {
        cloud.action(&guest.id, json!({stop: null})).await?;
        cloud.wait_for(&guest.id, status).await?;
        is_silent(&outside).await?;
        let port = ports(&cloud, &guest.id).await?;
        ensure!(port[0]["status"] == "ACTIVE", "{port:?}");
        cloud.action(&guest.id, json!({go_on: null})).await?;
        cloud.wait_for(&guest.id, "ACTIVE").await?;
        greeting(&outside, 22).await.context(go_on)?;
    }
    // Somebody restarts the container behind Nova's back.
    lab.host.restart(&guest.container()).await?;
    greeting(&outside, 22).await.context("after a restart by Docker")?;
    lab.remove().await
}

/// Covers: attach_interface, detach_interface
#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn interfaces_are_attached_and_detached_while_the_server_runs() -> Result<()> {
    let _platform = shared().await;
    let cloud = Cloud::admin().await?;
    let stage = Stage::set(&cloud, "net-hot", "10.81.3.0/24", Value::Null).await?;
    let Stage { lab, network, guest, .. } = stage;
    let interfaces = format!("/servers/{}/os-interface", guest.id);

    let wanted = json!({"interfaceAttachment": {"net_id": network,
        "fixed_ips": [{"ip_address": "10.81.3.177"}], "tag": "second"}});
    let attached = cloud.post("compute", &interfaces, wanted).await?;
    let attached = &attached["interfaceAttachment"];
    assert_eq!(attached["fixed_ips"][0]["ip_address"], "10.81.3.177");
    let inside = async |command: &[&str]| lab.host.exec(&guest.container(), command).await;
    assert!(inside(&["ip", "address", "show", "eth1"]).await?.contains("10.81.3.177"));

    delete(&cloud, "compute", &format!("{interfaces}/{}", text(&attached["port_id"]))).await?;
    becomes("the port is gone", async || Ok(ports(&cloud, &guest.id).await?.len() == 1)).await?;
    assert!(!inside(&["ip", "-o", "link"]).await?.contains("eth1"));

    // A port that the user made survives the server.
    let own = json!({"port": {"network_id": network, "name": "own"}});
    let own = text(&cloud.post("network", "/v2.0/ports", own).await?["port"]["id"]).to_owned();
    cloud.post("compute", &interfaces, json!({"interfaceAttachment": {"port_id": own}})).await?;
    cloud.delete(&guest.id).await?;
    let kept = cloud.get("network", &format!("/v2.0/ports/{own}")).await?["port"].clone();
    assert_eq!((&kept["device_id"], &kept["device_owner"]), (&json!(""), &json!("")));
    delete(&cloud, "network", &format!("/v2.0/ports/{own}")).await?;
    lab.remove().await
}

/// Covers: external_instance_event
#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_port_that_neutron_deletes_takes_its_nic_along() -> Result<()> {
    let _platform = shared().await;
    let cloud = Cloud::admin().await?;
    let Stage { lab, guest, .. } = Stage::set(&cloud, "net-lost", "10.81.4.0/24", Value::Null).await?;
    delete(&cloud, "network", &format!("/v2.0/ports/{}", guest.port)).await?;
    becomes("the NIC is out", async || Ok(in_the_switch(&lab.host, &guest.id).await?.is_empty())).await?;
    let shown = cloud.server(&guest.id).await?.context("the server is gone")?;
    assert_eq!(shown["addresses"], json!({}));
    lab.remove().await
}
