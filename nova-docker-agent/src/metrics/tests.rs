//! What Prometheus reads, and that the dashboard asks for nothing else.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

/// What is told when each metric was used once.
fn told() -> String {
    let mut registry = Registry::with_prefix(PREFIX);
    let metrics = Metrics::register(&mut registry);
    register_reconnects(&mut registry, || 3);
    let labels = RpcLabels { method: "stop_instance", outcome: Outcome::Ok };
    metrics.rpcs.get_or_create(&labels).inc();
    metrics.rpc_seconds.get_or_create(&labels).observe(0.3);
    metrics.boot_seconds.observe(0.3);
    let labels = ConductorLabels { method: "Instance.save".into(), outcome: Outcome::Refused };
    metrics.conductor_calls.get_or_create(&labels).inc();
    metrics.conductor_seconds.observe(0.007);
    let scraped = &metrics.scraped;
    scraped.instances.get_or_create(&VmStateLabel { vm_state: "active" }).set(2);
    scraped.capacity.get_or_create(&ResourceLabel { resource: "VCPU" }).set(8);
    scraped.used.get_or_create(&ResourceLabel { resource: "VCPU" }).set(3);
    scraped.connections.get_or_create(&PeerLabel { peer: "docker" }).set(1);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text
}

#[test]
fn what_is_counted_is_told_in_open_metrics() {
    let text = told();
    for line in [
        "nova_docker_agent_rpcs_total{method=\"stop_instance\",outcome=\"Ok\"} 1",
        "nova_docker_agent_rpc_duration_seconds_bucket{le=\"0.5\",method=\"stop_instance\",outcome=\"Ok\"} 1",
        "nova_docker_agent_boot_duration_seconds_count 1",
        "nova_docker_agent_conductor_calls_total{method=\"Instance.save\",outcome=\"Refused\"} 1",
        "nova_docker_agent_conductor_call_duration_seconds_bucket{le=\"0.01\"} 1",
        "nova_docker_agent_instances{vm_state=\"active\"} 2",
        "nova_docker_agent_resource_used{resource=\"VCPU\"} 3",
        "nova_docker_agent_connection_up{peer=\"docker\"} 1",
        "nova_docker_agent_amqp_reconnects_total 3",
        "nova_docker_agent_resident_memory_bytes 0",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

/// Every text below a key called `expr` or `query`.
fn queries<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            let texts = map.iter().filter(|(key, _)| ["expr", "query"].contains(&key.as_str()));
            found.extend(texts.filter_map(|(_, value)| value.as_str()));
            map.values().for_each(|value| queries(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

/// Names of our metrics in a text.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with(PREFIX))
}

#[test]
fn the_dashboard_asks_for_what_is_told_and_shows_all_of_it() {
    let dashboard: Value = serde_json::from_str(include_str!("../../grafana-dashboard.json")).unwrap();
    let mut asked = Vec::new();
    queries(&dashboard, &mut asked);
    let asked: BTreeSet<&str> = asked.into_iter().flat_map(names).collect();
    let text = told();
    let told: BTreeSet<&str> = text.lines().filter(|line| !line.starts_with('#')).flat_map(names).collect();
    let unknown: Vec<_> = asked.difference(&told).collect();
    assert!(unknown.is_empty(), "the dashboard asks for {unknown:?}, which nobody tells");
    // Of a histogram one of its series is enough.
    let base = |name: &str| {
        let ends = ["_bucket", "_count", "_sum"];
        ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
    };
    let asked: BTreeSet<String> = asked.into_iter().map(base).collect();
    let told: BTreeSet<String> = told.into_iter().map(base).collect();
    let unseen: Vec<_> = told.difference(&asked).collect();
    assert!(unseen.is_empty(), "the dashboard does not show {unseen:?}");
}

#[test]
fn the_dashboard_s_panels_have_own_places_and_numbers() {
    let dashboard: Value = serde_json::from_str(include_str!("../../grafana-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids: Vec<_> = panels.iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), panels.len());
    let mut taken = BTreeSet::new();
    for panel in panels {
        let number = |key: &str| panel["gridPos"][key].as_i64().unwrap();
        assert!(number("x") + number("w") <= 24, "{}", panel["title"]);
        for x in number("x")..number("x") + number("w") {
            for y in number("y")..number("y") + number("h") {
                assert!(taken.insert((x, y)), "{} lies upon another", panel["title"]);
            }
        }
    }
}
