//! Ports that cannot be had: which service refuses, with Nova's own outcome and the cause in its message, and nothing left.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::cloud::{Boot, Cloud, octopenstack_ok, text};
use tests::host::Host;
use tests::network::{Lab, becomes, in_the_switch, nothing_is_left, ports};
use tests::platform;

use crate::networks_tenants::refused;
use crate::{alone, shared, small};

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_boot_with_ports_that_cannot_be_had_says_why() -> Result<()> {
    let _platform = shared().await;
    let cloud = Cloud::admin().await?;
    let mut lab = Lab::new(&cloud).await?;
    let bare = text(&lab.make("network", json!({"name": "refused-bare"})).await?["id"]).to_owned();
    let tiny = text(&lab.make("network", json!({"name": "refused-tiny"})).await?["id"]).to_owned();
    let pool = json!([{"start": "10.82.10.10", "end": "10.82.10.10"}]);
    let subnet =
        json!({"network_id": tiny, "ip_version": 4, "cidr": "10.82.10.0/24", "allocation_pools": pool});
    lab.make("subnet", subnet).await?;
    let on_tiny = json!({"networks": [{ "uuid": tiny }]});
    let [guest] = lab.guests([Boot { extra: on_tiny.clone(), ..small("refused-first") }]).await?;

    // nova-api itself.
    refused(&cloud, &json!({"networks": [{ "uuid": bare }]}), &["400", &bare, "subnet"]).await?;
    refused(&cloud, &json!({"networks": [{ "port": guest.port }]}), &["409", &guest.port, "in use"]).await?;
    let nobody = "00000000-0000-4000-8000-000000000000";
    refused(&cloud, &json!({"networks": [{ "port": nobody }]}), &["400", nobody, "could not be found"])
        .await?;
    refused(&cloud, &json!({"networks": [{ "uuid": nobody }]}), &["400", nobody, "could not be found"])
        .await?;
    let taken = json!({"networks": [{"uuid": tiny, "fixed_ip": guest.address}]});
    refused(&cloud, &taken, &["400", &guest.address, "in use"]).await?;

    // Neutron, when the agent asks it.
    fails(&lab, &on_tiny, &["No fixed IP addresses available", &tiny]).await?;
    let outside = json!({"networks": [{"uuid": tiny, "fixed_ip": "10.99.0.9"}]});
    fails(&lab, &outside, &["10.99.0.9", "not a valid ip address"]).await?;

    let attach = format!("/servers/{}/os-interface", guest.id);
    for (body, words) in [
        (json!({"port_id": guest.port}), ["409", "in use"]),
        (json!({"net_id": tiny}), ["400", "No fixed IP addresses available"]),
        (json!({"net_id": bare}), ["400", "subnet"]),
    ] {
        let answer = cloud.post("compute", &attach, json!({"interfaceAttachment": body})).await;
        let message = answer.err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(words.iter().all(|word| message.contains(word)), "attach {body}: {message:?}");
    }
    ensure!(ports(&cloud, &guest.id).await?.len() == 1, "a refused attach left a port");
    lab.remove().await
}

