//! What the agent does not do yet, or never will: the user is told, and the server stays usable.

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::json;
use tests::cloud::{Cloud, text};

use crate::{shared, small};

/// Covers: get_vnc_console
#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_graphical_console_is_refused_at_once() -> Result<()> {
    let _platform = shared().await;
    let cloud = Cloud::admin().await?;
    let server = cloud.boot_active(&small("no-vnc")).await?;
    let id = text(&server["id"]);
    let body = json!({"remote_console": {"protocol": "vnc", "type": "novnc"}});
    let path = format!("/servers/{id}/remote-consoles");
    let (status, answer) = cloud.request(Method::POST, "compute", &path, Some(body)).await?;
    ensure!(status == 400, "{status} {answer}");
    cloud.delete(id).await
}

/// Covers: trigger_crash_dump
#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn an_action_without_meaning_is_an_error_of_the_action_and_not_of_the_server() -> Result<()> {
    let _platform = shared().await;
    let cloud = Cloud::admin().await?;
    let server = cloud.boot_active(&small("no-crash-dump")).await?;
    let id = text(&server["id"]);
    cloud.action(id, json!({"trigger_crash_dump": null})).await?;
    for _ in 0..100 {
        let (action, _) = cloud.action_events(id, "trigger_crash_dump").await?;
        if action["message"] == "Error" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let (action, events) = cloud.action_events(id, "trigger_crash_dump").await?;
    ensure!(action["message"] == "Error", "{action}");
    ensure!(events.iter().any(|event| event["result"] == "Error"), "{events:?}");
    let server = cloud.wait_for(id, "ACTIVE").await?;
    ensure!(server["OS-EXT-STS:vm_state"] == "active");
    cloud.delete(id).await
}
