//! The differences from nova-compute that are meant (`tests/wire/differences.json`), each with its reason.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::recording;
use crate::trace::Facts;

/// A fact that is another one with us than with nova-compute.
#[derive(Deserialize)]
struct Difference {
    fact: String,
    /// The recordings in which it is so.
    #[serde(rename = "in")]
    recordings: Vec<String>,
    /// What it is with us; missing when there is no such fact.
    #[serde(default, deserialize_with = "present")]
    agent: Option<Value>,
    /// Why.
    why: String,
}

/// Null is a value.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

fn meant() -> Vec<Difference> {
    serde_json::from_str(&recording::read("differences.json")).unwrap()
}

/// Fails unless the facts differ exactly where they are meant to, in the way they are meant to.
pub(crate) fn check(name: &str, (nova, agent): (&Facts, &Facts)) {
    let meant = meant();
    let find = |fact: &str| {
        meant
            .iter()
            .find(|each| each.fact == fact && each.recordings.iter().any(|recording| recording == name))
    };
    let names: BTreeSet<&String> = nova.keys().chain(agent.keys()).collect();
    let mut wrong: Vec<String> = Vec::new();
    for fact in names {
        let (theirs, ours) = (nova.get(fact), agent.get(fact));
        let show = |value: Option<&Value>| value.map_or("nothing".into(), Value::to_string);
        match find(fact) {
            Some(_) if theirs == ours => wrong.push(format!("{fact} does not differ any more")),
            Some(meant) if meant.agent.as_ref() != ours => {
                wrong.push(format!("{fact}: agent {}, not {}", show(ours), show(meant.agent.as_ref())));
            }
            None if theirs != ours => {
                wrong.push(format!("{fact}: nova-compute {}, agent {}", show(theirs), show(ours)))
            }
            _ => {}
        }
    }
    let gone = meant.iter().filter(|each| each.recordings.iter().any(|recording| recording == name));
    for each in gone.filter(|each| !nova.contains_key(&each.fact) && !agent.contains_key(&each.fact)) {
        wrong.push(format!("{} is no fact of either", each.fact));
    }
    assert!(wrong.is_empty(), "{name}:\n  {}", wrong.join("\n  "));
}

#[test]
fn every_meant_difference_has_a_reason_and_a_recording() {
    let known = recording::names();
    for each in meant() {
        assert!(each.why.len() > 20, "{}: {:?} is no reason", each.fact, each.why);
        assert!(
            !each.recordings.is_empty() && each.recordings.iter().all(|name| known.contains(name)),
            "{}",
            each.fact
        );
    }
}
