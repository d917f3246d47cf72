//! What a compute service did, and what of that somebody else can see.
//!
//! [`Trace::facts`] turns messages into facts: the end of the record, the task states it went through, events, faults,
//! allocations, fanouts, the answer. Two services that leave the same facts behind cannot be told apart by a user.

use std::collections::{BTreeMap, BTreeSet};

use common::messaging::RemoteError;
use serde_json::{Map, Value, json};

use crate::support::nova::Sent;

/// What can be seen, by name.
pub(crate) type Facts = BTreeMap<String, Value>;

/// A request to placement.
pub(crate) struct Http {
    pub(crate) line: String,
    pub(crate) body: Value,
}

/// All that a compute service sent in answer to one request, or while it started.
pub(crate) struct Trace {
    pub(crate) calls: Vec<Sent>,
    pub(crate) fanouts: Vec<Sent>,
    pub(crate) http: Vec<Http>,
    pub(crate) reply: Option<Result<Value, RemoteError>>,
}

/// What was there before.
pub(crate) struct Before {
    /// The instance that the request is about.
    pub(crate) instance: Map<String, Value>,
    /// The hypervisor's record.
    pub(crate) node: Map<String, Value>,
}

/// Fields of the hypervisor's record that do not depend on the machine.
const NODE: [&str; 9] = [
    "uuid",
    "host",
    "hypervisor_hostname",
    "service_id",
    "vcpus_used",
    "running_vms",
    "local_gb_used",
    "current_workload",
    "metrics",
];

impl Trace {
    /// See the module's head. `before` is followed by the saves.
    pub(crate) fn facts(&self, before: &Before) -> Facts {
        let mut facts = Facts::new();
        let mut instance = before.instance.clone();
        let mut node = before.node.clone();
        let (mut tasks, mut statuses) = (Vec::new(), Vec::new());
        for call in &self.calls {
            let object = &call.args["objinst"];
            match call.name.as_str() {
                "Instance.save" => {
                    tasks.extend(step(&call.args));
                    apply(&mut instance, object);
                }
                // Nova forgets the context of a move by a call of its own.
                "Instance.drop_migration_context" => {
                    drop(instance.insert("migration_context".into(), Value::Null))
                }
                "Migration.save" => {
                    statuses.extend(
                        changes(object).filter(|(field, _)| *field == "status").map(|(_, status)| status),
                    );
                    let of_machine = |field: &str| field == "dest_host";
                    let changed = changes(object).map(|(field, value)| {
                        let fact = if of_machine(field) { json!("an address") } else { value.clone() };
                        (format!("migration.{field}"), fact)
                    });
                    facts.extend(changed);
                }
                "ComputeNode.create" | "ComputeNode.save" => apply(&mut node, object),
                _ => facts.extend(of_call(call)),
            }
        }
        facts.extend(of_tasks(&tasks));
        if !statuses.is_empty() {
            facts.insert("migration.passed".into(), json!(statuses));
        }
        facts.extend(instance.iter().filter_map(|(field, value)| {
            let fact = match before.instance.get(field) {
                // To learn that there is nothing is no change.
                None if value.is_null() => return None,
                Some(then) if then == value && !field.starts_with("pci_") && field != "migration_context" => {
                    unordered(value)
                }
                _ => timeless(field, &unordered(value)),
            };
            Some((format!("instance.{field}"), fact))
        }));
        if before.instance.is_empty() {
            let known = node.iter().filter(|(_, value)| !value.is_null());
            facts.extend(known.map(|(field, value)| (format!("node.{field}"), of_node(field, value))));
        }
        facts.extend(self.fanouts.iter().map(of_fanout));
        facts.extend(self.http.iter().flat_map(of_http));
        facts.extend(self.reply.iter().map(|reply| ("reply".to_owned(), of_reply(reply))));
        facts
    }

    /// Calls, but for the heartbeat, which the clock makes.
    pub(crate) fn count(&self) -> usize {
        self.calls.iter().filter(|call| call.name != "Service.save").count()
    }
}

