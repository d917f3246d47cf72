//! Two hypervisors on one machine: their networks, and instances that move from one to the other with their disk.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::agent::platform_option;
use tests::cloud::{Boot, Cloud, list, octopenstack_ok, text};
use tests::host::Host;
use tests::network::{Guest, Lab, becomes, greeting, tcp};

use crate::{alone, shared, small};

/// The names of both hosts.
pub(crate) async fn hosts() -> Result<[String; 2]> {
    let first = platform_option("host").await?;
    Ok([first.clone(), format!("{first}-2")])
}

/// A server that the scheduler puts on `host`.
fn on<'a>(name: &'a str, host: &str, mut extra: Value) -> Boot<'a> {
    extra["host"] = json!(host);
    Boot { extra, ..small(name) }
}

pub(crate) async fn host_of(cloud: &Cloud, server: &str) -> Result<String> {
    let found = cloud.get("compute", &format!("/servers/{server}")).await?;
    Ok(text(&found["server"]["OS-EXT-SRV-ATTR:host"]).to_owned())
}

/// What it writes to its disks a copy of the image has not.
async fn mark(host: &Host, guest: &Guest) -> Result<()> {
    let write = "echo moved > /root/mark && echo moved too > /mnt/mark && chown 7 /mnt/mark";
    host.exec(&guest.container(), &["sh", "-c", write]).await.map(drop)
}

async fn has_mark(host: &Host, guest: &Guest) -> Result<()> {
    let read = "cat /root/mark /mnt/mark && stat -c %u /mnt/mark && grep -c ' /mnt ' /proc/mounts";
    let said = host.exec(&guest.container(), &["sh", "-c", read]).await?;
    ensure!(said.split_whitespace().eq(["moved", "moved", "too", "7", "1"]), "{said}");
    Ok(())
}

/// A flavor with an ephemeral disk and swap.
pub(crate) fn with_disks(name: &str) -> Value {
    json!({"flavor": {"name": name, "vcpus": 1, "ram": 64, "disk": 1, "OS-FLV-EXT-DATA:ephemeral": 1, "swap": 32}})
}

/// Lets the second host take servers while `work` goes on: other tests look at the first one's containers.
pub(crate) async fn with_second(work: impl Future<Output = Result<()>>) -> Result<()> {
    let cloud = Cloud::admin().await?;
    let path = second_service(&cloud).await?;
    cloud.put_body("compute", &path, json!({"status": "enabled"})).await?;
    let done = work.await;
    cloud.put_body("compute", &path, json!({"status": "disabled"})).await?;
    done
}

/// Path of the second host's service.
async fn second_service(cloud: &Cloud) -> Result<String> {
    let [_, second] = hosts().await?;
    let found = cloud.get("compute", &format!("/os-services?binary=nova-compute&host={second}")).await?;
    Ok(format!("/os-services/{}", text(&found["services"][0]["id"])))
}

/// What placement has for an instance, and for its migrations.
async fn allocation_hosts(cloud: &Cloud, server: &str) -> Result<usize> {
    let held = cloud.allocations(server).await?;
    Ok(held.as_object().map_or(0, serde_json::Map::len))
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn packets_go_through_the_tunnel() -> Result<()> {
    let _platform = alone().await;
    with_second(tunnel()).await
}

async fn tunnel() -> Result<()> {
    let cloud = Cloud::admin().await?;
    let (here, there) = (Host::new()?, Host::second()?);
    let [first, second] = hosts().await?;
    let mut lab = Lab::new(&cloud).await?;
    let (near, near_subnet) = lab.network("hosts-a", "10.84.1.0/24", json!({})).await?;
    let (far, far_subnet) = lab.network("hosts-b", "10.84.2.0/24", json!({})).await?;
    lab.router("hosts", &[&near_subnet, &far_subnet]).await?;
    let group = lab.group("hosts", &[json!({"protocol": "icmp"}), tcp(22)]).await?;
    // Only members of the group reach the web servers of its members.
    let own =
        json!({"protocol": "tcp", "port_range_min": 80, "port_range_max": 80, "remote_group_id": group});
    tests::network::allow(&cloud, &group, &own).await?;
    let extra =
        |network: &str| json!({"networks": [{"uuid": network}], "security_groups": [{"name": group}]});
    let boots = [
        on("hosts-one", &first, extra(&near)),
        on("hosts-two", &second, extra(&near)),
        on("hosts-three", &second, extra(&far)),
    ];
    let [one, two, three] = lab.guests(boots).await?;
    ensure!(host_of(&cloud, &two.id).await? == second, "it is not on the second host");

    becomes("a ping to the other host", || one.pings(&here, &two.address)).await?;
    becomes("a ping through the router to the other host", || one.pings(&here, &three.address)).await?;
    becomes("a ping back", || two.pings(&there, &one.address)).await?;
    ensure!(one.pings(&here, &format!("-s 1414 {}", two.address)).await?, "a packet of the whole MTU");
    ensure!(one.connects(&here, &two.address, 80).await?, "the group lets its members in, on any host");
    let url = "http://169.254.169.254/openstack/latest/meta_data.json";
    let said = there.exec(&two.container(), &["wget", "-q", "-O", "-", url]).await?;
    ensure!(serde_json::from_str::<Value>(&said)?["uuid"] == two.id.as_str(), "{said}");
    let (_, address) = lab.floating(Some(&two.port)).await?;
    ensure!(greeting(&address, 22).await?.starts_with("SSH"), "SSH at the floating address");
    lab.remove().await
}

/// Covers: prep_resize, resize_instance, finish_resize, confirm_resize, revert_resize, finish_revert_resize
#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_migration_takes_the_disk_along_and_comes_back() -> Result<()> {
    let _platform = alone().await;
    with_second(there_and_back()).await
}

