//! Live tests of a cloud whose networks ML2/OVS makes (`networks.mechanism: openvswitch`): real Neutron and its agent for Open
//! vSwitch. `./octopenstack test --set networks.mechanism=openvswitch --only live` starts the platform and runs them.
//!
//! What does not depend on who makes the networks is shown on OVN, by the tests in `live/`.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tests::agent::platform_option;
use tests::cloud::{Boot, Cloud, list, text};
use tests::host::Host;
use tests::network::{Guest, Lab, allow, becomes, delete, greeting, ports, tcp};
use tests::platform;

/// The smallest server of that name on this network, in this group.
fn on<'a>(name: &'a str, network: &str, group: &str, mut more: Value) -> Boot<'a> {
    more["networks"] = json!([{"uuid": network}]);
    more["security_groups"] = json!([{"name": group}]);
    Boot { name, image: "demo", flavor: "c1", extra: more, hints: Value::Null }
}

/// A network, and a group that lets in ping and SSH.
async fn stage(lab: &mut Lab<'_>, name: &str, cidr: &str) -> Result<(String, String)> {
    let (network, _) = lab.network(name, cidr, json!({})).await?;
    let group = lab.group(name, &[json!({"protocol": "icmp"}), tcp(22)]).await?;
    Ok((network, group))
}

#[tokio::test]
#[ignore = "needs a platform with networks.mechanism openvswitch"]
async fn servers_of_a_network_reach_one_another_as_their_groups_allow() -> Result<()> {
    let cloud = Cloud::admin().await?;
    let mut lab = Lab::new(&cloud).await?;
    let (network, group) = stage(&mut lab, "ml2-a", "10.85.1.0/24").await?;
    let boots = ["ml2-one", "ml2-two"].map(|name| on(name, &network, &group, json!({})));
    let [one, two] = lab.guests(boots).await?;
    is_bound_by_the_agent(&cloud, &one).await?;

    let host = &lab.host;
    becomes("a ping arrives", || one.pings(host, &two.address)).await?;
    // TCP fails where checksums are left to a switch that does not fill them in; pings do not.
    ensure!(one.connects(host, &two.address, 22).await?, "no TCP between the servers");
    ensure!(!one.connects(host, &two.address, 80).await?, "the group lets nobody in at port 80");
    let rule = allow(&cloud, &group, &tcp(80)).await?;
    becomes("TCP 80 is open", || one.connects(host, &two.address, 80)).await?;
    delete(&cloud, "network", &format!("/v2.0/security-group-rules/{rule}")).await?;
    becomes("TCP 80 is closed", || async { Ok(!one.connects(host, &two.address, 80).await?) }).await?;

    one.ip(host, &["address", "add", "10.85.1.200/24", "dev", "eth0"]).await?;
    ensure!(
        !one.pings(host, &format!("-I 10.85.1.200 {}", two.address)).await?,
        "a foreign address gets through"
    );
    ensure!(one.pings(host, &two.address).await?, "its own does not any more");

    knows_itself(&cloud, host, &one, &network).await?;
    lab.remove().await
}

/// Neutron's agent made the port ACTIVE, and nobody else could have.
async fn is_bound_by_the_agent(cloud: &Cloud, guest: &Guest) -> Result<()> {
    // Neutron tells Nova so before it has committed it.
    becomes("the port is ACTIVE", || async { Ok(ports(cloud, &guest.id).await?[0]["status"] == "ACTIVE") })
        .await?;
    let port = ports(cloud, &guest.id).await?.remove(0);
    assert_eq!(port["binding:vif_type"], "ovs");
    assert_eq!(port["binding:host_id"], platform_option("host").await?.as_str());
    let details = &port["binding:vif_details"];
    assert_eq!(details["bound_drivers"], json!({"0": "openvswitch"}));
    assert_eq!((&details["ovs_hybrid_plug"], &details["bridge_name"]), (&json!(false), &json!("br-int")));
    Ok(())
}

/// The guest has MTU and address of its port, and metadata of its own.
async fn knows_itself(cloud: &Cloud, host: &Host, guest: &Guest, network: &str) -> Result<()> {
    let mtu = cloud.get("network", &format!("/v2.0/networks/{network}")).await?["network"]["mtu"].clone();
    let shown = host.exec(&guest.container(), &["ip", "address", "show", "eth0"]).await?;
    ensure!(shown.contains(&format!("mtu {mtu} ")) && shown.contains(&guest.address), "{shown}");
    let url = "http://169.254.169.254/openstack/latest/meta_data.json";
    let metadata = host.exec(&guest.container(), &["wget", "-q", "-O", "-", url]).await?;
    let metadata: Value = serde_json::from_str(&metadata).context(metadata)?;
    assert_eq!(metadata["uuid"], guest.id.as_str());
    Ok(())
}

