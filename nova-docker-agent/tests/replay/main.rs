//! The agent in the place of a recorded nova-compute: it gets the same request from the same Nova, and has to leave the
//! same behind, but for what `tests/wire/differences.json` lists with a reason.
//!
//! The recordings are of nova-compute with its fake driver; here dockerd is scripted.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

mod differences;
mod play;
mod recording;
#[path = "../support/mod.rs"]
mod support;
mod trace;

use std::time::Duration;

use play::{Play, instance};
use recording::Recording;
use serde_json::{Map, json};
use support::agent::Cloud;
use trace::{Before, Trace};

/// Plays a recorded request and compares.
async fn replay(name: &str, prepare: impl FnOnce(&Cloud, &str)) {
    let play = Play::new(Recording::open(name), 0, prepare).await;
    let before = Before { instance: instance(&play.recording), node: Map::new() };
    let agent = play.run().await;
    let nova = play.recording.trace();
    differences::check(name, (&nova.facts(&before), &agent.facts(&before)));
    let asked = &play.recording.request().unwrap()["_context_request_id"];
    // The conductor finds the action by it.
    assert!(
        agent
            .calls
            .iter()
            .all(|call| json!(call.request_id) == *asked || call.name.starts_with("ComputeNode."))
    );
}

/// Starts the agent where the recorded nova-compute was started, and compares.
async fn start_up(name: &str) {
    let play = Play::stopped(Recording::open(name)).await;
    let (nova, node) = (play.recording.trace(), play.node());
    play.cloud.agent(&play.cloud.life).await.unwrap();
    play.quiet().await;
    let agent = play.trace(None);
    let before = Before { instance: Map::new(), node };
    differences::check(name, (&nova.facts(&before), &agent.facts(&before)));
    // What is under way of moves is looked for in one more table, and a guest that is down is recorded.
    let more = if name == "startup_after_evacuation" { 3 } else { 0 };
    assert!(agent.count() <= nova.count() + more, "{} calls, nova-compute {}", agent.count(), nova.count());
}

#[tokio::test]
async fn startup_first() {
    start_up("startup_first").await;
}

#[tokio::test]
async fn startup_with_instances() {
    start_up("startup_with_instances").await;
}

fn nothing(_: &Cloud, _: &str) {}

fn running(cloud: &Cloud, uuid: &str) {
    cloud.docker(|docker| docker.put(uuid, &cloud.host, true));
}

fn stopped(cloud: &Cloud, uuid: &str) {
    cloud.docker(|docker| docker.put(uuid, &cloud.host, false));
}

/// Calls to the conductor, and requests to placement and Neutron, that a request costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    calls: usize,
    requests: usize,
}

/// What a recorded request costs nova-compute; and us, on a host with so many other instances.
async fn cost(name: &str, others: u32, prepare: fn(&Cloud, &str)) -> (Cost, Cost) {
    let play = Play::new(Recording::open(name), others, prepare).await;
    let nova = play.recording.trace();
    let mut trace = play.run().await;
    // The host's record is saved two seconds later, together with what others change, or not, if it is the same: nothing tells
    // when all has come.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let later = play.trace(None);
    trace.calls.extend(later.calls);
    trace.http.extend(later.http);
    let of = |trace: &Trace| Cost { calls: trace.count(), requests: trace.http.len() };
    (of(&nova), of(&trace))
}

#[tokio::test]
async fn a_boot_and_a_delete_cost_half_the_calls_and_not_more_among_many_instances() {
    let both = |name, prepare| async move { tokio::join!(cost(name, 0, prepare), cost(name, 49, prepare)) };
    let (boot, delete) = tokio::join!(both("boot", nothing as fn(&Cloud, &str)), both("delete", running));
    // A boot without a port asks neither. Of a delete placement is told once, and Neutron asked once for ports.
    for (name, ((nova, alone), (_, among)), requests) in [("boot", boot, 0), ("delete", delete, 2)] {
        assert_eq!(alone, among, "{name}: alone, and as one of 50");
        assert!(2 * alone.calls <= nova.calls, "{name}: {alone:?}, nova-compute {nova:?}");
        assert_eq!(alone.requests, requests, "{name}");
    }
}

/// Covers: build_and_run_instance
#[tokio::test]
async fn boot() {
    replay("boot", nothing).await;
}