async fn there_and_back() -> Result<()> {
    let cloud = Cloud::admin().await?;
    let (here, there) = (Host::new()?, Host::second()?);
    let [first, second] = hosts().await?;
    let mut lab = Lab::new(&cloud).await?;
    let (network, subnet) = lab.network("moves", "10.85.1.0/24", json!({})).await?;
    lab.router("moves", &[&subnet]).await?;
    let group = lab.group("moves", &[json!({"protocol": "icmp"}), tcp(22)]).await?;
    let extra = json!({"networks": [{"uuid": network}], "security_groups": [{"name": group}]});
    let flavor = cloud.post("compute", "/flavors", with_disks("moves")).await?;
    let [guest] = lab.guests([Boot { flavor: "moves", ..on("moves", &first, extra) }]).await?;
    let (_, address) = lab.floating(Some(&guest.port)).await?;
    mark(&here, &guest).await?;

    // There, and back: the source starts what it has kept.
    cloud.action(&guest.id, json!({"migrate": {"host": second}})).await?;
    cloud.wait_for(&guest.id, "VERIFY_RESIZE").await?;
    has_mark(&there, &guest).await?;
    ensure!(greeting(&address, 22).await?.starts_with("SSH"), "SSH on the second host");
    // A host that gets no more servers gives back what it has.
    let service = second_service(&cloud).await?;
    cloud.put_body("compute", &service, json!({"status": "disabled"})).await?;
    cloud.action(&guest.id, json!({"revertResize": null})).await?;
    cloud.wait_for(&guest.id, "ACTIVE").await?;
    cloud.put_body("compute", &service, json!({"status": "enabled"})).await?;
    ensure!(host_of(&cloud, &guest.id).await? == first, "it did not come back");
    has_mark(&here, &guest).await?;
    ensure!(there.instance(&guest.id).await?.is_none(), "a container stays on the second host");
    ensure!(greeting(&address, 22).await?.starts_with("SSH"), "SSH after the way back");

    // There, and it stays: the source removes what it has kept.
    cloud.action(&guest.id, json!({"migrate": {"host": second}})).await?;
    cloud.wait_for(&guest.id, "VERIFY_RESIZE").await?;
    cloud.action(&guest.id, json!({"confirmResize": null})).await?;
    cloud.wait_for(&guest.id, "ACTIVE").await?;
    has_mark(&there, &guest).await?;
    ensure!(here.instance(&guest.id).await?.is_none(), "a container stays on the first host");
    ensure!(allocation_hosts(&cloud, &guest.id).await? == 1, "it holds more than one host");
    cloud.delete(&guest.id).await?;
    ensure!(there.instance(&guest.id).await?.is_none(), "a container stays on the second host");
    let images = there.images(&format!("nova-moved/*:{}", guest.id)).await?;
    ensure!(images.is_empty(), "{images:?}");
    for host in [&here, &there] {
        let volumes = host.volumes(&format!("nova.instance_uuid={}", guest.id)).await?;
        ensure!(volumes.is_empty(), "{volumes:?}");
    }
    let path = format!("/flavors/{}", text(&flavor["flavor"]["id"]));
    tests::network::delete(&cloud, "compute", &path).await?;
    lab.remove().await
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_resize_on_the_same_host_changes_the_limits() -> Result<()> {
    let _platform = shared().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let [first, _] = hosts().await?;
    let body = json!({"flavor": {"name": "hosts-large", "vcpus": 2, "ram": 192, "disk": 2}});
    let flavor = cloud.post("compute", "/flavors", body).await?;
    let large = text(&flavor["flavor"]["id"]).to_owned();
    let resized = async {
        let server = cloud.boot_active(&on("hosts-grow", &first, json!({}))).await?;
        let id = text(&server["id"]).to_owned();
        for (end, status, memory) in [("revertResize", "ACTIVE", 64), ("confirmResize", "ACTIVE", 192)] {
            cloud.action(&id, json!({"resize": {"flavorRef": large}})).await?;
            cloud.wait_for(&id, "VERIFY_RESIZE").await?;
            ensure!(
                memory_of(&host, &id).await? == 192 << 20,
                "the limit is {}",
                memory_of(&host, &id).await?
            );
            cloud.action(&id, json!({ end: null })).await?;
            cloud.wait_for(&id, status).await?;
            ensure!(memory_of(&host, &id).await? == memory << 20, "{end}: {}", memory_of(&host, &id).await?);
        }
        // What is on a large disk may not fit a small one.
        let small = cloud.flavor_id(crate::FLAVOR).await?;
        cloud.action(&id, json!({"resize": {"flavorRef": small}})).await?;
        let server = cloud.wait_for(&id, "ACTIVE").await?;
        ensure!(server["flavor"]["original_name"] == "hosts-large", "{server}");
        let (_, events) = cloud.action_events(&id, "resize").await?;
        ensure!(events.iter().any(|event| event["result"] == "Error"), "{events:?}");
        cloud.delete(&id).await
    };
    let ended = resized.await;
    tests::network::delete(&cloud, "compute", &format!("/flavors/{large}")).await?;
    ended
}

async fn memory_of(host: &Host, server: &str) -> Result<i64> {
    let container = host.running_instance(server).await?;
    Ok(container.host_config.and_then(|config| config.memory).unwrap_or_default())
}

/// Covers: rebuild_instance
#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn an_instance_of_a_lost_host_is_made_again_and_the_host_that_comes_back_forgets_it() -> Result<()> {
    let _platform = alone().await;
    with_second(lost_and_found()).await
}

