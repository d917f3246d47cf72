//! What the clock does about images, shelved instances and rescues.

use std::time::Duration;

use nova_docker_agent::config::Config;
use serde_json::{Value, json};

use crate::images::{IMAGE, ORIGINAL};
use crate::support::agent::Cloud as Peers;
use crate::{CONTAINER, Cloud, HOST, UUID, row};

const LONG_AGO: &str = "2020-01-01T00:00:00";

/// An agent with these options, and an instance of its host in this state.
async fn running(adjust: fn(&mut Config), vm_state: &str, more: Value) -> Cloud {
    let cloud = Cloud { adjust, ..Peers::new(HOST).await };
    cloud.agent(&cloud.life).await.unwrap();
    let mut row = row(vm_state, None);
    row.extend(json!({"host": HOST, "power_state": 4}).as_object().cloned().unwrap());
    row.extend(more.as_object().cloned().unwrap());
    cloud.docker(|docker| docker.put(UUID, HOST, false));
    cloud.nova.with(|db| db.instances.insert(UUID.into(), row));
    cloud
}

fn prune(config: &mut Config) {
    config.image_cache.manager_interval = 1;
    config.image_cache.remove_unused_original_minimum_age_seconds = 1;
}

fn keep(config: &mut Config) {
    config.image_cache.manager_interval = 1;
}

#[tokio::test]
async fn an_image_that_no_instance_uses_goes_after_a_while() {
    let names = ["nova-image/i-1:abc", "nova-image/i-9:abc", "of-somebody-else:1"];
    let put = |cloud: &Cloud| cloud.docker(|docker| docker.committed.extend(names.map(str::to_owned)));
    let (pruned, kept) =
        tokio::join!(running(prune, "stopped", json!({})), running(keep, "stopped", json!({})));
    put(&pruned);
    put(&kept);
    let has = |cloud: &Cloud, name: &str| cloud.docker(|docker| docker.committed.contains(name));
    for _ in 0..500 {
        if !has(&pruned, names[1]) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(names.map(|name| has(&pruned, name)), [true, false, true]);
    assert_eq!(names.map(|name| has(&kept, name)), [true; 3]);
}

#[tokio::test]
async fn an_instance_that_was_shelved_long_ago_leaves_its_host() {
    let adjust = |config: &mut Config| {
        config.shelved_offload_time = 60;
        config.shelved_poll_interval = 1;
    };
    let shelved = |at: &str| json!({"system_metadata": {"shelved_at": at, "shelved_image_id": IMAGE}});
    let cloud = running(adjust, "shelved", shelved("2999-01-01T00:00:00")).await;
    tokio::time::sleep(Duration::from_millis(1300)).await;
    assert_eq!((cloud.field("vm_state"), cloud.container()), (json!("shelved"), Some(false)));
    let long_ago = shelved(LONG_AGO);
    cloud.nova.with(|db| {
        db.instances.get_mut(UUID).unwrap().extend(long_ago.as_object().cloned().unwrap());
    });
    cloud.until("vm_state", "shelved_offloaded").await;
    cloud.nova.until("it is on no host", |db| db.instances[UUID]["host"].is_null()).await;
    assert_eq!((cloud.container(), cloud.field("task_state")), (None, Value::Null));
    assert!(cloud.allocations_deleted());
}

#[tokio::test]
async fn a_rescue_ends_when_its_time_is_over() {
    let adjust = |config: &mut Config| config.rescue_timeout = 1;
    let since = json!({"launched_at": format!("{LONG_AGO}Z")});
    let cloud = running(adjust, "rescued", since).await;
    cloud.docker(|docker| docker.containers.insert(ORIGINAL.into(), false));
    cloud.until("vm_state", "active").await;
    let left = cloud.docker(|docker| docker.containers.get(ORIGINAL).copied());
    assert_eq!((cloud.docker(|docker| docker.containers[CONTAINER]), left), (true, None));
    let action = cloud.nova.with(|db| db.find("InstanceAction.action_start").cloned());
    assert!(action.unwrap().to_string().contains("unrescue"));
}

#[tokio::test]
async fn images_are_fetched_ahead_and_each_says_how_it_went() {
    let cloud = Cloud::running(HOST).await;
    cloud.glance(|glance| {
        let image =
            |status: &str| json!({"status": status, "container_format": "docker", "disk_format": "raw"});
        glance.queue("i-2", "", image("active"));
        glance.queue("i-3", "", image("queued"));
        glance.gone.insert("i-4".into());
    });
    let args = json!({"image_ids": ["i-1", "i-2", "i-3", "i-4"]});
    let states = cloud.nova.call(HOST, "cache_images", args).await.unwrap();
    assert_eq!(states, json!({"i-1": "existing", "i-2": "existing", "i-3": "error", "i-4": "error"}));
}
