//! The platform's networks as the platform alone shows them: OVN and the switch, the provider network, and their return.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::agent::platform_option;
use tests::cloud::{Cloud, DEADLINE, list, octopenstack_ok, text};
use tests::host::{Host, is_running};
use tests::platform::{container, project};

use crate::{alone, shared};

/// An image with a ping.
const IMAGE: &str = "octopenstack/demo-instance:2026.2";
/// The services of the hypervisor's network namespace, its owner first.
const TOGETHER: [&str; 5] =
    ["hypervisor", "openvswitch", "openvswitch-db", "ovn-controller", "nova-docker-agent"];

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn the_chassis_is_alive_under_the_hypervisors_name() -> Result<()> {
    let _platform = shared().await;
    wait_for_chassis(&Cloud::admin().await?).await
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_port_bound_to_the_hypervisor_is_the_switchs() -> Result<()> {
    let _platform = shared().await;
    let cloud = Cloud::admin().await?;
    wait_for_chassis(&cloud).await?;
    let network = cloud.post("network", "/v2.0/networks", json!({ "network": { "name": "bound" } })).await?;
    let network = text(&network["network"]["id"]).to_owned();
    let port = |host: &str| json!({ "port": { "network_id": network, "binding:host_id": host } });
    let bound = cloud.post("network", "/v2.0/ports", port(&platform_option("host").await?)).await?;
    let unknown = cloud.post("network", "/v2.0/ports", port("nobody")).await?;
    for port in [&bound, &unknown] {
        delete(&cloud, &format!("/v2.0/ports/{}", text(&port["port"]["id"]))).await?;
    }
    delete(&cloud, &format!("/v2.0/networks/{network}")).await?;
    let port = &bound["port"];
    ensure!(port["binding:vif_type"] == "ovs", "{port}");
    ensure!(port["binding:vif_details"]["bridge_name"] == "br-int", "{port}");
    ensure!(["netdev", "system"].contains(&text(&port["binding:vif_details"]["datapath_type"])), "{port}");
    ensure!(port["binding:vif_details"]["bound_drivers"]["0"] == "ovn", "{port}");
    ensure!(unknown["port"]["binding:vif_type"] == "binding_failed", "{unknown}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn the_demos_networks_are_there_once() -> Result<()> {
    let _platform = shared().await;
    let cloud = Cloud::admin().await?;
    for (path, kind, name) in [
        ("networks", "networks", "public"),
        ("networks", "networks", "private"),
        ("routers", "routers", "demo"),
        ("security-groups", "security_groups", "demo"),
    ] {
        let found = cloud.get("network", &format!("/v2.0/{path}?name={name}")).await?;
        ensure!(list(&found[kind]).len() == 1, "{path} {name}: {found}");
    }
    let router = cloud.get("network", "/v2.0/routers?name=demo").await?;
    let outside = &router["routers"][0]["external_gateway_info"]["external_fixed_ips"][0]["ip_address"];
    ensure!(text(outside).starts_with(provider(&cloud).await?.0.trim_end_matches("0/24")), "{router}");
    // The router lives in the switch: its outer address answers the host.
    wait_for_ping(text(outside)).await
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn the_host_has_a_way_to_floating_addresses_and_the_gateway_answers() -> Result<()> {
    let _platform = shared().await;
    let (cidr, gateway) = provider(&Cloud::admin().await?).await?;
    let bridge = format!(" dev oct-{}", project()?);
    let way = |line: &str| line.starts_with(&format!("{cidr} via ")) && line.contains(&bridge);
    ensure!(routes()?.lines().any(way), "{}", routes()?);
    wait_for_ping(&gateway).await
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn what_lives_in_the_hypervisors_network_comes_back_with_it() -> Result<()> {
    let _platform = alone().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let (_, gateway) = provider(&cloud).await?;
    for name in ["openvswitch", "hypervisor", "ovn-controller", "openvswitch-db"] {
        let container = &container(name)?;
        host.restart(container).await?;
        wait_until_together(&host).await.with_context(|| format!("after the restart of {container}"))?;
        wait_for_ping(&gateway).await.with_context(|| format!("after the restart of {container}"))?;
        wait_for_chassis(&cloud).await?;
    }
    // The agent answers through the new namespace, at the address it has on the host.
    let api = cloud.catalogue_url("identity")?;
    let address = api.trim_start_matches("http://").split(':').next().unwrap_or_default();
    let agent: SocketAddr = format!("{address}:9774").parse()?;
    wait_for("the agent's port", || {
        std::net::TcpStream::connect_timeout(&agent, Duration::from_secs(1)).is_ok()
    })
    .await?;
    let plan = octopenstack_ok(&["up", "--plan"])?;
    ensure!(plan.trim() == "nothing to do", "{plan}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn stop_and_start_bring_the_networks_back() -> Result<()> {
    let _platform = alone().await;
    let (cidr, gateway) = provider(&Cloud::admin().await?).await?;
    octopenstack_ok(&["stop", "hypervisor", "ovn-db"])?;
    ensure!(!routes()?.contains(&cidr), "the route is left: {}", routes()?);
    octopenstack_ok(&["start"])?;
    wait_for_ping(&gateway).await?;
    wait_for_chassis(&Cloud::admin().await?).await?;
    wait_until_together(&Host::new()?).await
}

/// Neutron lists the chassis as an agent that is alive.
async fn wait_for_chassis(cloud: &Cloud) -> Result<()> {
    let (start, compute) = (Instant::now(), platform_option("host").await?);
    loop {
        let agents = cloud.get("network", &format!("/v2.0/agents?host={compute}")).await?;
        let alive = |agent: &Value| {
            agent["alive"] == true && text(&agent["agent_type"]).starts_with("OVN Controller")
        };
        if list(&agents["agents"]).iter().any(alive) {
            return Ok(());
        }
        ensure!(start.elapsed() < DEADLINE, "no living chassis: {agents}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Every container of the hypervisor's network runs, and in the namespace of its owner.
async fn wait_until_together(host: &Host) -> Result<()> {
    let start = Instant::now();
    loop {
        let mut namespaces = Vec::new();
        for name in TOGETHER {
            let container = host.inspect(&container(name)?).await?;
            let pid = container.state.as_ref().and_then(|state| state.pid).unwrap_or_default();
            let namespace = std::fs::read_link(format!("/proc/{pid}/ns/net"));
            namespaces.push(namespace.ok().filter(|_| is_running(&container)));
        }
        if namespaces[0].is_some() && namespaces.iter().all(|each| *each == namespaces[0]) {
            return Ok(());
        }
        ensure!(start.elapsed() < DEADLINE, "not together: {namespaces:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn wait_for_ping(address: &str) -> Result<()> {
    let address: IpAddr = address.parse()?;
    // The host itself need not have the program; the demo's image has.
    let ping = || {
        let run = ["run", "--rm", "--network", "host", "--entrypoint", "/bin/ping", IMAGE];
        let output =
            Command::new("docker").args(run).args(["-c", "1", "-W", "1", &address.to_string()]).output();
        output.is_ok_and(|output| output.status.success())
    };
    wait_for(&format!("an answer of {address}"), ping).await
}

async fn wait_for(what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !holds() {
        ensure!(start.elapsed() < DEADLINE, "no {what} in {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    Ok(())
}

fn routes() -> Result<String> {
    let output = Command::new("ip").args(["-4", "route"]).output().context("cannot run ip")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The subnet of the floating addresses, and its gateway.
async fn provider(cloud: &Cloud) -> Result<(String, String)> {
    let found = cloud.get("network", "/v2.0/subnets?name=public").await?;
    let subnet = &found["subnets"][0];
    Ok((text(&subnet["cidr"]).to_owned(), text(&subnet["gateway_ip"]).to_owned()))
}

async fn delete(cloud: &Cloud, path: &str) -> Result<()> {
    cloud.request(reqwest::Method::DELETE, "network", path, None).await?;
    Ok(())
}
