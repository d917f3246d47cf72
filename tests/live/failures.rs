//! Builds that cannot work: the user is told why, and nothing stays behind.

use anyhow::{Result, bail, ensure};
use serde_json::json;
use tests::{
    archive::docker_archive,
    cloud::{Boot, Cloud, text},
    host::Host,
};

use crate::{shared, small};

/// Boots, expects ERROR with a fault that holds `cause`, and looks for leftovers.
pub(crate) async fn fails_with(cloud: &Cloud, boot: &Boot<'_>, cause: &str) -> Result<()> {
    let id = cloud.boot(boot).await?;
    let server = cloud.wait_for(&id, "ERROR").await?;
    let message = text(&server["fault"]["message"]);
    ensure!(message.contains(cause), "the fault says {message:?}, not {cause:?}");
    ensure!(Host::new()?.instance(&id).await?.is_none(), "a container is left behind");
    ensure!(cloud.allocations(&id).await? == json!({}), "an allocation is left behind");
    cloud.delete(&id).await
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn an_image_that_is_no_docker_archive() -> Result<()> {
    let _platform = shared().await;
    let cloud = Cloud::admin().await?;
    cloud.upload_image("no-archive", "docker", b"this is no tar archive".repeat(100)).await?;
    fails_with(&cloud, &Boot { image: "no-archive", ..small("no-archive") }, "archive").await
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn an_image_for_virtual_machines() -> Result<()> {
    let _platform = shared().await;
    let cloud = Cloud::admin().await?;
    cloud.upload_image("for-vms", "bare", vec![0; 4096]).await?;
    fails_with(&cloud, &Boot { image: "for-vms", ..small("for-vms") }, "container_format").await
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn an_image_whose_layer_is_not_what_its_config_says() -> Result<()> {
    let _platform = shared().await;
    let cloud = Cloud::admin().await?;
    let mut archive = docker_archive("octo/forged:1", &["/a"], &[("a", b"0123456789", 0o755)])?;
    let at = archive.windows(10).position(|window| window == b"0123456789").unwrap_or_default();
    archive[at] = b'X';
    cloud.upload_image("forged", "docker", archive).await?;
    fails_with(&cloud, &Boot { image: "forged", ..small("forged") }, "digest").await
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_command_that_is_not_in_the_image() -> Result<()> {
    let _platform = shared().await;
    let cloud = Cloud::admin().await?;
    let archive = docker_archive("octo/no-command:1", &["/not-there"], &[("a", b"x", 0o644)])?;
    cloud.upload_image("no-command", "docker", archive).await?;
    fails_with(&cloud, &Boot { image: "no-command", ..small("no-command") }, "not-there").await
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_flavor_that_fits_on_no_host() -> Result<()> {
    let _platform = shared().await;
    let cloud = Cloud::admin().await?;
    let flavor = json!({"flavor": {"name": "huge", "ram": 64, "vcpus": 1, "disk": 1_000_000}});
    cloud.post("compute", "/flavors", flavor).await?;
    fails_with(&cloud, &Boot { flavor: "huge", ..small("huge") }, "No valid host").await
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn deleting_a_server_that_builds_leaves_nothing() -> Result<()> {
    let _platform = shared().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    // A fresh image, so that the build has to fetch it first.
    let padding = vec![7_u8; 32 << 20];
    let archive = docker_archive("octo/slow:1", &["/a"], &[("a", &padding, 0o755)])?;
    cloud.upload_image("slow", "docker", archive).await?;
    let id = cloud.boot(&Boot { image: "slow", ..small("early") }).await?;
    cloud.delete(&id).await?;
    // nova-api deletes a server that has no host yet by itself; the agent then learns it from its next save.
    for _ in 0..100 {
        if host.instance(&id).await?.is_none() && cloud.allocations(&id).await? == json!({}) {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    bail!("a container or an allocation is left behind: {}", cloud.allocations(&id).await?)
}
