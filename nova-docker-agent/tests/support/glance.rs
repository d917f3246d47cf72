//! A glance of a few images. Of one it never says anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};

use super::peer::{Answer, Received};

/// An image about which nothing is ever answered.
pub(crate) const SLOW: &str = "slow";

/// What the test decides and sees.
pub(crate) struct State {
    /// Images by id.
    pub(crate) images: BTreeMap<String, Map<String, Value>>,
    /// Ids of images that were deleted.
    pub(crate) gone: BTreeSet<String>,
    /// The next upload is answered with this status.
    pub(crate) refuse_upload: Option<u16>,
    /// The next upload is answered with 410, and its image is gone.
    pub(crate) delete_during_upload: bool,
}

impl Default for State {
    fn default() -> Self {
        let base = json!({"id": "i-1", "status": "active", "container_format": "docker", "disk_format": "raw",
            "checksum": "abc", "size": 5, "os_command_line": "sleep 1"});
        let base = base.as_object().cloned().unwrap();
        let images = BTreeMap::from([("i-1".into(), base)]);
        Self { images, gone: BTreeSet::new(), refuse_upload: None, delete_during_upload: false }
    }
}

pub(crate) type Shared = Arc<Mutex<State>>;

impl State {
    /// An image as nova-api makes it before it asks for its data.
    pub(crate) fn queue(&mut self, id: &str, instance: &str, more: Value) {
        let mut image =
            json!({"id": id, "status": "queued", "instance_uuid": instance, "image_type": "snapshot"});
        image.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        self.images.insert(id.to_owned(), image.as_object().cloned().unwrap());
    }

    /// The status of an image; `gone` when there is none.
    pub(crate) fn status(&self, id: &str) -> &str {
        self.images.get(id).and_then(|image| image["status"].as_str()).unwrap_or("gone")
    }
}

/// Answers what is asked below `/v2/images`.
pub(crate) fn answer(state: &mut State, request: &Received) -> Answer {
    let path = request.path.trim_start_matches("/v2/images").trim_matches('/').to_owned();
    let (id, rest) = path.split_once('/').unwrap_or((&path, ""));
    if id.is_empty() {
        let found: Vec<&Map<String, Value>> =
            state.images.values().filter(|image| matches(image, &request.query)).collect();
        return Answer::Json(200, json!({ "images": found }));
    }
    if state.gone.contains(id) {
        return Answer::Json(404, json!({"message": "No image found"}));
    }
    let Some(image) = state.images.get_mut(id) else {
        return match id {
            SLOW => Answer::Silence,
            _ => Answer::Json(404, json!({"message": "No image found"})),
        };
    };
    match (request.method.as_str(), rest) {
        ("GET", "") => Answer::Json(200, json!(image)),
        ("PATCH", "") => {
            for change in request.body.as_array().unwrap() {
                let name = change["path"].as_str().unwrap().trim_start_matches('/');
                match change["op"].as_str().unwrap() {
                    "remove" => drop(image.remove(name)),
                    _ => drop(image.insert(name.to_owned(), change["value"].clone())),
                }
            }
            Answer::Json(200, json!(image))
        }
        ("PUT", "file") if state.delete_during_upload => {
            state.delete_during_upload = false;
            state.images.remove(id);
            state.gone.insert(id.to_owned());
            Answer::Json(410, json!({"message": "Image was deleted"}))
        }
        ("PUT", "file") => match state.refuse_upload.take() {
            Some(status) => Answer::Json(status, json!({"message": "no room for it"})),
            None => {
                image.insert("status".into(), json!("active"));
                Answer::Empty(204)
            }
        },
        ("DELETE", "") => {
            state.images.remove(id);
            state.gone.insert(id.to_owned());
            Answer::Empty(204)
        }
        _ => Answer::Json(404, json!({"message": "what?"})),
    }
}

fn matches(image: &Map<String, Value>, query: &str) -> bool {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(name, _)| !["limit", "sort", "visibility"].contains(name)).all(|(name, wanted)| {
        let wanted = wanted.replace("%2C", ",");
        let mut any = wanted.trim_start_matches("in:").split(',');
        any.any(|wanted| image.get(name).is_some_and(|value| value == wanted))
    })
}
