//! Starts of the agent: who it is, what keeps it from starting, what it finds of its last run.

use std::time::Duration;

use common::shutdown::Shutdown;
use nova_docker_agent::startup;
use serde_json::{Value, json};

use crate::support::agent::Cloud;
use crate::{HOST, UUID, revived, row};

#[tokio::test]
async fn a_first_start_registers_and_publishes() {
    let cloud = Cloud::new(HOST).await;
    cloud.agent(&cloud.life).await.unwrap();
    let (service, node) = cloud.nova.with(|db| (db.service.clone().unwrap(), db.node.clone().unwrap()));
    assert_eq!((&service["host"], &service["version"]), (&json!("h1"), &json!(74)));
    let identity = std::fs::read_to_string(cloud.directory.path().join("compute_id")).unwrap();
    assert_eq!(node["uuid"], json!(identity));
    // A node without this field gets no instances.
    assert!(node["free_disk_gb"].is_i64());
    let put = cloud.placement.take().into_iter().find(|request| request.method == "PUT").unwrap();
    assert!(put.path.ends_with("/inventories") && put.body["inventories"]["VCPU"]["total"] == 2);
}

#[tokio::test]
async fn a_lost_identity_keeps_the_agent_from_starting() {
    let cloud = Cloud::new(HOST).await;
    cloud.agent(&cloud.life).await.unwrap();
    std::fs::remove_file(cloud.directory.path().join("compute_id")).unwrap();
    let refused = cloud.agent(&Shutdown::new()).await.err().unwrap();
    assert!(matches!(refused, startup::Error::IdentityLost { .. }), "{refused}");
}

#[tokio::test]
async fn a_renamed_host_keeps_the_agent_from_starting() {
    let cloud = Cloud::new(HOST).await;
    cloud.agent(&cloud.life).await.unwrap();
    cloud.nova.with(|db| db.node.as_mut().unwrap().insert("host".into(), json!("h0")));
    let refused = cloud.agent(&Shutdown::new()).await.err().unwrap().to_string();
    assert!(refused.contains("h0") && refused.contains("h1"), "{refused}");
}

#[tokio::test]
async fn other_computes_of_a_newer_release_keep_the_agent_from_starting() {
    let cloud = Cloud::new(HOST).await;
    cloud.nova.with(|db| (db.conductors, db.computes) = (72, 74));
    assert!(matches!(cloud.agent(&cloud.life).await.err(), Some(startup::Error::Profile(_))));
}

/// Covers: set_host_enabled, get_host_uptime
#[tokio::test]
async fn the_disabled_service_is_told_to_placement() {
    let cloud = Cloud::running(HOST).await;
    for (enabled, word) in [(false, "disabled"), (true, "enabled")] {
        let answer = cloud.nova.call("h1", "set_host_enabled", json!({"enabled": enabled})).await.unwrap();
        assert_eq!(answer, word);
        let told = cloud.placement.take();
        let told = told.iter().rfind(|request| request.method == "PUT" && request.path.ends_with("/traits"));
        let traits = told.unwrap().body["traits"].to_string();
        assert_eq!(traits.contains("COMPUTE_STATUS_DISABLED"), !enabled, "{word}: {traits}");
    }
    let uptime = cloud.nova.call("h1", "get_host_uptime", json!({})).await.unwrap();
    assert!(uptime.as_str().unwrap().contains("load average"), "{uptime}");
}

#[tokio::test]
async fn a_restart_picks_up_what_the_last_run_left() {
    let cloud = Cloud::booted().await;
    cloud.life.drain(Duration::from_secs(1)).await;
    let cloud = Cloud { nova: revived(&cloud.nova).await, life: Shutdown::new(), ..cloud };
    // Interrupted while it deleted, and another while it was built.
    let other = "00000000-0000-4000-8000-000000000001";
    cloud.nova.with(|db| {
        db.instances.get_mut(UUID).unwrap().insert("task_state".into(), json!("deleting"));
        let mut building = row("building", Some("spawning"));
        building.extend([("uuid".to_owned(), json!(other)), ("host".to_owned(), json!("h1"))]);
        db.instances.insert(other.into(), building);
    });
    cloud.agent(&cloud.life).await.unwrap();
    assert_eq!(cloud.container(), None);
    let (gone, built) = cloud.nova.with(|db| (!db.instances.contains_key(UUID), db.instances[other].clone()));
    assert!(gone);
    assert_eq!((&built["vm_state"], &built["task_state"]), (&json!("error"), &Value::Null));
}

#[tokio::test]
async fn a_restart_does_not_touch_running_containers() {
    let cloud = Cloud::booted().await;
    cloud.life.drain(Duration::from_secs(1)).await;
    let cloud = Cloud { nova: revived(&cloud.nova).await, life: Shutdown::new(), ..cloud };
    cloud.engine.take();
    cloud.agent(&cloud.life).await.unwrap();
    assert_eq!(cloud.container(), Some(true));
    let changing =
        cloud.engine.take().into_iter().filter(|request| request.method != "GET" && request.method != "HEAD");
    assert_eq!(changing.map(|request| request.line()).collect::<Vec<_>>(), Vec::<String>::new());
    assert!(cloud.nova.with(|db| db.find("Instance.save").is_none()));
}
