//! A dockerd that runs nothing: it keeps containers by name and does what the test says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::peer::{Answer, Peer, Received};

/// What the test decides and sees.
#[derive(Default)]
pub(crate) struct State {
    /// Containers by name; true while they run.
    pub(crate) containers: BTreeMap<String, bool>,
    /// Labels by name.
    labels: BTreeMap<String, Value>,
    /// `HostConfig.NetworkMode` by name.
    networks: BTreeMap<String, Value>,
    /// `POST /containers/{name}/start` is answered with this.
    pub(crate) refuse_start: Option<(u16, &'static str)>,
    /// What every container has written.
    pub(crate) console: &'static str,
    /// Images are not there (404), so glance is asked.
    pub(crate) no_images: bool,
}

impl State {
    /// The network mode of a container.
    pub(crate) fn network_of(&self, name: &str) -> String {
        self.networks[name].as_str().unwrap_or_default().to_owned()
    }
}

pub(crate) type Shared = Arc<Mutex<State>>;

impl State {
    /// A container that is there already, as `host` made it for an instance.
    pub(crate) fn put(&mut self, uuid: &str, host: &str, running: bool) {
        let name = format!("nova-{uuid}");
        self.labels.insert(name.clone(), json!({"nova.instance_uuid": uuid, "nova.host": host}));
        self.containers.insert(name, running);
    }
}

/// Starts it; its URL is for the option `docker_url`.
pub(crate) fn start(state: Shared) -> Peer {
    Peer::start(move |_| move |request: &Received| answer(&mut state.lock().unwrap(), request))
}

fn answer(state: &mut State, request: &Received) -> Answer {
    // `/v1.41/containers/…`
    let path = match request.path.strip_prefix("/v1") {
        Some(rest) => &rest[rest.find('/').unwrap_or(0)..],
        None => request.path.as_str(),
    };
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (request.method.as_str(), parts.as_slice()) {
        (_, ["_ping"]) => Answer::Bytes(b"OK".to_vec()),
        (_, ["version"]) => Answer::Json(200, json!({"Version": "20.10.24", "ApiVersion": "1.41"})),
        (_, ["info"]) => Answer::Json(
            200,
            json!({"Driver": "overlay2", "Architecture": "x86_64", "OSType": "linux", "NCPU": 2,
                   "MemTotal": 8_589_934_592_u64, "DockerRootDir": "/", "ServerVersion": "20.10.24"}),
        ),
        (_, ["events"]) => Answer::Silence,
        ("POST", ["images", "load"]) => Answer::Bytes(Vec::new()),
        ("GET", ["images", ..]) if state.no_images => not_found("image"),
        ("GET", ["images", ..]) => {
            Answer::Json(200, json!({"Id": "sha256:0123", "RepoTags": [], "Config": {"Cmd": ["/bin/init"]}}))
        }
        ("GET", ["containers", "json"]) => list(state, request.query.contains("nova.sandbox")),
        ("POST", ["containers", "create"]) => create(state, request),
        ("POST", ["containers", name, "start"]) => match state.refuse_start {
            Some((code, message)) => Answer::Json(code, json!({"message": message})),
            None => turn(state, name, true),
        },
        ("GET", ["containers", name, "logs"]) if state.containers.contains_key(*name) => {
            Answer::Bytes(frame(state.console))
        }
        ("POST", ["containers", name, "stop"]) => turn(state, name, false),
        ("POST", ["containers", name, "restart"]) => turn(state, name, true),
        ("DELETE", ["containers", name]) => match state.containers.remove(*name) {
            Some(_) => Answer::Empty(204),
            None => not_found("container"),
        },
        ("GET", ["containers", name, "json"]) => match state.containers.get(*name) {
            Some(running) => {
                // Nobody has so high a number.
                let pid = if *running { 999_999_999 } else { 0 };
                Answer::Json(200, json!({"Name": name, "State": {"Status": status(*running), "Pid": pid}}))
            }
            None => not_found("container"),
        },
        _ => not_found(path),
    }
}

/// Standard output in the frames of a stream without terminal.
fn frame(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap();
    [&[1, 0, 0, 0], &length.to_be_bytes()[..], text.as_bytes()].concat()
}

fn status(running: bool) -> &'static str {
    if running { "running" } else { "exited" }
}

fn not_found(what: &str) -> Answer {
    Answer::Json(404, json!({"message": format!("no such {what}")}))
}

fn create(state: &mut State, request: &Received) -> Answer {
    let name = request.query.split('&').find_map(|pair| pair.strip_prefix("name=")).unwrap_or_default();
    if state.containers.contains_key(name) {
        return Answer::Json(409, json!({"message": "the name is in use"}));
    }
    state.containers.insert(name.to_owned(), false);
    state.labels.insert(name.to_owned(), request.body["Labels"].clone());
    state.networks.insert(name.to_owned(), request.body["HostConfig"]["NetworkMode"].clone());
    Answer::Json(201, json!({"Id": name, "Warnings": []}))
}

fn turn(state: &mut State, name: &str, on: bool) -> Answer {
    match state.containers.get_mut(name) {
        Some(running) => {
            *running = on;
            Answer::Empty(204)
        }
        None => not_found("container"),
    }
}

/// All containers, or the sandboxes alone.
fn list(state: &State, sandboxes: bool) -> Answer {
    let entry = |(name, running): (&String, &bool)| {
        json!({"Id": name, "Names": [format!("/{name}")], "Labels": state.labels.get(name),
               "State": status(*running), "Status": "Up 5 seconds"})
    };
    let wanted = |(name, _): &(&String, &bool)| !sandboxes || name.ends_with("-net");
    Answer::Json(200, state.containers.iter().filter(wanted).map(entry).collect())
}
