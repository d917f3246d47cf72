//! Images of servers: taken while they run, stand still or are off, and booted again; backups; a snapshot during which the
//! agent dies.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::cloud::{Boot, Cloud, DEADLINE, list, text};
use tests::host::{Host, started_at};
use tests::network::container;
use tests::platform;

use crate::agent::wait_until_healthy;
use crate::{alone, shared, small};

/// Waits until an image has this status; `gone` when there shall be none.
async fn image_becomes(cloud: &Cloud, id: &str, wanted: &str) -> Result<Value> {
    let start = Instant::now();
    loop {
        let path = format!("/v2/images/{id}");
        let (status, image) = cloud.request(reqwest::Method::GET, "image", &path, None).await?;
        let now = if status == 404 { "gone" } else { text(&image["status"]) };
        if now == wanted {
            return Ok(image);
        }
        ensure!(start.elapsed() < DEADLINE, "image {id} is {now} and not {wanted}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn snapshot(cloud: &Cloud, server: &str, name: &str) -> Result<String> {
    let answer = cloud.action(server, json!({"createImage": {"name": name}})).await?;
    Ok(text(&answer["image_id"]).to_owned())
}

async fn write(host: &Host, server: &str, what: &str) -> Result<()> {
    host.exec(&container(server), &["sh", "-c", &format!("echo {what} > /{what}")]).await.map(drop)
}

async fn delete_image(cloud: &Cloud, id: &str) -> Result<()> {
    tests::network::delete(cloud, "image", &format!("/v2/images/{id}")).await
}

/// Covers: snapshot_instance
#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_snapshot_of_a_running_server_boots_again_with_its_files() -> Result<()> {
    let _platform = shared().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let server = cloud.boot_active(&small("original")).await?;
    let id = text(&server["id"]);
    write(&host, id, "running").await?;
    let before = started_at(&host.running_instance(id).await?);
    let first = snapshot(&cloud, id, "of-running").await?;
    let image = image_becomes(&cloud, &first, "active").await?;
    for (key, value) in [
        ("container_format", "docker"),
        ("disk_format", "raw"),
        ("image_type", "snapshot"),
        ("instance_uuid", id),
    ] {
        ensure!(image[key] == value, "{key}: {image}");
    }
    cloud.wait_for(id, "ACTIVE").await?;
    ensure!(before == started_at(&host.running_instance(id).await?), "the guest was restarted");

    // An image of what was made from an image of it.
    let copy = cloud.boot_active(&Boot { image: "of-running", ..small("copy") }).await?;
    let copy = text(&copy["id"]);
    ensure!(host.exec(&container(copy), &["cat", "/running"]).await?.trim() == "running");
    let found = host.running_instance(copy).await?;
    let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
    ensure!(labels["nova.instance_uuid"] == copy && labels["nova.display_name"] == "copy", "{labels:?}");
    write(&host, copy, "copied").await?;
    cloud.action(copy, json!({"pause": null})).await?;
    cloud.wait_for(copy, "PAUSED").await?;
    let second = snapshot(&cloud, copy, "of-paused").await?;
    image_becomes(&cloud, &second, "active").await?;
    cloud.wait_for(copy, "PAUSED").await?;
    cloud.action(copy, json!({"unpause": null})).await?;
    cloud.wait_for(copy, "ACTIVE").await?;
    cloud.action(copy, json!({"os-stop": null})).await?;
    cloud.wait_for(copy, "SHUTOFF").await?;
    let third = snapshot(&cloud, copy, "of-stopped").await?;
    image_becomes(&cloud, &third, "active").await?;
    cloud.wait_for(copy, "SHUTOFF").await?;

    let grandchild = cloud.boot_active(&Boot { image: "of-stopped", ..small("grandchild") }).await?;
    let grandchild = text(&grandchild["id"]);
    host.exec(&container(grandchild), &["cat", "/running", "/copied"]).await?;
    for server in [grandchild, copy, id] {
        cloud.delete(server).await?;
    }
    for image in [&first, &second, &third] {
        delete_image(&cloud, image).await?;
    }
    Ok(())
}

/// Covers: backup_instance
#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn of_backups_the_newest_are_kept() -> Result<()> {
    let _platform = shared().await;
    let cloud = Cloud::admin().await?;
    let server = cloud.boot_active(&small("backed-up")).await?;
    let id = text(&server["id"]);
    for name in ["first", "second", "third"] {
        let backup = json!({"name": name, "backup_type": "daily", "rotation": 2});
        cloud.action(id, json!({ "createBackup": backup })).await?;
        cloud.wait_for(id, "ACTIVE").await?;
        // Glance tells the age of images in whole seconds.
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    let path = format!("/v2/images?instance_uuid={id}&sort=created_at:asc");
    // The oldest one goes after the task is over.
    let start = Instant::now();
    let kept = loop {
        let kept = list(&cloud.get("image", &path).await?["images"]);
        if kept.len() == 2 {
            break kept;
        }
        ensure!(start.elapsed() < DEADLINE, "{kept:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let names: Vec<&str> = kept.iter().map(|image| text(&image["name"])).collect();
    ensure!(names == ["second", "third"], "{names:?}");
    cloud.delete(id).await?;
    for image in &kept {
        delete_image(&cloud, text(&image["id"])).await?;
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn an_agent_that_dies_during_a_snapshot_leaves_neither_image_nor_task() -> Result<()> {
    let _platform = alone().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let server = cloud.boot_active(&small("interrupted")).await?;
    let id = text(&server["id"]);
    // So much that it takes a while to be sent.
    host.exec(&container(id), &["dd", "if=/dev/zero", "of=/much", "bs=1M", "count=400"]).await?;
    let image = snapshot(&cloud, id, "never").await?;
    let start = Instant::now();
    loop {
        let server = cloud.server(id).await?.unwrap_or_default();
        if server["OS-EXT-STS:task_state"] == "image_uploading" {
            break;
        }
        ensure!(start.elapsed() < DEADLINE, "{server}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let agent = platform::container("nova-docker-agent")?;
    host.kill(&agent).await?;
    host.restart(&agent).await?;
    wait_until_healthy(&host).await?;
    cloud.wait_for(id, "ACTIVE").await?;
    image_becomes(&cloud, &image, "gone").await?;
    let left = host.images("nova-snapshot/*").await?;
    ensure!(!left.iter().any(|name| name.ends_with(&image)), "{left:?}");
    cloud.delete(id).await
}
