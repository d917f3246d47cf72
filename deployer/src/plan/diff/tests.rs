//! Plans for platforms in every state, and the law that a carried-out plan leaves nothing to do.

use std::collections::BTreeMap;
use std::path::Path;

use common::config::{Config, Configuration, Service, Services};
use proptest::prelude::*;

use super::*;
use crate::plan::hash::Key;
use crate::plan::spec::{Attachment, Ingredients};
use crate::render::File;

fn platform(services: serde_json::Value) -> Platform {
    let services: Services = serde_json::from_value(serde_json::json!({ "services": services })).unwrap();
    let config = Config { services, configuration: Configuration::default(), templates: Default::default() };
    Platform::new(&config, &[])
}

fn sample() -> Platform {
    let job = serde_json::json!([{ "name": "sync", "command": ["sync"] }]);
    platform(serde_json::json!({
        "db": { "image": "db", "user": 1, "command": ["db"], "volumes": { "db": "/data" } },
        "api": { "image": "api", "user": 2, "command": ["api"], "depends_on": ["db"], "init": job },
    }))
}

fn desired_with(platform: &Platform, name: &str, key: &str, image_id: &str, content: &str) -> DesiredService {
    let service: &Service = &platform.services[name];
    let files = [File { path: "/etc/x.conf".into(), content: content.into() }];
    let ingredients = Ingredients {
        platform,
        key: &Key::new(key),
        rendered: Path::new("/state"),
        logs: Path::new("/logs"),
        host_folder: Path::new("/state/own"),
        name,
        service,
        image_id,
        files: &files,
        environment: &BTreeMap::new(),
    };
    let jobs =
        service.init.iter().map(|job| (job.name.value.clone(), ingredients.job(job, &job.command))).collect();
    DesiredService { container: ingredients.service(&service.command), jobs }
}

fn desired(platform: &Platform, name: &str) -> DesiredService {
    desired_with(platform, name, "key", "sha256:1", "content")
}

/// What Docker shows after the plan was carried out.
fn carried_out(platform: &Platform, desired: &BTreeMap<String, DesiredService>) -> Observed {
    let mut observed = Observed {
        network: Some(platform.config.configuration.subnet.to_string()),
        volumes: platform.volumes().into_iter().collect(),
        ..Observed::default()
    };
    for (name, service) in desired {
        let container = |desired: &Desired, job: bool| Container {
            service: name.clone(),
            job,
            spec: desired.hash.clone(),
            parts: desired.parts.clone(),
            state: if job { State::Succeeded } else { State::Running },
            id: format!("id of {}", desired.spec.name),
            joins: match &desired.spec.network {
                Attachment::Joined { container, .. } => Some(format!("id of {container}")),
                _ => None,
            },
            ..Container::default()
        };
        observed.containers.insert(service.container.spec.name.clone(), container(&service.container, false));
        for (_, job) in &service.jobs {
            observed.containers.insert(job.spec.name.clone(), container(job, true));
        }
    }
    observed
}

fn all(platform: &Platform) -> BTreeMap<String, DesiredService> {
    platform.services.keys().map(|name| (name.clone(), desired(platform, name))).collect()
}

fn steps(
    platform: &Platform,
    desired: &BTreeMap<String, DesiredService>,
    observed: &Observed,
) -> Vec<String> {
    let mut steps = platform_steps(platform, observed, true);
    steps.extend(["db", "api"].iter().flat_map(|name| service_steps(name, desired, observed)));
    steps.iter().map(ToString::to_string).collect()
}

#[test]
fn from_nothing_everything_is_made_in_order() {
    let platform = sample();
    insta::assert_snapshot!(steps(&platform, &all(&platform), &Observed::default()).join("\n"));
}

#[test]
fn a_carried_out_plan_leaves_nothing_to_do() {
    let platform = sample();
    let desired = all(&platform);
    assert_eq!(steps(&platform, &desired, &carried_out(&platform, &desired)), Vec::<String>::new());
}

#[test]
fn changes_and_left_overs_are_named() {
    let platform = sample();
    let mut observed = carried_out(&platform, &all(&platform));
    observed
        .containers
        .insert("octo-old".into(), Container { service: "old".into(), ..Container::default() });
    observed.containers.get_mut("octo-db").unwrap().state = State::Failed;
    let mut desired = all(&platform);
    desired.insert("api".into(), desired_with(&platform, "api", "key", "sha256:2", "other content"));
    insta::assert_snapshot!(steps(&platform, &desired, &observed).join("\n"));
}

