//! Moves between two agents, each of which is killed after each of its steps and started again: the instance is on one of
//! the two hosts, and of nothing else anything is left on either.

#[path = "two_hosts/hosts.rs"]
mod hosts;
#[path = "two_hosts/judge.rs"]
mod judge;

use std::time::Duration;

use futures_util::{StreamExt, stream};
use hosts::Two;

use crate::support::nova::Database;

/// The ephemeral disk.
pub(crate) const VOLUME: &str = "nova-2d206834-23ab-4b5d-a236-4608f438a9e2-ephemeral0";
/// Ways of one move that are tried at the same time.
const AT_ONCE: usize = 4;
/// No step of a move has more.
const MOST_STEPS: usize = 40;

/// What is on the ephemeral disk.
pub(crate) fn content() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    tar.append_data(&mut header, "mnt/mark", b"mine".as_slice()).unwrap();
    tar.into_inner().unwrap()
}

/// Whose agent is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Killed {
    Source,
    Destination,
}

/// What is asked of the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Resize,
    /// To a flavor whose ephemeral disk has another size, which the destination refuses where it is the source.
    Refused,
    /// To a smaller disk, which the source refuses.
    Smaller,
    /// To a host where the instance's server group does not let it.
    Unwanted,
    /// As that, and the conductor has another host to try.
    PassedOn,
    Confirm,
    Revert,
    Evacuate,
}

/// The state in which a step begins.
async fn before(step: Step, to: usize) -> Two {
    let mut two = Two::new(to).await;
    match step {
        Step::Resize | Step::Refused | Step::Smaller | Step::Unwanted | Step::PassedOn => {}
        Step::Evacuate => two.kill(0).await,
        Step::Confirm | Step::Revert => {
            two.begin(Step::Resize).await;
            two.settles(Step::Resize).await.unwrap();
            assert_eq!(two.row("vm_state"), "resized");
            two.nova().with(Database::take_names);
        }
    }
    two
}

/// How many steps the agent takes that is to be killed.
async fn steps_of((step, killed, to): (Step, Killed, usize)) -> usize {
    let two = before(step, to).await;
    let fuse = &two.hosts[two.agent_of(killed)].fuse;
    fuse.mend();
    two.begin(step).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    two.settles(step).await.unwrap();
    // The last thing that is said.
    tokio::time::sleep(Duration::from_millis(100)).await;
    fuse.taken()
}

/// Kills one of the agents after so many of its steps.
async fn killed_after(steps: usize, (step, killed, to): (Step, Killed, usize)) -> Result<(), String> {
    let mut two = before(step, to).await;
    let host = two.agent_of(killed);
    two.hosts[host].fuse.burn(steps);
    two.begin(step).await;
    for _ in 0..2000 {
        if two.hosts[host].fuse.is_blown() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if steps == 0 {
        // It gets as far as the first question.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // What was sent last arrives.
    tokio::time::sleep(Duration::from_millis(50)).await;
    two.conduct().await;
    two.kill(host).await;
    two.start(host).await;
    let when = |wrong: String| format!("{step:?}, {killed:?} killed after {steps} steps:\n{wrong}");
    two.settles(step).await.map_err(when)?;
    if step == Step::Evacuate {
        two.start(0).await;
        let when =
            |wrong: String| format!("{step:?}, {killed:?} killed after {steps} steps, source back:\n{wrong}");
        two.settles(step).await.map_err(when)?;
    }
    Ok(())
}

async fn killed_at_every_step(step: Step, killed: Killed) {
    try_all((step, killed, 1)).await;
}

/// Source and destination are one.
async fn killed_at_every_step_here(step: Step) {
    try_all((step, Killed::Source, 0)).await;
}

async fn try_all(what: (Step, Killed, usize)) {
    let count = steps_of(what).await;
    assert!((3..MOST_STEPS).contains(&count), "{count} steps");
    let ways = stream::iter(0..=count).map(|steps| killed_after(steps, what));
    let wrong: Vec<String> = ways.buffer_unordered(AT_ONCE).filter_map(async |way| way.err()).collect().await;
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), count + 1, wrong.join("\n"));
}

#[tokio::test]
async fn a_source_killed_during_a_resize() {
    killed_at_every_step(Step::Resize, Killed::Source).await;
}

#[tokio::test]
async fn a_destination_killed_during_a_resize() {
    killed_at_every_step(Step::Resize, Killed::Destination).await;
}

#[tokio::test]
async fn a_source_killed_during_the_confirmation() {
    killed_at_every_step(Step::Confirm, Killed::Source).await;
}

#[tokio::test]
async fn a_source_killed_during_a_revert() {
    killed_at_every_step(Step::Revert, Killed::Source).await;
}

#[tokio::test]
async fn a_destination_killed_during_a_revert() {
    killed_at_every_step(Step::Revert, Killed::Destination).await;
}

#[tokio::test]
async fn killed_during_a_resize_on_one_host() {
    killed_at_every_step_here(Step::Resize).await;
}

#[tokio::test]
async fn killed_during_the_confirmation_on_one_host() {
    killed_at_every_step_here(Step::Confirm).await;
}

#[tokio::test]
async fn killed_during_a_revert_on_one_host() {
    killed_at_every_step_here(Step::Revert).await;
}

#[tokio::test]
async fn killed_while_a_resize_on_one_host_is_refused() {
    killed_at_every_step_here(Step::Refused).await;
}

#[tokio::test]
async fn a_source_killed_while_it_refuses_a_resize() {
    killed_at_every_step(Step::Smaller, Killed::Source).await;
}

#[tokio::test]
async fn a_destination_killed_while_it_refuses_a_resize() {
    killed_at_every_step(Step::Unwanted, Killed::Destination).await;
}

#[tokio::test]
async fn a_destination_killed_while_it_passes_a_resize_on() {
    killed_at_every_step(Step::PassedOn, Killed::Destination).await;
}

#[tokio::test]
async fn a_destination_killed_during_an_evacuation() {
    killed_at_every_step(Step::Evacuate, Killed::Destination).await;
}

/// Covers: resize_instance
#[tokio::test]
async fn only_what_the_destination_has_not_is_sent_unless_docker_wants_it_all() {
    for (wants_all_layers, members) in [(false, 3), (true, 4)] {
        let two = before(Step::Resize, 1).await;
        two.hosts[1].docker(|docker| docker.wants_all_layers = wants_all_layers);
        two.begin(Step::Resize).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        two.settles(Step::Resize).await.unwrap();
        assert_eq!(two.row("vm_state"), "resized");
        let came = two.hosts[1].docker(|docker| docker.loads.last().cloned().unwrap());
        // The manifest, the configuration, and the layers.
        assert_eq!(came.len(), members, "{came:?}");
    }
}
