//! Images belong to their owners: same tags from two tenants do not meet, and the host's own images are safe.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::json;
use tests::{
    agent::platform_option,
    archive::{docker_archive, oci_archive},
    cloud::{Boot, Cloud, DEADLINE, text},
    host::{Host, is_running},
    network::{becomes, delete},
};

use crate::failures::fails_with;
use crate::{shared, small};

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn two_images_of_one_tag_are_two_images() -> Result<()> {
    let _platform = shared().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let demo = cloud.download_image(&cloud.image_id("demo").await?).await?;
    // The second claims the tag of the platform's own demo image.
    let other = docker_archive("octopenstack/demo-instance:latest", &["/a"], &[("a", b"#!/a\n", 0o755)])?;
    cloud.upload_image("twin", "docker", demo).await?;
    let impostor = cloud.upload_image("impostor", "docker", other).await?;

    // Its program is no program: the guest ends at once. What matters is that its image is in Docker.
    let ended = cloud.boot(&Boot { image: "impostor", ..small("impostor") }).await?;
    let start = Instant::now();
    while cloud.server(&ended).await?.is_some_and(|server| server["status"] == "BUILD") {
        ensure!(start.elapsed() < DEADLINE, "it still builds");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let twin = cloud.boot_active(&Boot { image: "twin", ..small("twin") }).await?;
    let id = text(&twin["id"]);
    let container = host.running_instance(id).await?;
    let name = container.config.and_then(|config| config.image).unwrap_or_default();
    ensure!(!name.contains(&impostor), "{name} is the impostor's image");

    cloud.delete(&ended).await?;
    cloud.delete(id).await
}

/// Covers: build_and_run_instance
#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn an_archive_of_ocis_layout_boots_and_a_hostile_one_is_refused_by_name() -> Result<()> {
    let _platform = shared().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let demo = cloud.download_image(&cloud.image_id("demo").await?).await?;
    cloud.upload_image("oci", "docker", oci_archive(&demo)?).await?;
    let server = cloud.boot_active(&Boot { image: "oci", ..small("oci") }).await?;
    let id = text(&server["id"]);
    ensure!(is_running(&host.running_instance(id).await?), "the guest does not run");
    cloud.delete(id).await?;

    let escape = docker_archive("x:latest", &["/a"], &[("../../a", b"#!/a\n", 0o755)])?;
    cloud.upload_image("hostile", "docker", oci_archive(&escape)?).await?;
    let boot = Boot { image: "hostile", ..small("hostile") };
    fails_with(&cloud, &boot, "leads out of the image").await
}

/// Covers: cache_images
#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn an_image_is_on_the_hosts_of_an_aggregate_before_it_is_needed() -> Result<()> {
    let _platform = shared().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let demo = cloud.download_image(&cloud.image_id("demo").await?).await?;
    let image = cloud.upload_image("ahead", "docker", demo).await?;
    let name = format!("nova-image/{image}");
    ensure!(host.images(&name).await?.is_empty(), "it is there already");

    let body = json!({"aggregate": {"name": "ahead"}});
    let aggregate = cloud.post("compute", "/os-aggregates", body).await?["aggregate"]["id"].to_string();
    let path = format!("/os-aggregates/{aggregate}");
    let compute = json!({"host": platform_option("host").await?});
    cloud.post("compute", &format!("{path}/action"), json!({"add_host": compute})).await?;
    cloud.post("compute", &format!("{path}/images"), json!({"cache": [{"id": image}]})).await?;
    becomes(&name, || async { Ok(!host.images(&name).await?.is_empty()) }).await?;
    cloud.post("compute", &format!("{path}/action"), json!({"remove_host": compute})).await?;
    delete(&cloud, "compute", &path).await
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_tenant_boots_its_own_private_image() -> Result<()> {
    let _platform = shared().await;
    let admin = Cloud::admin().await?;
    let demo = admin.download_image(&admin.image_id("demo").await?).await?;
    let auth_url = admin.catalogue_url("identity")?;
    let project = admin.post("identity", "/projects", json!({"project": {"name": "tenant"}})).await?;
    let user = json!({"user": {"name": "tenant", "password": "tenant-of-a-test"}});
    let user = admin.post("identity", "/users", user).await?;
    let roles = admin.get("identity", "/roles?name=member").await?;
    let (project, user) = (text(&project["project"]["id"]), text(&user["user"]["id"]));
    let role = format!("/projects/{project}/users/{user}/roles/{}", text(&roles["roles"][0]["id"]));
    admin.put("identity", &role).await?;

    let tenant = Cloud::login(&auth_url, "tenant", "tenant-of-a-test", "tenant").await?;
    tenant.upload_image("private", "docker", demo).await?;
    let server = tenant.boot_active(&Boot { image: "private", ..small("tenant") }).await?;
    ensure!(server["tenant_id"] == project, "{server}");
    tenant.delete(text(&server["id"])).await
}