#[tokio::test]
#[ignore = "needs a platform with networks.mechanism openvswitch"]
async fn an_interface_is_attached_and_detached_while_the_server_runs() -> Result<()> {
    let cloud = Cloud::admin().await?;
    let mut lab = Lab::new(&cloud).await?;
    let (network, group) = stage(&mut lab, "ml2-b", "10.85.2.0/24").await?;
    let (further, _) = lab.network("ml2-c", "10.85.3.0/24", json!({})).await?;
    let [one] = lab.guests([on("ml2-three", &network, &group, json!({}))]).await?;
    let [two] = lab.guests([on("ml2-four", &further, &group, json!({}))]).await?;

    let path = format!("/servers/{}/os-interface", one.id);
    let port = json!({"network_id": further, "security_groups": [group], "name": "ml2-own"});
    let port = text(&lab.make("port", port).await?["id"]).to_owned();
    cloud.post("compute", &path, json!({"interfaceAttachment": {"port_id": port}})).await?;
    let host = &lab.host;
    becomes("the further network is there", || one.pings(host, &two.address)).await?;
    ensure!(one.connects(host, &two.address, 22).await?, "no TCP over the attached port");

    let (status, answer) = cloud.request(Method::DELETE, "compute", &format!("{path}/{port}"), None).await?;
    ensure!(status.is_success(), "{status} {answer}");
    becomes("it is gone", || async { Ok(!one.runs(host, &["ip", "link", "show", "eth1"]).await?) }).await?;
    becomes("the user's port is free", || async {
        let found = cloud.get("network", &format!("/v2.0/ports/{port}")).await?;
        Ok(found["port"]["device_id"] == "" && found["port"]["status"] == "DOWN")
    })
    .await?;
    let attached = list(&cloud.get("compute", &path).await?["interfaceAttachments"]);
    ensure!(attached.len() == 1, "{attached:?}");
    lab.remove().await
}

#[tokio::test]
#[ignore = "needs a platform with networks.mechanism openvswitch"]
async fn the_provider_network_leads_to_the_host_and_from_there() -> Result<()> {
    let cloud = Cloud::admin().await?;
    let mut lab = Lab::new(&cloud).await?;
    let public = cloud.get("network", "/v2.0/networks?name=public").await?;
    let public = text(&public["networks"][0]["id"]).to_owned();
    let group = lab.group("ml2-public", &[tcp(22)]).await?;
    let [guest] = lab.guests([on("ml2-public", &public, &group, json!({}))]).await?;
    ensure!(greeting(&guest.address, 22).await?.starts_with("SSH-2.0-"));
    // Replies to what it asked are let in, whoever they are from.
    let subnet = cloud.get("network", "/v2.0/subnets?name=public").await?;
    ensure!(
        guest.pings(&lab.host, text(&subnet["subnets"][0]["gateway_ip"])).await?,
        "no way to the gateway"
    );
    lab.remove().await
}

#[tokio::test]
#[ignore = "needs a platform with networks.mechanism openvswitch"]
async fn the_network_is_there_again_after_restarts_of_switch_and_agents() -> Result<()> {
    let cloud = Cloud::admin().await?;
    let mut lab = Lab::new(&cloud).await?;
    let (network, group) = stage(&mut lab, "ml2-d", "10.85.4.0/24").await?;
    let boots = ["ml2-five", "ml2-six"].map(|name| on(name, &network, &group, json!({})));
    let [one, two] = lab.guests(boots).await?;
    for service in ["openvswitch", "neutron-openvswitch-agent", "nova-docker-agent"] {
        lab.host.restart(&platform::container(service)?).await?;
        let host = &lab.host;
        becomes("pings arrive", || one.pings(host, &two.address))
            .await
            .with_context(|| service.to_owned())?;
    }
    cloud.action(&one.id, json!({"reboot": {"type": "HARD"}})).await?;
    cloud.wait_for(&one.id, "ACTIVE").await?;
    let host = &lab.host;
    becomes("pings arrive after a reboot", || one.pings(host, &two.address)).await?;
    lab.remove().await
}

/// Only members of the group reach the web servers of its members, wherever these are.
#[tokio::test]
#[ignore = "needs a platform with networks.mechanism openvswitch"]
async fn packets_go_through_the_tunnel_between_two_hosts() -> Result<()> {
    let cloud = Cloud::admin().await?;
    let mut lab = Lab::new(&cloud).await?;
    let (network, group) = stage(&mut lab, "ml2-e", "10.85.5.0/24").await?;
    let mut of_members = tcp(80);
    of_members["remote_group_id"] = json!(group);
    allow(&cloud, &group, &of_members).await?;
    let first = platform_option("host").await?;
    let second = format!("{first}-2");
    let found = cloud.get("compute", &format!("/os-services?binary=nova-compute&host={second}")).await?;
    let service = format!("/os-services/{}", text(&found["services"][0]["id"]));
    cloud.put_body("compute", &service, json!({"status": "enabled"})).await?;
    let boots = [("ml2-near", &first), ("ml2-far", &second)]
        .map(|(name, host)| on(name, &network, &group, json!({"host": host})));
    let booted = lab.guests(boots).await;
    cloud.put_body("compute", &service, json!({"status": "disabled"})).await?;

    let [near, far] = booted?;
    let there = Host::second()?;
    becomes("a ping gets there", || near.pings(&lab.host, &far.address)).await?;
    becomes("a ping gets here", || far.pings(&there, &near.address)).await?;
    ensure!(near.connects(&lab.host, &far.address, 80).await?, "no TCP to the other host");
    ensure!(far.connects(&there, &near.address, 80).await?, "no TCP from the other host");
    lab.remove().await
}