/// Covers: build_and_run_instance
#[tokio::test]
async fn boot_fails_abort() {
    let refuse = |cloud: &Cloud, _: &str| {
        let no_program = "exec: \"/nope\": executable file not found in $PATH: unknown";
        cloud.docker(|docker| docker.refuse_start = Some((400, no_program)));
    };
    replay("boot_fails_abort", refuse).await;
}

/// Covers: build_and_run_instance
#[tokio::test]
async fn boot_fails_reschedule() {
    let refuse = |cloud: &Cloud, _: &str| {
        cloud.docker(|docker| docker.refuse_start = Some((500, "mkdir: no space left on device")));
    };
    replay("boot_fails_reschedule", refuse).await;
}

/// Covers: terminate_instance
#[tokio::test]
async fn delete() {
    replay("delete", running).await;
}

/// Covers: reboot_instance
#[tokio::test]
async fn reboot_soft() {
    replay("reboot_soft", running).await;
}

/// Covers: reboot_instance
#[tokio::test]
async fn reboot_hard() {
    replay("reboot_hard", running).await;
}

/// Covers: reboot_instance
#[tokio::test]
async fn reboot_hard_makes_a_guest_that_is_gone_again() {
    let gone = |cloud: &Cloud, uuid: &str| {
        with_image(cloud, uuid);
        cloud.docker(|docker| docker.containers.remove(&format!("nova-{uuid}")));
    };
    replay("reboot_hard_recovers", gone).await;
}

#[tokio::test]
async fn reboot_of_a_guest_that_is_gone() {
    replay("action_fails", nothing).await;
}

/// Covers: stop_instance
#[tokio::test]
async fn stop() {
    replay("stop", running).await;
}

/// Covers: start_instance
#[tokio::test]
async fn start() {
    replay("start", stopped).await;
}

/// Covers: get_console_output
#[tokio::test]
async fn console_output() {
    let wrote = |cloud: &Cloud, uuid: &str| {
        running(cloud, uuid);
        cloud.docker(|docker| docker.console = "FAKE CONSOLE OUTPUT\nANOTHER\nLAST LINE");
    };
    replay("console_output", wrote).await;
}

/// Covers: pause_instance
#[tokio::test]
async fn pause() {
    replay("pause", running).await;
}

fn frozen(cloud: &Cloud, uuid: &str) {
    running(cloud, uuid);
    cloud.docker(|docker| docker.frozen.insert(format!("nova-{uuid}")));
}

/// Covers: unpause_instance
#[tokio::test]
async fn unpause() {
    replay("unpause", frozen).await;
}

/// Covers: suspend_instance
#[tokio::test]
async fn suspend() {
    replay("suspend", running).await;
}

/// Covers: resume_instance
#[tokio::test]
async fn resume() {
    replay("resume", frozen).await;
}

/// Covers: set_admin_password
#[tokio::test]
async fn set_admin_password() {
    replay("set_admin_password", running).await;
}

/// Covers: get_instance_diagnostics
#[tokio::test]
async fn diagnostics() {
    replay("diagnostics", running).await;
}

/// Covers: trigger_crash_dump
#[tokio::test]
async fn crash_dump() {
    replay("crash_dump", running).await;
}

/// Covers: get_vnc_console
#[tokio::test]
async fn vnc_console() {
    replay("vnc_console", running).await;
}

/// Covers: get_spice_console
#[tokio::test]
async fn spice_console() {
    replay("spice_console", running).await;
}

/// As nova-api left glance: the image that is asked for, to be filled or to be booted.
fn with_image(cloud: &Cloud, uuid: &str) {
    running(cloud, uuid);
    let images = [
        ("4ddd741b-1b40-4b65-bef8-8ab52aa5a1c2", "queued"),
        ("036cd53b-ed33-41b0-a11d-16480b5445a4", "queued"),
        ("36b01170-602c-4888-b940-11e07cbfd549", "queued"),
        ("0bab7c2c-a201-4c6a-9901-463c9c98c6c2", "active"),
        ("098a48bd-5948-4565-9121-694291d3f88d", "active"),
    ];
    let glance = &mut cloud.glance.lock().unwrap();
    for (id, status) in images {
        let more =
            json!({"status": status, "container_format": "docker", "disk_format": "raw", "checksum": "c"});
        glance.queue(id, uuid, more);
    }
}

