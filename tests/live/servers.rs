//! The life of a server: boot, stop, start, reboot, console output, delete, with what each leaves in the API and
//! in Docker.

use anyhow::{Context, Result};
use serde_json::json;
use tests::{
    agent::platform_option,
    cloud::{Cloud, text},
    host::{Host, is_running, started_at},
};

use crate::{shared, small};

/// Covers: build_and_run_instance, terminate_instance
#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_boot_is_scheduled_and_runs_as_a_container_with_the_flavors_limits() -> Result<()> {
    let _platform = shared().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let server = cloud.boot_active(&small("boot")).await?;
    let id = text(&server["id"]);

    assert_eq!(server["OS-EXT-SRV-ATTR:host"], platform_option("host").await?.as_str());
    assert_eq!(server["OS-EXT-STS:power_state"], 1);
    assert!(server["OS-SRV-USG:launched_at"].is_string(), "{server}");

    let container = host.running_instance(id).await?;
    assert!(is_running(&container));
    let limits = container.host_config.context("no host config")?;
    assert_eq!(limits.memory, Some(64 << 20));
    assert_eq!(limits.memory_swap, limits.memory);
    assert!(limits.pids_limit.unwrap_or_default() > 0);
    assert!(limits.cpu_shares.unwrap_or_default() > 0);
    assert_ne!(limits.privileged, Some(true));
    assert_eq!(container.config.context("no config")?.hostname.as_deref(), Some("boot"));

    let allocations = cloud.allocations(id).await?;
    let resources = allocations.as_object().and_then(|all| all.values().next()).context("no allocation")?;
    assert_eq!(resources["resources"]["MEMORY_MB"], 64);

    cloud.delete(id).await?;
    assert!(host.instance(id).await?.is_none(), "the container is still there");
    assert_eq!(cloud.allocations(id).await?, json!({}));
    Ok(())
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn instance_actions_show_each_event_with_its_result() -> Result<()> {
    let _platform = shared().await;
    let cloud = Cloud::admin().await?;
    let server = cloud.boot_active(&small("actions")).await?;
    let id = text(&server["id"]);
    cloud.action(id, json!({"os-stop": null})).await?;
    cloud.wait_for(id, "SHUTOFF").await?;

    for (action, event) in
        [("create", "compute__do_build_and_run_instance"), ("stop", "compute_stop_instance")]
    {
        let (_, events) = finished_events(&cloud, id, action, event).await?;
        let found =
            events.iter().find(|each| each["event"] == event).with_context(|| format!("no {event}"))?;
        assert_eq!(found["result"], "Success", "{found}");
        assert_eq!(found["host"], platform_option("host").await?.as_str());
    }
    cloud.delete(id).await
}

/// Events are written beside the work, so the last one may follow the state by some milliseconds.
async fn finished_events(
    cloud: &Cloud,
    id: &str,
    action: &str,
    event: &str,
) -> Result<(serde_json::Value, Vec<serde_json::Value>)> {
    for _ in 0..50 {
        let (detail, events) = cloud.action_events(id, action).await?;
        if events.iter().any(|each| each["event"] == event && !each["finish_time"].is_null()) {
            return Ok((detail, events));
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    cloud.action_events(id, action).await
}

/// Covers: stop_instance, start_instance
#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn stop_and_start_keep_the_container_and_its_files() -> Result<()> {
    let _platform = shared().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let server = cloud.boot_active(&small("stop-start")).await?;
    let id = text(&server["id"]);
    let before = host.running_instance(id).await?;

    cloud.action(id, json!({"os-stop": null})).await?;
    let stopped = cloud.wait_for(id, "SHUTOFF").await?;
    assert_eq!(stopped["OS-EXT-STS:power_state"], 4);
    assert!(!is_running(&host.running_instance(id).await?));

    cloud.action(id, json!({"os-start": null})).await?;
    let started = cloud.wait_for(id, "ACTIVE").await?;
    assert_eq!(started["OS-EXT-STS:power_state"], 1);
    let after = host.running_instance(id).await?;
    assert!(is_running(&after));
    assert_eq!(before.id, after.id, "the container was replaced");
    cloud.delete(id).await
}

/// Covers: reboot_instance
#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn soft_and_hard_reboot_restart_the_guest() -> Result<()> {
    let _platform = shared().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let server = cloud.boot_active(&small("reboot")).await?;
    let id = text(&server["id"]);
    for kind in ["SOFT", "HARD"] {
        let before = started_at(&host.running_instance(id).await?);
        cloud.action(id, json!({"reboot": {"type": kind}})).await?;
        cloud.wait_for(id, "ACTIVE").await?;
        let after = host.running_instance(id).await?;
        assert!(is_running(&after));
        assert_ne!(before, started_at(&after), "{kind}: the guest was not restarted");
    }
    cloud.delete(id).await
}

/// Covers: get_console_output
#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn console_output_is_what_the_guest_wrote_and_can_be_cut_to_its_last_lines() -> Result<()> {
    let _platform = shared().await;
    let cloud = Cloud::admin().await?;
    let server = cloud.boot_active(&small("console")).await?;
    let id = text(&server["id"]);
    let mut whole = String::new();
    for _ in 0..100 {
        let answer = cloud.action(id, json!({"os-getConsoleOutput": {}})).await?;
        whole = text(&answer["output"]).to_owned();
        if whole.lines().count() >= 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(whole.lines().count() >= 2, "the guest wrote {whole:?}");
    // Nova counts the empty piece after the last line end.
    let answer = cloud.action(id, json!({"os-getConsoleOutput": {"length": 2}})).await?;
    assert_eq!(text(&answer["output"]).split('\n').count(), 2);
    cloud.delete(id).await
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn ten_servers_of_one_request_become_active_and_go_away() -> Result<()> {
    let _platform = shared().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let mut boot = small("ten");
    boot.extra = json!({"min_count": 10, "max_count": 10});
    let first = cloud.boot(&boot).await?;
    cloud.wait_for(&first, "ACTIVE").await?;
    let listed = cloud.get("compute", "/servers?name=%5Eten").await?;
    let ids: Vec<String> =
        tests::cloud::list(&listed["servers"]).iter().map(|each| text(&each["id"]).to_owned()).collect();
    assert_eq!(ids.len(), 10, "{listed}");
    for id in &ids {
        cloud.wait_for(id, "ACTIVE").await?;
        assert!(is_running(&host.running_instance(id).await?));
    }
    for id in &ids {
        cloud.delete(id).await?;
        assert!(host.instance(id).await?.is_none());
    }
    Ok(())
}