async fn lost_and_found() -> Result<()> {
    let cloud = Cloud::admin().await?;
    let (here, there) = (Host::new()?, Host::second()?);
    let [first, second] = hosts().await?;
    let server = cloud.boot_active(&on("hosts-lost", &second, json!({}))).await?;
    let id = text(&server["id"]).to_owned();
    let off = cloud.boot_active(&on("hosts-off", &second, json!({}))).await?;
    cloud.action(text(&off["id"]), json!({"os-stop": null})).await?;
    cloud.wait_for(text(&off["id"]), "SHUTOFF").await?;
    let path = second_service(&cloud).await?;
    octopenstack_ok(&["stop", "nova-docker-agent-2"])?;
    cloud.put_body("compute", &path, json!({"forced_down": true})).await?;
    // As `nova host-evacuate` does: all that the host has.
    let all = cloud.get("compute", &format!("/servers?all_tenants=1&host={second}")).await?;
    let all: Vec<String> =
        list(&all["servers"]).iter().map(|server| text(&server["id"]).to_owned()).collect();
    ensure!(all.len() == 2, "{all:?}");
    for server in &all {
        cloud.action(server, json!({"evacuate": {}})).await?;
    }
    for server in &all {
        // Since microversion 2.95 it is left stopped, for a person to look at it.
        cloud.wait_for(server, "SHUTOFF").await?;
        becomes("it is on the first host", async || Ok(host_of(&cloud, server).await? == first)).await?;
    }
    ensure!(here.instance(&id).await?.is_some(), "no container on the first host");
    ensure!(there.instance(&id).await?.is_some(), "the lost host cannot have removed it yet");
    ensure!(allocation_hosts(&cloud, &id).await? == 2, "the lost host's share is held until it comes back");

    octopenstack_ok(&["start", "nova-docker-agent-2"])?;
    becomes("the host that came back removes it", async || Ok(there.instance(&id).await?.is_none())).await?;
    becomes("its share is free", async || Ok(allocation_hosts(&cloud, &id).await? == 1)).await?;
    cloud.put_body("compute", &path, json!({"forced_down": false})).await?;
    cloud.delete(text(&off["id"])).await?;
    cloud.delete(&id).await
}