/// The boot is accepted and fails; what is left of it goes with it.
async fn fails(lab: &Lab<'_>, extra: &Value, words: &[&str]) -> Result<()> {
    let id = lab.cloud.boot(&Boot { extra: extra.clone(), ..small("fails") }).await?;
    let server = lab.cloud.wait_for(&id, "ERROR").await?;
    let message = text(&server["fault"]["message"]);
    ensure!(words.iter().all(|word| message.contains(word)), "not {words:?} but {message:?}");
    ensure!(ports(lab.cloud, &id).await?.is_empty(), "a port is left");
    ensure!(in_the_switch(&lab.host, &id).await?.is_empty(), "a row of the switch is left");
    let containers = lab.host.containers(&format!("nova.instance_uuid={id}")).await?;
    ensure!(containers.is_empty(), "{containers:?}");
    becomes("its allocation is gone", || async { Ok(lab.cloud.allocations(&id).await? == json!({})) })
        .await?;
    lab.cloud.delete(&id).await
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn neutron_is_slow_or_gone_in_the_middle_of_a_boot() -> Result<()> {
    let _platform = alone().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let mut lab = Lab::new(&cloud).await?;
    let (network, _) = lab.network("refused-neutron", "10.82.12.0/24", json!({})).await?;
    let boot = Boot { extra: json!({"networks": [{ "uuid": network }]}), ..small("refused-neutron") };
    let neutron = platform::container("neutron")?;

    // nova-api has looked at the network when it answers; the agent's turn comes while Neutron stands still.
    let slow = cloud.boot(&boot).await?;
    host.pause(&neutron).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    host.unpause(&neutron).await?;
    cloud.wait_for(&slow, "ACTIVE").await?;

    let failed = cloud.boot(&boot).await?;
    host.kill(&neutron).await?;
    // Without Neutron nova-api shows no server, but lists them.
    let path = "/servers?status=ERROR&name=refused-neutron";
    let is_over = || async { Ok(cloud.get("compute", path).await?.to_string().contains(&failed)) };
    let ended = becomes("the boot has failed", is_over).await;
    host.start(&neutron).await?;
    ended?;
    let answers = || async { Ok(cloud.get("network", "/v2.0/ports?limit=1").await.is_ok()) };
    becomes("Neutron answers again", answers).await?;
    let fault = cloud.wait_for(&failed, "ERROR").await?["fault"]["message"].to_string();
    ensure!(fault.contains("/v2.0/"), "the fault does not name Neutron: {fault}");
    ensure!(host.instance(&failed).await?.is_none(), "a container is left");
    // What it had made before it stopped goes with the server.
    cloud.delete(&failed).await?;
    ensure!(ports(&cloud, &failed).await?.is_empty(), "a port is left");
    ensure!(in_the_switch(&host, &failed).await?.is_empty(), "a row of the switch is left");

    let port = text(&ports(&cloud, &slow).await?[0]["id"]).to_owned();
    cloud.delete(&slow).await?;
    nothing_is_left(&cloud, &host, &slow, &port).await?;
    lab.remove().await
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_switch_that_stops_in_the_middle_of_a_boot() -> Result<()> {
    let _platform = alone().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let mut lab = Lab::new(&cloud).await?;
    let (network, _) = lab.network("refused-switch", "10.82.11.0/24", json!({})).await?;
    let boot = Boot { extra: json!({"networks": [{ "uuid": network }]}), ..small("refused-switch") };
    let switch = platform::container("openvswitch")?;

    host.pause(&switch).await?;
    let late = cloud.boot(&boot).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    host.unpause(&switch).await?;
    let late = cloud.wait_for(&late, "ACTIVE").await;

    host.pause(&switch).await?;
    let failed = cloud.boot(&boot).await?;
    let ended = cloud.wait_for(&failed, "ERROR").await;
    host.unpause(&switch).await?;

    let late = text(&late?["id"]).to_owned();
    let port = text(&ports(&cloud, &late).await?[0]["id"]).to_owned();
    cloud.delete(&late).await?;
    nothing_is_left(&cloud, &host, &late, &port).await?;
    // As Nova does when it cannot plug, the agent lets another host try; there is none, and the cause is in its log.
    let fault = ended?["fault"]["message"].to_string();
    ensure!(fault.contains("Exhausted all hosts"), "{fault}");
    let said = octopenstack_ok(&["logs", "--tail", "100", "nova-docker-agent"])?;
    let cause = |line: &str| line.contains(&failed) && line.contains("ovs-vswitchd");
    ensure!(said.lines().any(cause), "the agent's log has no cause");
    ensure!(ports(&cloud, &failed).await?.is_empty(), "a port is left");
    becomes("nothing is in the switch", || async { Ok(in_the_switch(&host, &failed).await?.is_empty()) })
        .await?;
    cloud.delete(&failed).await?;
    lab.remove().await
}

/// OVN's controller stands still, so the port of a server that boots stays DOWN.
#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_port_that_never_comes_up() -> Result<()> {
    let _platform = alone().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let mut lab = Lab::new(&cloud).await?;
    let (network, _) = lab.network("refused-silence", "10.82.14.0/24", json!({})).await?;
    let extra = json!({"networks": [{ "uuid": network }]});
    let controller = platform::container("ovn-controller")?;
    octopenstack_ok(&["--set", "compute.vif_plugging_timeout=5", "run", "nova-docker-agent"])?;

    host.pause(&controller).await?;
    // As Nova's: no other host is tried, and the user reads why.
    let failed = fails(&lab, &extra, &["as plugged within 5 seconds"]).await;
    host.unpause(&controller).await?;
    octopenstack_ok(&["run", "nova-docker-agent"])?;

    failed?;
    let healthy = cloud.boot_active(&Boot { extra, ..small("refused-silence") }).await?;
    cloud.delete(text(&healthy["id"])).await?;
    lab.remove().await
}
