//! Recordings of a real Nova 34 (`tests/wire/*.jsonl`): what was sent to one nova-compute, and what that sent.

use std::path::{Path, PathBuf};

use common::messaging::RemoteError;
use serde::Deserialize;
use serde_json::Value;

use crate::support::nova::{Sent, name};
use crate::trace::{Http, Trace};

/// One message of a recording.
#[derive(Clone, Deserialize)]
pub(crate) struct Entry {
    kind: Kind,
    /// `nova`, or that of a fanout.
    #[serde(default)]
    exchange: String,
    #[serde(default)]
    routing_key: String,
    /// The payload: `method`, `args`, `version`, `_context_*` …; of a request by HTTP `method`, `path`, `body`.
    message: Value,
    /// What the call was answered; none for casts.
    reply: Option<Answer>,
}

/// Direction of an [`Entry`], seen from nova-compute.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// To nova-compute.
    Request,
    /// By nova-compute.
    Sent,
    /// By nova-compute to placement: what changes something there, and what it read for that.
    Http,
}

#[derive(Clone, Deserialize)]
struct Answer {
    result: Value,
    /// The remote exception as JSON text.
    failure: Option<String>,
}

impl Answer {
    fn read(&self) -> Result<Value, RemoteError> {
        match &self.failure {
            None => Ok(self.result.clone()),
            // Others' tracebacks are not read.
            Some(failure) => {
                let mut failure: Value = serde_json::from_str(failure).unwrap();
                failure.as_object_mut().unwrap().remove("tb");
                Err(serde_json::from_value(failure).unwrap())
            }
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/wire")
}

/// The names of all recordings.
pub(crate) fn names() -> Vec<String> {
    let files = std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().path());
    let recordings = files.filter(|path| path.extension().is_some_and(|end| end == "jsonl"));
    recordings.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// The text of a file beside the recordings.
pub(crate) fn read(file: &str) -> String {
    let path = folder().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A recording.
pub(crate) struct Recording {
    entries: Vec<Entry>,
}

impl Recording {
    pub(crate) fn open(name: &str) -> Self {
        // The one thing that is not played as it was: nova-compute's fake driver takes any image, a container does not.
        let text = read(&format!("{name}.jsonl"))
            .replace(r#"container_format":"bare""#, r#"container_format":"docker""#)
            .replace(
                r#""disk_format":null,"container_format":null"#,
                r#""disk_format":"raw","container_format":"docker""#,
            );
        let parse = |(index, line)| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{name}.jsonl:{}: {error}", index + 1))
        };
        Self { entries: text.lines().enumerate().map(parse).collect() }
    }

    fn of(&self, kind: Kind) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.kind == kind)
    }

    /// The payload of the request; none where a start was recorded.
    pub(crate) fn request(&self) -> Option<&Value> {
        self.of(Kind::Request).next().map(|entry| &entry.message)
    }

    /// The host of the recorded nova-compute.
    pub(crate) fn host(&self) -> String {
        let by_queue = self.of(Kind::Request).next().map(|entry| &entry.routing_key["compute.".len()..]);
        let by_name =
            || self.calls("Service.get_by_host_and_binary").next()?.message["args"]["args"][0].as_str();
        by_queue.or_else(by_name).unwrap().to_owned()
    }

    fn calls(&self, wanted: &str) -> impl Iterator<Item = &Entry> {
        self.of(Kind::Sent).filter(move |entry| sent(&entry.message).name == wanted)
    }

    /// The arguments of the first call of this name.
    pub(crate) fn args(&self, wanted: &str) -> Option<&Value> {
        self.calls(wanted).next().map(|entry| &entry.message["args"])
    }

    /// The answer to the first call of this name.
    pub(crate) fn answer(&self, wanted: &str) -> Option<Result<Value, RemoteError>> {
        self.answers().find(|(name, _)| name == wanted).map(|(_, answer)| answer)
    }

    /// What the conductor answered, in order, with the name of each call.
    pub(crate) fn answers(&self) -> impl Iterator<Item = (String, Result<Value, RemoteError>)> {
        self.of(Kind::Sent)
            .filter_map(|entry| Some((sent(&entry.message).name, entry.reply.as_ref()?.read())))
    }

    /// What placement answered when it was asked for allocations, by path; the last answer of each.
    pub(crate) fn allocations(&self) -> impl Iterator<Item = (String, Value)> {
        let asked = self.of(Kind::Http).filter(|entry| entry.message["method"] == "GET");
        let of_consumer = asked.filter(|entry| {
            entry.message["path"].as_str().is_some_and(|path| path.starts_with("/allocations/"))
        });
        of_consumer.filter_map(|entry| {
            let path = entry.message["path"].as_str()?.to_owned();
            Some((path, entry.reply.as_ref()?.result.clone()))
        })
    }

    /// What nova-compute did.
    pub(crate) fn trace(&self) -> Trace {
        let messages = |fanout: bool| {
            let some = self.of(Kind::Sent).filter(move |entry| entry.exchange.ends_with("_fanout") == fanout);
            some.map(|entry| sent(&entry.message)).collect()
        };
        let http = |entry: &Entry| Http {
            line: format!(
                "{} {}",
                entry.message["method"].as_str().unwrap(),
                entry.message["path"].as_str().unwrap()
            ),
            body: entry.message["body"].clone(),
        };
        Trace {
            calls: messages(false),
            fanouts: messages(true),
            http: self.of(Kind::Http).map(http).collect(),
            reply: self.of(Kind::Request).next().and_then(|entry| Some(entry.reply.as_ref()?.read())),
        }
    }
}

fn sent(message: &Value) -> Sent {
    let args = message["args"].clone();
    Sent {
        name: name(message["method"].as_str().unwrap(), &args),
        args,
        request_id: message["_context_request_id"].as_str().unwrap_or_default().to_owned(),
    }
}