fn changes(object: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let changes = object["nova_object.changes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    changes.map(|field| (field, &object["nova_object.data"][field]))
}

fn apply(row: &mut Map<String, Value>, object: &Value) {
    row.extend(changes(object).map(|(field, value)| (field.to_owned(), value.clone())));
}

/// A step of the task state: what was expected, and what it became.
fn step(args: &Value) -> Option<(Value, Value)> {
    let (_, task) = changes(&args["objinst"]).find(|(field, _)| *field == "task_state")?;
    let mut expected = match &args["kwargs"]["expected_task_state"] {
        Value::Array(states) => states.clone(),
        // No expectation is not the same as expecting no task.
        Value::Null => vec![json!("anything")],
        one => vec![one.clone()],
    };
    expected.sort_by_key(Value::to_string);
    Some((Value::Array(expected), task.clone()))
}

fn of_tasks(tasks: &[(Value, Value)]) -> Facts {
    let (Some(first), Some(last)) = (tasks.first(), tasks.last()) else { return Facts::new() };
    let passed: Vec<&Value> =
        tasks[..tasks.len() - 1].iter().map(|(_, task)| task).filter(|task| !task.is_null()).collect();
    [
        ("task.expected_first".to_owned(), first.0.clone()),
        ("task.expected_last".to_owned(), last.0.clone()),
        ("task.passed".to_owned(), json!(passed)),
    ]
    .into()
}

fn of_call(call: &Sent) -> Facts {
    let (object, keywords) = (&call.args["objinst"]["nova_object.data"], &call.args["kwargs"]);
    let event = call.args["args"][1].as_str().unwrap_or_default();
    let fact = |name: String, value: Value| Facts::from([(name, value)]);
    match call.name.as_str() {
        "InstanceActionEvent.event_start" => {
            fact(format!("event.{event}.start"), json!({"host": keywords["host"], "for": call.request_id}))
        }
        "InstanceActionEvent.event_finish_with_failure" => {
            // Nova tells by the traceback.
            let result = if keywords["exc_tb"].is_null() { "Success" } else { "Error" };
            fact(format!("event.{event}.end"), json!([result, keywords["exc_val"]]))
        }
        "InstanceFault.create" => {
            let message = object["message"].as_str().unwrap_or_default();
            // What is wrong with the build was the test's choice; how Nova introduces it was not.
            let (intro, _) = message.split_once(" aborted: ").unwrap_or((message, ""));
            fact("fault".into(), json!({"code": object["code"], "message": intro, "host": object["host"]}))
        }
        "Instance.destroy" => {
            fact("destroyed".into(), json!({"uuid": object["uuid"], "host": object["host"]}))
        }
        "BlockDeviceMapping.save" => fact("root_disk".into(), object["device_name"].clone()),
        "Service.create" => changes(&call.args["objinst"])
            .map(|(field, value)| (format!("service.{field}"), value.clone()))
            .collect(),
        "build_instances" => of_reschedule(&call.args),
        "resize_instance" | "finish_resize" | "finish_revert_resize" => of_hand_over(call),
        name if is_question(name) => Facts::new(),
        name => fact(format!("call.{name}"), call.args["args"].clone()),
    }
}

/// A step of a move that the other host takes: what it is told, and how the instance and the move are then.
fn of_hand_over(call: &Sent) -> Facts {
    let data = |object: &str, field: &str| call.args[object]["nova_object.data"][field].clone();
    let flavor = |field: &str| data("instance", field)["nova_object.data"]["flavorid"].clone();
    let told: BTreeSet<&String> = call.args.as_object().unwrap().keys().collect();
    let instance = ["uuid", "host", "node", "compute_id", "vm_state", "task_state", "instance_type_id"];
    let instance = instance.map(|field| (field, data("instance", field)));
    let migration = ["uuid", "status", "dest_compute", "dest_node", "dest_compute_id"];
    let migration = migration.map(|field| (field, data("migration", field)));
    [
        ("told", json!(told)),
        ("instance", json!(BTreeMap::from(instance))),
        ("flavors", json!(["flavor", "old_flavor", "new_flavor"].map(flavor))),
        ("migration", json!(BTreeMap::from(migration))),
        ("flavor", call.args["flavor"]["nova_object.data"]["flavorid"].clone()),
    ]
    .map(|(what, value)| (format!("cast.{}.{what}", call.name), value))
    .into()
}

/// Leaves nothing behind. The heartbeat is as frequent as the recording is long.
fn is_question(name: &str) -> bool {
    name == "ping" || name == "Service.save" || name.contains(".get_") || name == "receive_disk"
}

/// The build as the conductor gets it back: all but the reason, which the test chose.
fn of_reschedule(args: &Value) -> Facts {
    let mut args = args.clone();
    let retry = &mut args["filter_properties"]["retry"];
    for key in ["exc", "exc_reason"] {
        retry[key] = json!(!retry[key].is_null());
    }
    let instance = args["instances"][0]["nova_object.data"].take();
    args["instances"] =
        ["uuid", "host", "node", "vm_state", "task_state"].map(|field| instance[field].clone()).into();
    let given_back = args.as_object().unwrap().iter();
    given_back.map(|(name, value)| (format!("build_instances.{name}"), unordered(value))).collect()
}

/// Python sets come in any order.
fn unordered(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let sorted = |(name, value): (&String, &Value)| {
                let mut value = unordered(value);
                if name == "nova_object.changes" {
                    value.as_array_mut().unwrap().sort_by_key(Value::to_string);
                }
                (name.clone(), value)
            };
            Value::Object(fields.iter().map(sorted).collect())
        }
        Value::Array(values) => values.iter().map(unordered).collect(),
        other => other.clone(),
    }
}