#[test]
fn a_job_that_failed_or_was_interrupted_runs_again() {
    let platform = sample();
    let desired = all(&platform);
    for state in [State::Failed, State::Running, State::Created] {
        let mut observed = carried_out(&platform, &desired);
        observed.containers.get_mut("octo-api-sync").unwrap().state = state;
        assert_eq!(steps(&platform, &desired, &observed), ["run job sync of api: did not end well"]);
    }
}

#[test]
fn docker_is_told_all_that_a_service_of_a_hypervisor_needs() {
    let platform = platform(serde_json::json!({
        "hypervisor": { "image": "ovn", "user": 0, "command": ["hold"], "address": 13, "ports": [9774],
            "sysctls": { "net.ipv4.ip_forward": "1" } },
        "switch": { "image": "ovn", "user": 0, "command": ["switch"], "network": "service:hypervisor",
            "capabilities": ["NET_ADMIN"], "devices": ["/dev/net/tun"], "groups": [42424], "pid": "host",
            "health": { "tcp": { "port": 80 } } },
    }));
    let desired = all(&platform);
    let specs = ["hypervisor", "switch"].map(|name| &desired[name].container.spec);
    insta::assert_snapshot!(serde_json::to_string_pretty(&specs).unwrap());
}

/// `api` lives in the network of `db`.
fn joined() -> (Platform, BTreeMap<String, DesiredService>, Observed) {
    let platform = platform(serde_json::json!({
        "db": { "image": "db", "user": 1, "command": ["db"] },
        "api": { "image": "api", "user": 2, "command": ["api"], "network": "service:db" },
    }));
    let desired = all(&platform);
    let observed = carried_out(&platform, &desired);
    (platform, desired, observed)
}

#[test]
fn a_container_is_made_anew_with_the_one_whose_network_it_joins() {
    let (platform, desired, observed) = joined();
    assert_eq!(steps(&platform, &desired, &observed), Vec::<String>::new());
    let mut changed = desired.clone();
    changed.insert("db".into(), desired_with(&platform, "db", "key", "sha256:2", "content"));
    insta::assert_snapshot!(steps(&platform, &changed, &observed).join("\n"));
}

#[test]
fn a_container_in_the_network_of_one_that_is_gone_is_found() {
    let (platform, desired, mut observed) = joined();
    observed.containers.get_mut("octo-db").unwrap().id = "another".into();
    let expected = ["replace api: it is in the network of an earlier db"];
    assert_eq!(steps(&platform, &desired, &observed), expected);
}

#[test]
fn stopped_containers_of_one_network_only_start() {
    let (platform, desired, mut observed) = joined();
    observed.containers.get_mut("octo-db").unwrap().state = State::Failed;
    let expected = ["start db: it is stopped", "replace api: the network of db is made anew"];
    assert_eq!(steps(&platform, &desired, &observed), expected);
    observed.containers.get_mut("octo-api").unwrap().state = State::Failed;
    let expected = ["start db: it is stopped", "start api: it is stopped"];
    assert_eq!(steps(&platform, &desired, &observed), expected);
}

proptest! {
    #[test]
    fn any_change_of_content_image_or_key_changes_the_hash(a in "[a-z]{1,9}", b in "[a-z]{1,9}") {
        let platform = sample();
        let hash = |key: &str, image: &str, content: &str| desired_with(&platform, "api", key, image, content).container.hash;
        prop_assert_eq!(hash(&a, &a, &a), hash(&a, &a, &a));
        if a != b {
            prop_assert_ne!(hash("k", "i", &a), hash("k", "i", &b));
            prop_assert_ne!(hash("k", &a, "c"), hash("k", &b, "c"));
            prop_assert_ne!(hash(&a, "i", "c"), hash(&b, "i", "c"));
        }
    }

    #[test]
    fn whatever_the_states_a_second_plan_is_empty(states in proptest::collection::vec(0usize..6, 3)) {
        let platform = sample();
        let desired = all(&platform);
        let mut observed = carried_out(&platform, &desired);
        let all_states = [State::Running, State::Restarting, State::Succeeded, State::Failed, State::Created, State::Paused];
        for (container, state) in observed.containers.values_mut().zip(&states) {
            container.state = all_states[*state];
        }
        // Every step leaves its container as `carried_out` shows it; what has no step keeps its state.
        let planned = steps(&platform, &desired, &observed).len();
        let wrong = observed.containers.values().filter(|container| {
            let good: &[State] = if container.job { &[State::Succeeded] } else { &[State::Running, State::Restarting] };
            !good.contains(&container.state)
        });
        prop_assert_eq!(planned, wrong.count());
    }
}
