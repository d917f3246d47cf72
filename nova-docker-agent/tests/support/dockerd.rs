//! A dockerd that runs nothing: it keeps containers by name and does what the test says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::fuse::{Fuse, Step};
use super::peer::{Answer, Peer, Received};

/// What the test decides and sees.
#[derive(Default)]
pub(crate) struct State {
    /// Containers by name; true while they run.
    pub(crate) containers: BTreeMap<String, bool>,
    /// Labels by name.
    labels: BTreeMap<String, Value>,
    /// What they were created from, by name.
    pub(crate) bodies: BTreeMap<String, Value>,
    /// Those of them that are frozen.
    pub(crate) frozen: BTreeSet<String>,
    /// Containers by name, in the order in which they were started.
    pub(crate) started: Vec<String>,
    /// `POST /containers/{name}/start` is answered with this.
    pub(crate) refuse_start: Option<(u16, &'static str)>,
    /// The next `POST /containers/{name}/{action}` of this container and action is answered with this.
    pub(crate) refuse: Option<(Asked, u16, &'static str)>,
    /// The next `POST /containers/{name}/{action}` of this container and action gets no answer, and is done (true) or not.
    pub(crate) silent: Option<(Asked, bool)>,
    /// This container cannot be removed.
    pub(crate) stuck: Option<&'static str>,
    /// What every container has written.
    pub(crate) console: &'static str,
    /// Images are not there (404), so glance is asked.
    pub(crate) no_images: bool,
    /// Names of the images that containers were committed to.
    pub(crate) committed: BTreeSet<String>,
    /// The members of each archive of a disk that came.
    pub(crate) loads: Vec<Vec<String>>,
    /// An archive without a layer is not taken, even if that is here.
    pub(crate) wants_all_layers: bool,
    /// Volumes, with their options.
    pub(crate) volumes: BTreeMap<String, Value>,
    /// What is in them, as an archive of the directory `/mnt` of a container.
    pub(crate) contents: BTreeMap<String, Vec<u8>>,
    /// The file system below Docker limits containers (true), but no volumes.
    pub(crate) quota: bool,
    /// Name of the storage driver; overlay2 when empty.
    pub(crate) storage_driver: &'static str,
    /// When it goes off, nothing is answered any more.
    pub(crate) fuse: Fuse,
}

/// A container and what is done to it.
pub(crate) type Asked = (&'static str, &'static str);

impl State {
    /// The network mode of a container.
    pub(crate) fn network_of(&self, name: &str) -> String {
        self.bodies[name]["HostConfig"]["NetworkMode"].as_str().unwrap_or_default().to_owned()
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
    Peer::start(move |_| {
        move |request: &Received| {
            let state = &mut state.lock().unwrap();
            match state.fuse.step(!["GET", "HEAD"].contains(&request.method.as_str())) {
                Step::Go => answer(state, request),
                Step::Dead => Answer::Silence,
                Step::Last => {
                    answer(state, request);
                    Answer::Silence
                }
            }
        }
    })
}

fn answer(state: &mut State, request: &Received) -> Answer {
    // `/v1.41/containers/…`
    let path = match request.path.strip_prefix("/v1") {
        Some(rest) => &rest[rest.find('/').unwrap_or(0)..],
        None => request.path.as_str(),
    };
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    if let ("POST", ["containers", name, action]) = (request.method.as_str(), parts.as_slice()) {
        let asked = (*name, *action);
        if let Some((_, code, message)) = state.refuse.take_if(|(refused, ..)| *refused == asked) {
            return Answer::Json(code, json!({"message": message}));
        }
        if let Some((_, done)) = state.silent.take_if(|(silent, _)| *silent == asked) {
            if done {
                respond(state, request, (path, &parts));
            }
            return Answer::Silence;
        }
    }
    respond(state, request, (path, &parts))
}

fn respond(state: &mut State, request: &Received, (path, parts): (&str, &[&str])) -> Answer {
    match parts.first() {
        Some(&"containers" | &"exec") => of_containers(state, request, (path, parts)),
        _ => of_the_engine(state, request, (path, parts)),
    }
}

fn of_the_engine(state: &mut State, request: &Received, (path, parts): (&str, &[&str])) -> Answer {
    match (request.method.as_str(), parts) {
        (_, ["_ping"]) => Answer::Bytes(b"OK".to_vec()),
        (_, ["version"]) => Answer::Json(200, json!({"Version": "20.10.24", "ApiVersion": "1.41"})),
        (_, ["info"]) => Answer::Json(
            200,
            json!({"Driver": if state.quota { "btrfs" } else { "overlay2" }, "Architecture": "x86_64", "OSType": "linux", "NCPU": 2,
                   "MemTotal": 8_589_934_592_u64, "DockerRootDir": "/", "ServerVersion": "20.10.24"}),
        ),
        (_, ["events"]) => Answer::Silence,
        (_, ["commit" | "images", ..]) => images(state, request, parts),
        (_, ["volumes", ..]) => volumes(state, request, parts),
        _ => not_found(path),
    }
}

fn of_containers(state: &mut State, request: &Received, (path, parts): (&str, &[&str])) -> Answer {
    match (request.method.as_str(), parts) {
        ("POST", ["containers", name, "rename"]) => rename(state, name, &request.query),
        ("POST", ["containers", name, "update"]) if state.containers.contains_key(*name) => {
            Answer::Json(200, json!({"Warnings": null}))
        }
        ("GET", ["containers", "json"]) => list(state, request.query.contains("nova.sandbox")),
        ("POST", ["containers", "create"]) => create(state, request),
        ("POST", ["containers", name, "start"]) => match state.refuse_start {
            Some((code, message)) => Answer::Json(code, json!({"message": message})),
            None if state.frozen.contains(*name) => {
                Answer::Json(409, json!({"message": "cannot start a paused container, try unpause instead"}))
            }
            None => turn(state, name, true),
        },
        ("GET", ["containers", name, "logs"]) if state.containers.contains_key(*name) => {
            Answer::Bytes(frame(state.console))
        }
        ("POST", ["containers", name, "stop"]) => turn(state, name, false),
        ("POST", ["containers", name, "restart"]) => turn(state, name, true),
        ("POST", ["containers", name, "pause"]) => freeze(state, name),
        ("POST", ["containers", name, "unpause"]) => match state.frozen.remove(*name) {
            true => Answer::Empty(204),
            false if !state.containers.contains_key(*name) => not_found("container"),
            false => Answer::Json(500, json!({"message": format!("Container {name} is not paused")})),
        },
        // Every program is there and ends well.
        ("POST", ["containers", name, "exec"]) if state.containers.contains_key(*name) => {
            Answer::Json(201, json!({"Id": "exec"}))
        }
        ("POST", ["exec", _, "start"]) => Answer::Stream(Vec::new()),
        ("GET", ["exec", _, "json"]) => {
            Answer::Json(200, json!({"ID": "exec", "Running": false, "ExitCode": 0}))
        }
        ("GET", ["containers", name, "stats"]) if state.containers.contains_key(*name) => Answer::Json(
            200,
            json!({"cpu_stats": {"cpu_usage": {"total_usage": 42_000}}, "memory_stats": {"usage": 3_145_728}}),
        ),
        ("DELETE", ["containers", name]) if state.stuck == Some(*name) => {
            Answer::Json(500, json!({"message": "device or resource busy"}))
        }
        ("DELETE", ["containers", name]) => match state.containers.remove(*name) {
            Some(_) => {
                state.frozen.remove(*name);
                Answer::Empty(204)
            }
            None => not_found("container"),
        },
        ("GET" | "PUT", ["containers", name, "archive"]) => match state.volume_of(name) {
            Some(volume) if request.method == "GET" && request.query.contains("path=%2Fmnt") => {
                let empty = || tar::Builder::new(Vec::new()).into_inner().unwrap();
                Answer::Bytes(state.contents.get(&volume).cloned().unwrap_or_else(empty))
            }
            Some(volume) if is_of_mnt(&request.bytes) => {
                state.contents.insert(volume, request.bytes.to_vec());
                Answer::Empty(200)
            }
            _ => not_found(path),
        },
        ("GET", ["containers", name, "json"]) => match state.containers.get(*name) {
            Some(running) => {
                // Nobody has so high a number.
                let pid = if *running { 999_999_999 } else { 0 };
                let driver = if state.storage_driver.is_empty() { "overlay2" } else { state.storage_driver };
                let layers =
                    json!({"LowerDir": "/l1:/l2", "UpperDir": "/u", "WorkDir": "/w", "MergedDir": "/m"});
                Answer::Json(
                    200,
                    json!({"Name": name, "State": {"Status": state.status(name), "Pid": pid},
                           "Config": {"Labels": state.labels.get(*name)},
                           "GraphDriver": {"Name": driver, "Data": layers}}),
                )
            }
            None => not_found("container"),
        },
        _ => not_found(path),
    }
}

/// Whether it is an archive of the directory `/mnt`.
fn is_of_mnt(archive: &[u8]) -> bool {
    let mut archive = tar::Archive::new(archive);
    let first =
        archive.entries().ok().and_then(|mut entries| entries.next()?.ok()?.path().ok().map(Into::into));
    first.is_some_and(|path: std::path::PathBuf| path.starts_with("mnt"))
}

fn volumes(state: &mut State, request: &Received, parts: &[&str]) -> Answer {
    match (request.method.as_str(), parts) {
        ("POST", ["volumes", "create"]) => {
            let name = request.body["Name"].as_str().unwrap().to_owned();
            let options = request.body["DriverOpts"].clone();
            if options.get("size").is_some() {
                return Answer::Json(400, json!({"message": "quota size requested but no quota support"}));
            }
            state.volumes.insert(name.clone(), options);
            Answer::Json(
                201,
                json!({"Name": name, "Driver": "local", "Mountpoint": "/m", "Labels": {},
                                     "Scope": "local", "Options": {}}),
            )
        }
        ("DELETE", ["volumes", name]) if state.has_volume(name) => {
            Answer::Json(409, json!({"message": "volume is in use"}))
        }
        ("DELETE", ["volumes", name]) => match state.volumes.remove(*name) {
            Some(_) => {
                state.contents.remove(*name);
                Answer::Empty(204)
            }
            None => not_found("volume"),
        },
        _ => not_found("page"),
    }
}

fn images(state: &mut State, request: &Received, parts: &[&str]) -> Answer {
    match (request.method.as_str(), parts) {
        ("POST", ["images", "load"]) => load(state, &request.bytes),
        ("POST", ["commit"]) => commit(state, &request.query),
        ("GET", ["images", "json"]) => {
            let image = |name: &String| {
                json!({"Id": "sha256:c0", "RepoTags": [name], "ParentId": "", "RepoDigests": [], "Created": 0,
                       "Size": 0, "SharedSize": -1, "Containers": -1, "Labels": {}})
            };
            Answer::Json(200, state.committed.iter().map(image).collect())
        }
        ("GET", ["images", _, "get"]) => Answer::Bytes(archive()),
        ("DELETE", ["images", name @ ..]) => match state.committed.remove(&name.join("/")) {
            true => Answer::Json(200, json!([])),
            false => not_found("image"),
        },
        ("GET", ["images", name @ .., "json"]) if name.first() == Some(&"nova-moved") => {
            match state.committed.contains(&name.join("/")) {
                true => Answer::Json(200, committed()),
                false => not_found("image"),
            }
        }
        ("GET", ["images", "sha256:c0", "json"]) => Answer::Json(200, committed()),
        ("GET", ["images", ..]) if state.no_images => not_found("image"),
        ("GET", ["images", ..]) => {
            let layers = json!({"Type": "layers", "Layers": [digest(BASE)]});
            Answer::Json(
                200,
                json!({"Id": "sha256:0123", "RepoTags": [], "Config": {"Cmd": ["/bin/init"]}, "RootFS": layers}),
            )
        }
        (_, [what, ..]) => not_found(what),
        _ => not_found("page"),
    }
}

/// The layer of every image.
const BASE: &[u8] = b"what an image begins with";

/// The layer that a committed container has above it.
const LAYER: &[u8] = b"what a container has written";

/// The configuration of a committed container.
fn configuration() -> String {
    let layers = [BASE, LAYER].map(digest);
    json!({"config": {"Cmd": ["/bin/init"]}, "rootfs": {"type": "layers", "diff_ids": layers}}).to_string()
}

/// Takes in the disk of an instance from another host; of other archives it is seen that they come.
fn load(state: &mut State, archive: &[u8]) -> Answer {
    let mut members = BTreeMap::new();
    for member in tar::Archive::new(archive).entries().into_iter().flatten().flatten() {
        let mut member = member;
        let mut data = Vec::new();
        let name = member.path().unwrap().display().to_string();
        std::io::Read::read_to_end(&mut member, &mut data).unwrap();
        members.insert(name, data);
    }
    let manifest = members.get("manifest.json").and_then(|text| serde_json::from_slice::<Value>(text).ok());
    let Some(image) = manifest.map(|all| all[0].clone()) else { return Answer::Bytes(Vec::new()) };
    let name = image["RepoTags"][0].as_str().unwrap_or_default();
    if !name.starts_with("nova-moved/") {
        return Answer::Bytes(Vec::new());
    }
    let layers: Vec<&str> = image["Layers"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    if state.wants_all_layers && layers.iter().any(|layer| !members.contains_key(*layer)) {
        return Answer::Json(500, json!({"message": "open a layer: no such file or directory"}));
    }
    // What came is what was committed there.
    assert_eq!(members.get(*layers.last().unwrap()).map(Vec::as_slice), Some(LAYER));
    state.committed.insert(name.to_owned());
    state.loads.push(members.into_keys().collect());
    Answer::Bytes(Vec::new())
}

fn digest(bytes: &[u8]) -> String {
    let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hash}")
}

/// A committed container as an image.
fn committed() -> Value {
    let layers = [BASE, LAYER].map(digest);
    json!({"Id": digest(configuration().as_bytes()), "RepoTags": [], "Config": {"Cmd": ["/bin/init"]},
           "RootFS": {"Type": "layers", "Layers": layers}})
}

/// `docker save` of it.
fn archive() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, data) in
        [("base.tar", BASE), ("layer.tar", LAYER), ("config.json", configuration().as_bytes())]
    {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, data).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Standard output in the frames of a stream without terminal.
fn frame(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap();
    [&[1, 0, 0, 0], &length.to_be_bytes()[..], text.as_bytes()].concat()
}

impl State {
    /// The ephemeral disk of a container.
    fn volume_of(&self, container: &str) -> Option<String> {
        let binds = self.bodies.get(container)?["HostConfig"]["Binds"].as_array()?.clone();
        binds.iter().find_map(|bind| Some(bind.as_str()?.strip_suffix(":/mnt:nocopy")?.to_owned()))
    }

    /// Whether a container that exists has this volume.
    fn has_volume(&self, volume: &str) -> bool {
        self.containers.keys().any(|name| self.volume_of(name).as_deref() == Some(volume))
    }

    fn status(&self, name: &str) -> &'static str {
        match self.containers.get(name) {
            Some(true) if self.frozen.contains(name) => "paused",
            Some(true) => "running",
            _ => "exited",
        }
    }
}

fn freeze(state: &mut State, name: &str) -> Answer {
    match state.containers.get(name) {
        Some(true) if state.frozen.insert(name.to_owned()) => Answer::Empty(204),
        Some(true) => Answer::Json(409, json!({"message": format!("Container {name} is already paused")})),
        Some(false) => Answer::Json(409, json!({"message": format!("Container {name} is not running")})),
        None => not_found("container"),
    }
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
    state.bodies.insert(name.to_owned(), request.body.clone());
    Answer::Json(201, json!({"Id": name, "Warnings": []}))
}

/// The value of a name in a query.
fn value<'a>(query: &'a str, name: &str) -> &'a str {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next().unwrap_or_default()
}

