//! Servers whose container is another one afterwards, or stands aside for a while: rebuilt, shelved, rescued. Their ports and
//! addresses stay.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::agent::platform_option;
use tests::cloud::{Boot, Cloud, text};
use tests::host::{Host, is_running};
use tests::network::{Guest, Lab, becomes, container, in_the_switch, ports};

use crate::hosts::with_disks;
use crate::{shared, small};

/// A guest with a port on a network of its own, that answers pings of a neighbour.
async fn two(lab: &mut Lab<'_>, name: &str, cidr: &str) -> Result<[Guest; 2]> {
    let (network, _) = lab.network(name, cidr, Value::Null).await?;
    let group = lab.group(name, &[json!({"protocol": "icmp"})]).await?;
    let boot = |name| tests::cloud::Boot {
        extra: json!({"networks": [{"uuid": network}], "security_groups": [{"name": group}]}),
        ..small(name)
    };
    let neighbour = format!("{name}-neighbour");
    lab.guests([boot(name), boot(&neighbour)]).await
}

async fn answers(lab: &Lab<'_>, [guest, neighbour]: &[Guest; 2]) -> Result<()> {
    becomes("it answers pings", || neighbour.pings(&lab.host, &guest.address)).await
}

async fn write(host: &Host, server: &str, file: &str) -> Result<()> {
    host.exec(&container(server), &["sh", "-c", &format!("echo kept > {file}")]).await.map(drop)
}

async fn has(host: &Host, server: &str, file: &str) -> Result<bool> {
    Ok(host.try_exec(&container(server), &["cat", file]).await?.0 == Some(0))
}

/// Covers: rebuild_instance
#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_rebuilt_server_has_a_new_file_system_and_its_old_address() -> Result<()> {
    let _platform = shared().await;
    let cloud = Cloud::admin().await?;
    let mut lab = Lab::new(&cloud).await?;
    let both = two(&mut lab, "rebuilt", "10.82.20.0/24").await?;
    let id = &both[0].id;
    write(&lab.host, id, "/of-before").await?;
    let before = lab.host.running_instance(id).await?;
    let image = cloud.image_id("demo").await?;
    cloud.action(id, json!({"rebuild": {"imageRef": image}})).await?;
    cloud.wait_for(id, "ACTIVE").await?;
    let after = lab.host.running_instance(id).await?;
    ensure!(is_running(&after) && before.id != after.id && !has(&lab.host, id, "/of-before").await?);
    answers(&lab, &both).await?;

    // What is off stays off.
    cloud.action(id, json!({"os-stop": null})).await?;
    cloud.wait_for(id, "SHUTOFF").await?;
    cloud.action(id, json!({"rebuild": {"imageRef": image}})).await?;
    cloud.wait_for(id, "SHUTOFF").await?;
    ensure!(!is_running(&lab.host.running_instance(id).await?));
    cloud.action(id, json!({"os-start": null})).await?;
    cloud.wait_for(id, "ACTIVE").await?;
    answers(&lab, &both).await?;
    lab.remove().await
}

/// Covers: shelve_instance, unshelve_instance
#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_shelved_server_takes_nothing_of_the_host_and_comes_back_as_it_was() -> Result<()> {
    let _platform = shared().await;
    let cloud = Cloud::admin().await?;
    let mut lab = Lab::new(&cloud).await?;
    let both = two(&mut lab, "shelved", "10.82.21.0/24").await?;
    let id = &both[0].id;
    write(&lab.host, id, "/of-before").await?;
    cloud.action(id, json!({"shelve": null})).await?;
    let shelved = cloud.wait_for(id, "SHELVED_OFFLOADED").await?;
    ensure!(shelved["OS-EXT-SRV-ATTR:host"].is_null(), "{shelved}");
    ensure!(cloud.allocations(id).await? == json!({}));
    ensure!(lab.host.containers(&format!("nova.instance_uuid={id}")).await?.is_empty());
    ensure!(in_the_switch(&lab.host, id).await?.is_empty());
    let port = ports(&cloud, id).await?.pop().context("it has lost its port")?;
    ensure!(port["binding:host_id"] == "" && port["binding:vif_type"] == "unbound", "{port}");
    let images = format!("/v2/images?instance_uuid={id}");
    ensure!(cloud.get("image", &images).await?["images"][0]["status"] == "active");

    cloud.action(id, json!({"unshelve": null})).await?;
    cloud.wait_for(id, "ACTIVE").await?;
    ensure!(has(&lab.host, id, "/of-before").await?, "its file system is another one");
    let port = ports(&cloud, id).await?.pop().context("it has lost its port")?;
    ensure!(port["binding:host_id"] == platform_option("host").await?.as_str(), "{port}");
    answers(&lab, &both).await?;
    becomes("the image is gone", async || Ok(cloud.get("image", &images).await?["images"] == json!([])))
        .await?;
    lab.remove().await
}