/// Covers: snapshot_instance
#[tokio::test]
async fn snapshot() {
    replay("snapshot", with_image).await;
}

/// Covers: backup_instance
#[tokio::test]
async fn backup() {
    replay("backup", with_image).await;
}

/// Covers: rebuild_instance
#[tokio::test]
async fn rebuild() {
    replay("rebuild", with_image).await;
}

/// Covers: rebuild_instance
#[tokio::test]
async fn rebuild_of_a_stopped_instance() {
    replay("rebuild_stopped", with_image).await;
}

/// Covers: shelve_instance
#[tokio::test]
async fn shelve() {
    replay("shelve", with_image).await;
}

/// Covers: unshelve_instance
#[tokio::test]
async fn unshelve() {
    let nowhere = |cloud: &Cloud, uuid: &str| {
        with_image(cloud, uuid);
        cloud.docker(|docker| docker.containers.clear());
        // The recorded image is one of nova-compute's own driver.
        let glance = &mut cloud.glance.lock().unwrap();
        let image = glance.images.get_mut("36b01170-602c-4888-b940-11e07cbfd549").unwrap();
        image.insert("status".into(), json!("active"));
    };
    replay("unshelve", nowhere).await;
}

/// What a container was made from when its instance came from another host.
fn moved_here(cloud: &Cloud, uuid: &str) {
    cloud.docker(|docker| docker.committed.insert(format!("nova-moved/{}:{uuid}", cloud.host)));
}

/// Covers: prep_resize
#[tokio::test]
async fn prep_resize() {
    replay("prep_resize", nothing).await;
}

/// Covers: resize_instance
#[tokio::test]
async fn resize_instance() {
    replay("resize_instance", running).await;
}

/// Covers: finish_resize
#[tokio::test]
async fn finish_resize() {
    replay("finish_resize", moved_here).await;
}

/// Covers: confirm_resize
#[tokio::test]
async fn confirm_resize() {
    replay("confirm_resize", stopped).await;
}

/// Covers: revert_resize
#[tokio::test]
async fn revert_resize() {
    let here = |cloud: &Cloud, uuid: &str| {
        moved_here(cloud, uuid);
        running(cloud, uuid);
    };
    replay("revert_resize", here).await;
}

/// Covers: finish_revert_resize
#[tokio::test]
async fn finish_revert_resize() {
    replay("finish_revert_resize", stopped).await;
}

/// Covers: prep_resize, resize_instance, finish_resize
#[tokio::test]
async fn resize_on_one_host() {
    replay("same_host_resize", running).await;
}

/// Covers: confirm_resize
#[tokio::test]
async fn confirm_of_a_resize_on_one_host() {
    replay("same_host_confirm_resize", running).await;
}

/// Covers: revert_resize, finish_revert_resize
#[tokio::test]
async fn revert_of_a_resize_on_one_host() {
    replay("same_host_revert_resize", running).await;
}

/// Covers: rebuild_instance
#[tokio::test]
async fn evacuate() {
    let images = |cloud: &Cloud, uuid: &str| {
        with_image(cloud, uuid);
        cloud.docker(|docker| docker.containers.clear());
    };
    replay("evacuate", images).await;
}

#[tokio::test]
async fn startup_after_evacuation() {
    start_up("startup_after_evacuation").await;
}

/// Covers: set_host_enabled
#[tokio::test]
async fn host_disabled() {
    replay("host_disabled", nothing).await;
}

/// Covers: set_host_enabled
#[tokio::test]
async fn host_enabled() {
    replay("host_enabled", nothing).await;
}

/// Covers: get_host_uptime
#[tokio::test]
async fn host_uptime() {
    replay("host_uptime", nothing).await;
}

/// Covers: cache_images
#[tokio::test]
async fn cache_images() {
    replay("cache_images", with_image).await;
}

/// Covers: external_instance_event
#[tokio::test]
async fn network_changed() {
    replay("network_changed", running).await;
}

/// Covers: rescue_instance
#[tokio::test]
async fn rescue() {
    replay("rescue", with_image).await;
}

/// Covers: unrescue_instance
#[tokio::test]
async fn unrescue() {
    let rescued = |cloud: &Cloud, uuid: &str| {
        with_image(cloud, uuid);
        cloud.docker(|docker| docker.containers.insert(format!("nova-{uuid}-original"), false));
    };
    replay("unrescue", rescued).await;
}
