//! Servers that stand still, are deleted for a while, get a new password, tell what they use.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tests::agent::PlainAgent;
use tests::cloud::{Boot, Cloud, octopenstack_ok, text};
use tests::host::{Host, is_running, started_at};
use tests::network::{becomes, container};
use tests::platform;

use crate::{alone, shared, small};

/// A server that Nova never had.
const ORPHAN: &str = "0c70d0c7-0000-4000-8000-000000000000";

const SOFT_DELETE: &str = include_str!("../fixtures/soft_delete.py");

/// Whether the container of a server stands still, and when it was started.
async fn frozen(host: &Host, id: &str) -> Result<(bool, String)> {
    let found = host.running_instance(id).await?;
    let state = found.state.as_ref().context("no state")?;
    Ok((state.paused.unwrap_or_default(), started_at(&found)))
}

/// Covers: pause_instance, unpause_instance, suspend_instance, resume_instance
#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn paused_and_suspended_servers_stand_still_and_go_on_as_the_same() -> Result<()> {
    let _platform = shared().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let server = cloud.boot_active(&small("freeze")).await?;
    let id = text(&server["id"]);
    let (_, started) = frozen(&host, id).await?;
    for (stop, status, power, go_on) in
        [("pause", "PAUSED", 3, "unpause"), ("suspend", "SUSPENDED", 7, "resume")]
    {
        cloud.action(id, json!({stop: null})).await?;
        let server = cloud.wait_for(id, status).await?;
        assert_eq!(server["OS-EXT-STS:power_state"], power);
        assert_eq!(frozen(&host, id).await?, (true, started.clone()), "{stop}");
        // Its console can be read all the same.
        ensure!(cloud.action(id, json!({"os-getConsoleOutput": {}})).await?["output"].is_string());
        cloud.action(id, json!({go_on: null})).await?;
        let server = cloud.wait_for(id, "ACTIVE").await?;
        assert_eq!(server["OS-EXT-STS:power_state"], 1);
        assert_eq!(frozen(&host, id).await?, (false, started.clone()), "{go_on}");
    }
    // The host loses a suspended guest, as in a reboot: Nova keeps the server, and a resume starts it.
    cloud.action(id, json!({"suspend": null})).await?;
    cloud.wait_for(id, "SUSPENDED").await?;
    host.unpause(&container(id)).await?;
    host.kill(&container(id)).await?;
    becomes("the record says that it is down", async || {
        Ok(cloud.server(id).await?.context("the server is gone")?["OS-EXT-STS:power_state"] == 4)
    })
    .await?;
    cloud.action(id, json!({"resume": null})).await?;
    cloud.wait_for(id, "ACTIVE").await?;
    ensure!(is_running(&host.running_instance(id).await?));
    // Both ways out of a frozen server.
    cloud.action(id, json!({"pause": null})).await?;
    cloud.wait_for(id, "PAUSED").await?;
    cloud.action(id, json!({"reboot": {"type": "HARD"}})).await?;
    cloud.wait_for(id, "ACTIVE").await?;
    ensure!(!frozen(&host, id).await?.0);
    cloud.action(id, json!({"pause": null})).await?;
    cloud.wait_for(id, "PAUSED").await?;
    cloud.delete(id).await?;
    ensure!(host.instance(id).await?.is_none(), "the container is still there");
    Ok(())
}

/// Soft-deletes a server and waits until its container is off.
async fn soft_delete(cloud: &Cloud, host: &Host, id: &str) -> Result<()> {
    host.exec(&platform::container("nova-api")?, &["python3", "-c", SOFT_DELETE, id]).await?;
    cloud.wait_for(id, "SOFT_DELETED").await?;
    ensure!(!is_running(&host.running_instance(id).await?), "it still runs");
    Ok(())
}

/// Covers: soft_delete_instance, restore_instance
#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_soft_deleted_server_is_restored_or_deleted_for_good() -> Result<()> {
    let _platform = shared().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let server = cloud.boot_active(&small("soft-delete")).await?;
    let id = text(&server["id"]);
    soft_delete(&cloud, &host, id).await?;
    cloud.action(id, json!({"restore": null})).await?;
    cloud.wait_for(id, "ACTIVE").await?;
    ensure!(is_running(&host.running_instance(id).await?));
    ensure!(cloud.allocations(id).await? != json!({}), "its allocation is gone");
    soft_delete(&cloud, &host, id).await?;
    cloud.action(id, json!({"forceDelete": null})).await?;
    is_gone(&cloud, &host, id).await
}

