//! A placement that agrees to whatever it is told.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::peer::{Answer, Received};

/// What placement keeps of the host.
#[derive(Default)]
pub(crate) struct Provided {
    /// Its name.
    name: String,
    /// The provider was made.
    known: bool,
    inventories: Map<String, Value>,
    traits: Vec<Value>,
}

impl Provided {
    /// Nothing is known of the host yet but its name.
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

/// What each consumer holds, by provider; with it placement is no other for each host.
pub(crate) type Ledger = BTreeMap<String, BTreeMap<String, Value>>;

/// The part of placement that all hosts share.
pub(crate) fn of_ledger(ledger: &mut Ledger, request: &Received) -> Option<Answer> {
    let parts: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    let held = |body: &Value| -> BTreeMap<String, Value> {
        let given = body["allocations"].as_object().into_iter().flatten();
        given.map(|(provider, held)| (provider.clone(), held["resources"].clone())).collect()
    };
    match (request.method.as_str(), parts.as_slice()) {
        ("GET", ["allocations", consumer]) => {
            let all = ledger.get(*consumer).into_iter().flatten();
            let all: Map<String, Value> = all
                .map(|(provider, held)| (provider.clone(), json!({"resources": held, "generation": 1})))
                .collect();
            Some(Answer::Json(
                200,
                json!({"allocations": all, "consumer_generation": 1, "project_id": "p", "user_id": "u"}),
            ))
        }
        ("PUT", ["allocations", consumer]) => {
            ledger.insert((*consumer).to_owned(), held(&request.body));
            Some(Answer::Empty(204))
        }
        ("POST", ["allocations"]) => {
            let all = request.body.as_object().unwrap().iter();
            ledger.extend(all.map(|(consumer, body)| (consumer.clone(), held(body))));
            ledger.retain(|_, held| !held.is_empty());
            Some(Answer::Empty(204))
        }
        ("DELETE", ["allocations", consumer]) => {
            let code = if ledger.remove(*consumer).is_some() { 204 } else { 404 };
            Some(if code == 204 { Answer::Empty(204) } else { Answer::Json(404, json!({"errors": []})) })
        }
        ("GET", ["resource_providers", provider, "allocations"]) => {
            let here = ledger.iter().filter_map(|(consumer, held)| Some((consumer, held.get(*provider)?)));
            let all: Map<String, Value> =
                here.map(|(consumer, held)| (consumer.clone(), json!({"resources": held}))).collect();
            Some(Answer::Json(200, json!({"allocations": all, "resource_provider_generation": 1})))
        }
        _ => None,
    }
}

/// A placement that agrees to everything and keeps what it is told of the host.
pub(crate) fn answer((state, consumers): (&mut Provided, &[String]), request: &Received) -> Answer {
    let generation = 1;
    match (request.method.as_str(), request.path.rsplit('/').next().unwrap_or_default()) {
        ("GET", "traits") if request.query.starts_with("name=in:") => {
            let asked: Vec<&str> = request.query["name=in:".len()..].split(',').collect();
            Answer::Json(200, json!({"traits": asked}))
        }
        ("GET", _) if request.path.starts_with("/allocations/") => Answer::Json(
            200,
            json!({"allocations": {"rp": {"resources": {"VCPU": 1}}}, "consumer_generation": 3, "project_id": "p",
                   "user_id": "u"}),
        ),
        ("PUT", _) if request.path.starts_with("/allocations/") => Answer::Empty(204),
        ("POST", "allocations") => Answer::Empty(204),
        ("GET", "allocations") => {
            let each = |uuid: &String| (uuid.clone(), json!({"resources": {"VCPU": 1}}));
            let all: Map<String, Value> = consumers.iter().map(each).collect();
            Answer::Json(200, json!({"allocations": all}))
        }
        ("POST", "resource_providers") => {
            state.known = true;
            Answer::Json(
                200,
                json!({"uuid": request.body["uuid"], "name": state.name, "generation": generation}),
            )
        }
        (method, kind @ ("inventories" | "traits")) => {
            if method == "PUT" && kind == "traits" {
                state.traits = request.body["traits"].as_array().cloned().unwrap();
            } else if method == "PUT" {
                state.inventories = request.body["inventories"].as_object().cloned().unwrap();
            }
            Answer::Json(
                200,
                json!({"inventories": state.inventories, "traits": state.traits, "resource_provider_generation": generation}),
            )
        }
        ("GET", _) if !state.known => Answer::Json(404, json!({"errors": []})),
        ("GET", uuid) => {
            Answer::Json(200, json!({"uuid": uuid, "name": state.name, "generation": generation}))
        }
        ("DELETE", _) => Answer::Empty(204),
        _ => Answer::Json(404, json!({"errors": []})),
    }
}