/// Covers: rescue_instance, unrescue_instance
#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn what_is_repaired_in_a_rescue_is_there_afterwards() -> Result<()> {
    let _platform = shared().await;
    let cloud = Cloud::admin().await?;
    let mut lab = Lab::new(&cloud).await?;
    let both = two(&mut lab, "rescued", "10.82.22.0/24").await?;
    let (host, id) = (&lab.host, &both[0].id);
    write(host, id, "/of-before").await?;
    let before = host.running_instance(id).await?;
    cloud.action(id, json!({"rescue": {"adminPass": "only-for-this-test"}})).await?;
    cloud.wait_for(id, "RESCUE").await?;
    ensure!(!has(host, id, "/of-before").await? && has(host, id, "/rescue/of-before").await?);
    write(host, id, "/rescue/repaired").await?;
    answers(&lab, &both).await?;
    cloud.action(id, json!({"unrescue": null})).await?;
    cloud.wait_for(id, "ACTIVE").await?;
    ensure!(has(host, id, "/of-before").await? && has(host, id, "/repaired").await?);
    ensure!(host.running_instance(id).await?.id == before.id, "the container is another one");
    answers(&lab, &both).await?;
    // A delete takes what a rescue has beside the container, too.
    cloud.action(id, json!({"rescue": {}})).await?;
    cloud.wait_for(id, "RESCUE").await?;
    lab.remove().await?;
    let volumes = Host::new()?.volumes(&format!("nova.instance_uuid={id}")).await?;
    ensure!(volumes.is_empty(), "{volumes:?}");
    Ok(())
}

/// Covers: build_and_run_instance, rebuild_instance
#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_flavors_ephemeral_disk_and_swap_are_there_and_end_with_the_server() -> Result<()> {
    let _platform = shared().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let flavor = cloud.post("compute", "/flavors", with_disks("remade-disks")).await?;
    let image = cloud.image_id("demo").await?;
    let blank = |more: Value| {
        let mut disk = json!({"source_type": "blank", "destination_type": "local", "boot_index": -1});
        disk.as_object_mut()
            .into_iter()
            .for_each(|disk| disk.extend(more.as_object().cloned().unwrap_or_default()));
        disk
    };
    let root = json!({"source_type": "image", "destination_type": "local", "boot_index": 0, "uuid": image});
    let disks = json!([
        root,
        blank(json!({"volume_size": 1})),
        blank(json!({"volume_size": 32, "guest_format": "swap"}))
    ]);
    let extra = json!({"block_device_mapping_v2": disks});
    let server = cloud.boot_active(&Boot { flavor: "remade-disks", extra, ..small("remade-disks") }).await?;
    let id = text(&server["id"]);
    let limits = host.running_instance(id).await?.host_config.unwrap_or_default();
    ensure!((limits.memory, limits.memory_swap) == (Some(64 << 20), Some(96 << 20)), "{limits:?}");
    let mounted = host.exec(&container(id), &["grep", " /mnt ", "/proc/mounts"]).await?;
    ensure!(mounted.lines().count() == 1, "{mounted}");
    let hypervisor = cloud.get("placement", &format!("/allocations/{id}")).await?;
    let held =
        hypervisor["allocations"].as_object().into_iter().flatten().next().map(|(_, held)| held.clone());
    // Root disk, ephemeral disk, and swap, which Nova rounds up.
    ensure!(held.is_some_and(|held| held["resources"]["DISK_GB"] == 3), "{hypervisor}");

    write(&host, id, "/mnt/of-before").await?;
    cloud.action(id, json!({"reboot": {"type": "HARD"}})).await?;
    cloud.wait_for(id, "ACTIVE").await?;
    ensure!(has(&host, id, "/mnt/of-before").await?, "lost by a reboot");
    cloud.action(id, json!({"rebuild": {"imageRef": image}})).await?;
    cloud.wait_for(id, "ACTIVE").await?;
    ensure!(!has(&host, id, "/mnt/of-before").await?, "kept by a rebuild");
    let label = format!("nova.instance_uuid={id}");
    ensure!(host.volumes(&label).await?.len() == 1, "{:?}", host.volumes(&label).await?);
    cloud.delete(id).await?;
    ensure!(host.volumes(&label).await?.is_empty(), "a volume stays");
    tests::network::delete(&cloud, "compute", &format!("/flavors/{}", text(&flavor["flavor"]["id"]))).await
}