fn of_fanout(fanout: &Sent) -> (String, Value) {
    let listed = &fanout.args["instance_info"]["nova_object.data"]["objects"];
    let uuids = |instances: &Vec<Value>| {
        instances
            .iter()
            .map(|each| each["nova_object.data"]["uuid"].as_str().unwrap().to_owned())
            .collect::<BTreeSet<_>>()
    };
    let about = listed.as_array().map_or(fanout.args["instance_uuid"].clone(), |list| json!(uuids(list)));
    (format!("fanout.{}", fanout.name), json!([fanout.args["host_name"], about]))
}

fn of_http(http: &Http) -> Facts {
    let fact = |name: String, value: Value| Facts::from([(name, value)]);
    if http.line.starts_with("GET ") {
        return Facts::new();
    }
    if http.line.ends_with("/inventories") {
        let classes = http.body["inventories"].as_object().unwrap();
        let keys = |inventory: &Value| json!(inventory.as_object().unwrap().keys().collect::<BTreeSet<_>>());
        return classes.iter().map(|(class, each)| (format!("inventory.{class}"), keys(each))).collect();
    }
    if http.line.ends_with("/traits") {
        let traits = http.body["traits"].as_array().unwrap();
        return fact(
            "traits".into(),
            // What the processors can do depends on where the test runs.
            json!(
                traits
                    .iter()
                    .map(|name| name.as_str().unwrap())
                    .filter(|name| !name.starts_with("HW_CPU_"))
                    .collect::<BTreeSet<_>>()
            ),
        );
    }
    fact(format!("placement.{}", http.line), http.body.clone())
}

fn of_reply(reply: &Result<Value, RemoteError>) -> Value {
    match reply {
        // What was counted is another number each time.
        Ok(value) if value["nova_object.name"] == "Diagnostics" => countless(value),
        Ok(Value::String(text)) if text.contains("load average") => json!("what uptime(1) says"),
        Ok(value) => value.clone(),
        Err(error) => {
            json!({"module": error.module, "class": error.class, "code": error.kwargs.get("code"), "message": error.message})
        }
    }
}

/// Data without the numbers, and without what Nova sends with an object that is new.
fn countless(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let data = fields.get("nova_object.data").and_then(Value::as_object).unwrap_or(fields);
            data.iter().map(|(name, value)| (name.clone(), countless(value))).collect()
        }
        Value::Array(values) => values.iter().map(countless).collect(),
        Value::Number(_) => json!("a number"),
        other => other.clone(),
    }
}

/// An object without what was new in it.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| *name != "nova_object.changes");
            kept.map(|(name, value)| (name.clone(), plain(value))).collect()
        }
        Value::Array(values) => values.iter().map(plain).collect(),
        other => other.clone(),
    }
}

/// A time that is not the same in two runs.
fn timeless(field: &str, value: &Value) -> Value {
    if field.starts_with("pci_") {
        // Saved anew or not: there is nothing in it.
        return value["nova_object.data"].clone();
    }
    if field == "migration_context" {
        return plain(value);
    }
    if let (true, Some(map)) = (field.ends_with("metadata"), value.as_object()) {
        return map.iter().map(|(key, value)| (key.clone(), timeless(key, value))).collect();
    }
    if field.ends_with("_at") && value.is_string() { json!("a time") } else { value.clone() }
}

/// What the machine decides is only of the same kind.
fn of_node(field: &str, value: &Value) -> Value {
    match value {
        _ if NODE.contains(&field) => value.clone(),
        Value::Number(_) => json!("a number"),
        Value::String(_) => json!("a text"),
        _ => json!("something"),
    }
}