fn commit(state: &mut State, query: &str) -> Answer {
    if !state.containers.contains_key(value(query, "container")) {
        return not_found("container");
    }
    let repository = value(query, "repo").replace("%2F", "/");
    state.committed.insert(format!("{repository}:{}", value(query, "tag")));
    Answer::Json(201, json!({"Id": "sha256:c0"}))
}

fn rename(state: &mut State, name: &str, query: &str) -> Answer {
    let new = value(query, "name").to_owned();
    if state.containers.contains_key(&new) {
        return Answer::Json(409, json!({"message": "the name is in use"}));
    }
    let Some(running) = state.containers.remove(name) else { return not_found("container") };
    state.containers.insert(new.clone(), running);
    if let Some(labels) = state.labels.remove(name) {
        state.labels.insert(new.clone(), labels);
    }
    if let Some(body) = state.bodies.remove(name) {
        state.bodies.insert(new, body);
    }
    Answer::Empty(204)
}

fn turn(state: &mut State, name: &str, on: bool) -> Answer {
    // A frozen one goes on in order to end.
    state.frozen.remove(name);
    match state.containers.get_mut(name) {
        Some(running) => {
            *running = on;
            if on {
                state.started.push(name.to_owned());
            }
            Answer::Empty(204)
        }
        None => not_found("container"),
    }
}

/// All containers, or the sandboxes alone.
fn list(state: &State, sandboxes: bool) -> Answer {
    let entry = |(name, _): (&String, &bool)| {
        json!({"Id": name, "Names": [format!("/{name}")], "Labels": state.labels.get(name),
               "State": state.status(name), "Status": "Up 5 seconds"})
    };
    let wanted = |(name, _): &(&String, &bool)| !sandboxes || name.ends_with("-net");
    Answer::Json(200, state.containers.iter().filter(wanted).map(entry).collect())
}
