//! Recordings of a real Nova 34 and what they leave in its database.
//!
//! A recording (`tests/wire/*.jsonl`) holds what was sent to one nova-compute (`kind: request`) and what that
//! sent itself (`kind: sent`, with the answer it got). [`Outcome`] folds a list of conductor calls into what they
//! leave behind, so that an agent with fewer calls can be held against nova-compute: the end must be equal.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

/// One message of a recording.
#[derive(Clone, Deserialize)]
pub struct Entry {
    /// `request`: to nova-compute; `sent`: by nova-compute.
    pub kind: Kind,
    /// `nova`, a fanout exchange, or empty for replies.
    pub exchange: String,
    /// `conductor`, `compute.<host>` …
    pub routing_key: String,
    /// The payload: `method`, `args`, `version`, `_context_*` …
    pub message: Value,
    /// What the call was answered; `None` for casts.
    pub reply: Option<Reply>,
}

/// Direction of an [`Entry`], seen from nova-compute.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// To nova-compute.
    Request,
    /// By nova-compute.
    Sent,
}

/// The answer to a recorded call.
#[derive(Clone, Deserialize)]
pub struct Reply {
    /// The value, when it worked.
    pub result: Value,
    /// The remote exception as JSON text, when it did not.
    pub failure: Option<String>,
}

/// Reads `tests/wire/<name>.jsonl`.
///
/// # Errors
/// When there is no such recording or a line is no entry (named).
pub fn recording(name: &str) -> Result<Vec<Entry>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("wire").join(format!("{name}.jsonl"));
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    text.lines()
        .enumerate()
        .map(|(index, line)| {
            serde_json::from_str(line).with_context(|| format!("{}:{}", path.display(), index + 1))
        })
        .collect()
}

/// What a list of messages leaves behind.
#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    /// Last value saved of each field of the instance's record.
    pub instance: Map<String, Value>,
    /// Action events: name to `started`, `Success` or `Error`.
    pub events: BTreeMap<String, String>,
    /// Code of the fault, when one was recorded.
    pub fault_code: Option<i64>,
    /// `Instance.destroy` was called.
    pub destroyed: bool,
    /// Casts and fanouts: routing key or exchange, and method.
    pub casts: Vec<(String, String)>,
}

impl Outcome {
    /// Folds the messages one after the other.
    pub fn of<'a>(messages: impl Iterator<Item = (&'a str, &'a str, &'a Value)>) -> Self {
        let mut outcome = Self::default();
        for (exchange, routing_key, message) in messages {
            outcome.add(exchange, routing_key, message);
        }
        outcome
    }

    /// What the nova-compute of a recording left behind.
    pub fn recorded(entries: &[Entry]) -> Self {
        Self::of(
            entries
                .iter()
                .filter(|entry| entry.kind == Kind::Sent)
                .map(|entry| (entry.exchange.as_str(), entry.routing_key.as_str(), &entry.message)),
        )
    }

    fn add(&mut self, exchange: &str, routing_key: &str, message: &Value) {
        let args = &message["args"];
        match message["method"].as_str().unwrap_or_default() {
            "object_action" => self.add_action(args),
            "object_class_action_versions" => self.add_class_action(args),
            method => {
                let to = if routing_key.is_empty() { exchange } else { routing_key };
                self.casts.push((to.to_owned(), method.to_owned()));
            }
        }
    }

    fn add_action(&mut self, args: &Value) {
        let object = &args["objinst"];
        let data = &object["nova_object.data"];
        match (object["nova_object.name"].as_str(), args["objmethod"].as_str()) {
            (Some("Instance"), Some("save")) => {
                for field in object["nova_object.changes"].as_array().into_iter().flatten() {
                    let field = field.as_str().unwrap_or_default();
                    self.instance.insert(field.to_owned(), data[field].clone());
                }
            }
            (Some("Instance"), Some("destroy")) => self.destroyed = true,
            (Some("InstanceFault"), Some("create")) => self.fault_code = data["code"].as_i64(),
            _ => {}
        }
    }

    fn add_class_action(&mut self, args: &Value) {
        if args["objname"] != "InstanceActionEvent" {
            return;
        }
        let name = args["args"][1].as_str().unwrap_or_default().to_owned();
        let state = match args["objmethod"].as_str() {
            Some("event_start") => "started",
            _ if args["kwargs"]["exc_val"].is_null() => "Success",
            _ => "Error",
        };
        self.events.insert(name, state.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_boot_ends_active() {
        let outcome = Outcome::recorded(&recording("boot").unwrap());
        assert_eq!(outcome.instance["vm_state"], "active");
        assert_eq!(outcome.instance["task_state"], Value::Null);
        assert_eq!(outcome.instance["host"], "fake1");
        assert_eq!(outcome.events["compute__do_build_and_run_instance"], "Success");
        assert_eq!(outcome.casts, [("scheduler_fanout".into(), "update_instance_info".into())]);
    }

    #[test]
    fn every_recording_can_be_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("wire");
        let mut count = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            assert!(!recording(&name).unwrap().is_empty(), "{name} is empty");
            count += 1;
        }
        assert!(count >= 16, "{count} recordings");
    }
}