async fn is_gone(cloud: &Cloud, host: &Host, id: &str) -> Result<()> {
    cloud.wait_deleted(id).await?;
    ensure!(host.instance(id).await?.is_none(), "the container is still there");
    ensure!(cloud.allocations(id).await? == json!({}), "an allocation is left behind");
    Ok(())
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_server_comes_back_with_its_host_and_is_reclaimed_after_a_soft_delete() -> Result<()> {
    let _platform = alone().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let more =
        "orphans = remove\n[DEFAULT]\nreclaim_instance_interval = 2\nresume_guests_state_on_host_boot = true";
    let mut agent = PlainAgent::prepare(&cloud, "octo-reclaim", more).await?;
    agent.join(&cloud).await?;
    let boot = Boot { extra: json!({"availability_zone": "nova:octo-reclaim"}), ..small("reclaim") };
    let server = cloud.boot_active(&boot).await?;
    let id = text(&server["id"]);
    agent.kill()?;
    host.kill(&container(id)).await?;
    // Beside it, what is left of a server that no database knows.
    let image = host.running_instance(id).await?.image.context("no image")?;
    let labels = [("nova.instance_uuid", ORPHAN), ("nova.host", "octo-reclaim")];
    host.leave(&container(ORPHAN), &image, &labels).await?;
    agent.start()?;
    agent.wait_until_said("serving").await?;
    ensure!(is_running(&host.running_instance(id).await?), "{}", agent.said());
    ensure!(cloud.server(id).await?.context("the server is gone")?["status"] == "ACTIVE");

    becomes("the orphan is removed", async || Ok(host.instance(ORPHAN).await?.is_none())).await?;

    // nova-api shows it until it is reclaimed, which may be at once.
    host.exec(&platform::container("nova-api")?, &["python3", "-c", SOFT_DELETE, id]).await?;
    is_gone(&cloud, &host, id).await?;
    ensure!(agent.said().contains("reclaims a deleted instance"), "{}", agent.said());
    agent.leave(&cloud).await
}

/// Covers: set_admin_password, get_instance_diagnostics
#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_new_password_is_the_guests_and_diagnostics_are_what_it_uses() -> Result<()> {
    let _platform = shared().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let server = cloud.boot_active(&small("password")).await?;
    let id = text(&server["id"]);
    let shadow = async || host.exec(&container(id), &["cat", "/etc/shadow"]).await;
    let (before, password) = (shadow().await?, "correct horse 4711");
    cloud.action(id, json!({"changePassword": {"adminPass": password}})).await?;
    let after = shadow().await?;
    let root = after.lines().find(|line| line.starts_with("root:")).context("no root")?;
    ensure!(root.starts_with("root:$") && before.lines().all(|line| line != root), "{root}");
    let server = cloud.server(id).await?.context("the server is gone")?;
    assert_eq!(server["OS-EXT-STS:task_state"], Value::Null);
    let log = octopenstack_ok(&["logs", "nova-docker-agent"])?;
    ensure!(
        log.contains("serving") && !log.contains(password),
        "the password is in the log, or there is none"
    );

    let used = cloud.get("compute", &format!("/servers/{id}/diagnostics")).await?;
    assert_eq!((&used["hypervisor"], &used["state"]), (&json!("docker"), &json!("running")));
    assert_eq!((&used["memory_details"]["maximum"], &used["num_disks"]), (&json!(64), &json!(1)));
    ensure!(used["cpu_details"][0]["time"].as_u64().is_some_and(|time| time > 0), "{used}");
    ensure!(used["uptime"].is_u64(), "{used}");

    cloud.action(id, json!({"os-stop": null})).await?;
    cloud.wait_for(id, "SHUTOFF").await?;
    for (method, path, body) in [
        (Method::GET, "diagnostics", None),
        (Method::POST, "action", Some(json!({"changePassword": {"adminPass": password}}))),
    ] {
        let (status, answer) =
            cloud.request(method, "compute", &format!("/servers/{id}/{path}"), body).await?;
        ensure!(status == 409, "{path}: {status} {answer}");
    }
    cloud.delete(id).await
}
