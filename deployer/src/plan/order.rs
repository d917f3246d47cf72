//! Order: who needs whom, and who is needed by whom.

use std::collections::{BTreeMap, BTreeSet};

use common::config::Service;

/// `wanted` and all they depend on, however far. An empty selection is everything.
pub(crate) fn with_dependencies(services: &BTreeMap<String, Service>, wanted: &[String]) -> BTreeSet<String> {
    spread(services, wanted, |name| services[name].waits_for().map(str::to_owned).collect())
}

/// `wanted` and all that depend on them, however far. An empty selection is everything.
pub(crate) fn with_dependants(services: &BTreeMap<String, Service>, wanted: &[String]) -> BTreeSet<String> {
    spread(services, wanted, |name| {
        let needs = |service: &Service| service.waits_for().any(|other| other == name);
        services.iter().filter(|(_, service)| needs(service)).map(|(other, _)| other.clone()).collect()
    })
}

fn spread(
    services: &BTreeMap<String, Service>,
    wanted: &[String],
    next: impl Fn(&str) -> Vec<String>,
) -> BTreeSet<String> {
    let mut queue: Vec<String> =
        if wanted.is_empty() { services.keys().cloned().collect() } else { wanted.to_vec() };
    let mut seen = BTreeSet::new();
    while let Some(name) = queue.pop() {
        if services.contains_key(&name) && seen.insert(name.clone()) {
            queue.extend(next(&name));
        }
    }
    seen
}

/// Dependencies first. The configuration has no cycles; a name that is in one comes last.
pub(crate) fn sorted(services: &BTreeMap<String, Service>, of: &BTreeSet<String>) -> Vec<String> {
    let mut left: Vec<&String> = of.iter().collect();
    let mut order: Vec<String> = Vec::new();
    while !left.is_empty() {
        let ready = |name: &String, order: &[String]| {
            services[name]
                .waits_for()
                .all(|other| !of.contains(other) || order.iter().any(|before| before == other))
        };
        let (now, later): (Vec<_>, Vec<_>) = left.iter().partition(|name| ready(name, &order));
        if now.is_empty() {
            order.extend(later.into_iter().cloned());
            break;
        }
        order.extend(now.into_iter().cloned());
        left = later;
    }
    order
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Services that only differ in what they depend on.
    pub(crate) fn services(edges: &[(&str, &[&str])]) -> BTreeMap<String, Service> {
        let service = |needs: &[&str]| {
            let json = serde_json::json!({ "image": "x", "user": 1, "command": ["x"], "depends_on": needs });
            serde_json::from_value::<Service>(json).unwrap()
        };
        edges.iter().map(|(name, needs)| ((*name).to_owned(), service(needs))).collect()
    }

    #[test]
    fn dependencies_come_first_and_dependants_are_found() {
        let all = services(&[("db", &[]), ("api", &["identity"]), ("identity", &["db"]), ("cache", &[])]);
        assert_eq!(sorted(&all, &with_dependencies(&all, &["api".into()])), ["db", "identity", "api"]);
        assert_eq!(
            with_dependants(&all, &["identity".into()]),
            BTreeSet::from(["api".into(), "identity".into()])
        );
        assert_eq!(with_dependencies(&all, &[]).len(), 4);
    }

    proptest! {
        #[test]
        fn every_service_comes_after_what_it_needs(edges in proptest::collection::vec((1usize..12, 0usize..11), 0..40)) {
            // An edge from a larger to a smaller number cannot close a circle.
            let names: Vec<String> = (0..12).map(|n| format!("s{n}")).collect();
            let all: BTreeMap<String, Service> = (0..12).map(|n| {
                let needs: Vec<&str> = edges.iter().filter(|(a, b)| *a == n && b < a).map(|(_, b)| names[*b].as_str()).collect();
                services(&[(names[n].as_str(), needs.as_slice())]).into_iter().next().unwrap()
            }).collect();
            let order = sorted(&all, &all.keys().cloned().collect());
            prop_assert_eq!(order.len(), 12);
            for (at, name) in order.iter().enumerate() {
                for other in &all[name].depends_on {
                    prop_assert!(order[..at].contains(&other.value));
                }
            }
        }
    }
}
