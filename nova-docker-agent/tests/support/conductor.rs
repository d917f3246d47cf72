//! What a conductor answers from its tables.

use std::time::{Duration, Instant};

use common::messaging::RemoteError;
use serde_json::{Map, Value, json};

use super::nova::{Database, object};

/// As a newer conductor does for an older service: a field that a later release has otherwise says what it was `before`. It
/// cannot make a `RequestSpec` older.
fn backport(object: &Value, versions: &Value) -> Result<Value, RemoteError> {
    Ok(match object {
        Value::Object(fields) if fields.contains_key("before") => fields["before"].clone(),
        Value::Object(fields) => {
            let each = fields.iter().map(|(name, value)| Ok((name.clone(), backport(value, versions)?)));
            let mut fields = each.collect::<Result<Map<_, _>, RemoteError>>()?;
            let known = fields.get("nova_object.name").and_then(|class| versions.get(class.as_str()?));
            match known.cloned() {
                Some(_) if fields["nova_object.name"] == "RequestSpec" => {
                    let mut error = RemoteError::builtin(
                        "IncompatibleObjectVersion",
                        "Version 2.0 of RequestSpec is not supported",
                    );
                    error.module = "oslo_versionedobjects.exception".into();
                    return Err(error);
                }
                Some(version) => drop(fields.insert("nova_object.version".into(), version)),
                None => {}
            }
            Value::Object(fields)
        }
        Value::Array(values) => {
            values.iter().map(|value| backport(value, versions)).collect::<Result<_, _>>()?
        }
        other => other.clone(),
    })
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The answer to a call, from the tables.
pub(super) fn answer(db: &mut Database, name: &str, args: &Value) -> Result<Value, RemoteError> {
    let first = || text(&args["args"][0]);
    match name {
        "object_backport_versions" => backport(&args["objinst"], &args["object_versions"]),
        "ping" => Ok(json!({"service": "conductor"})),
        "Service.get_minimum_version_multi" => {
            let computes = args["args"][0][0] == "nova-compute";
            Ok(json!(if computes { db.computes } else { db.conductors }))
        }
        "Service.get_by_host_and_binary" => {
            Ok(db.service_of(&first()).clone().map_or(Value::Null, |row| object("Service", "1.22", row)))
        }
        "Service.create" => Ok(create(db.service_of(&host(args)), args)),
        "Service.save" => Ok(save(db.service_of(&host(args)).as_mut(), args)),
        "ComputeNodeList.get_all_by_uuids" => {
            let found = db.node(args["args"][0][0].as_str().unwrap_or_default());
            Ok(list(
                "ComputeNodeList",
                found.into_iter().map(|row| object("ComputeNode", "1.19", row.clone())),
            ))
        }
        "ComputeNode.get_by_uuid" => match db.node(&first()) {
            Some(row) => Ok(object("ComputeNode", "1.19", row.clone())),
            None => Err(RemoteError::nova("ComputeHostNotFound", "no such node", 404)),
        },
        "ComputeNode.create" => Ok(create(db.node_of(&host(args)), args)),
        "ComputeNode.save" => Ok(save(db.node_of(&host(args)).as_mut(), args)),
        "Instance.get_by_uuid" => match db.instances.get(&first()) {
            Some(row) if !is_deleted(row) => Ok(object("Instance", "2.8", row.clone())),
            _ => Err(not_found()),
        },
        "InstanceList.get_by_host" => {
            let host = json!(first());
            let rows =
                db.instances.iter().filter(|(_, row)| row.get("host") == Some(&host) && !is_deleted(row));
            Ok(list("InstanceList", rows.map(|(uuid, row)| with_cache(db, uuid, row))))
        }
        "MigrationList.get_by_filters" => Ok(migrations(db, &args["args"][0])),
        "MigrationList.get_unconfirmed_by_dest_compute" => {
            Ok(migrations(db, &json!({"dest_compute": args["args"][1], "status": "finished"})))
        }
        "MigrationList.get_in_progress_by_host_and_node" => {
            let under_way =
                ["pre-migrating", "migrating", "post-migrating", "finished", "reverting", "confirming"];
            Ok(migrations(db, &json!({"host": first(), "status": under_way})))
        }
        "Migration.save" => {
            let data = sent(args);
            Ok(save(data["id"].as_i64().and_then(|id| db.migrations.get_mut(&id)), args))
        }
        "InstanceList.get_by_filters" => {
            let rows = db.instances.values().filter(|row| matches(row, &args["args"][0]));
            Ok(list("InstanceList", rows.map(|row| object("Instance", "2.8", row.clone()))))
        }
        "Instance.save" => save_instance(db, args),
        "Instance.destroy" => {
            match db.instances.remove(&text(&args["objinst"]["nova_object.data"]["uuid"])) {
                Some(_) => Ok(json!([{}, null])),
                None => Err(not_found()),
            }
        }
        _ if name.starts_with("ConsoleAuthToken.") => Ok(of_consoles(db, name, args)),
        _ => of_networks(db, name, args),
    }
}

/// Tokens, as `nova.objects.ConsoleAuthToken` keeps them.
fn of_consoles(db: &mut Database, name: &str, args: &Value) -> Value {
    let now = Instant::now();
    match name {
        "ConsoleAuthToken.authorize" => {
            let ttl = Duration::from_secs(args["kwargs"]["ttl"].as_u64().unwrap());
            db.tokens.push((text(&sent(args)["instance_uuid"]), now + ttl));
            let token = format!("token-{}", db.tokens.len());
            return json!([{"id": db.tokens.len(), "token": token, "obj_what_changed": []}, token]);
        }
        "ConsoleAuthToken.clean_expired_console_auths" => db.tokens.retain(|(_, ends)| *ends > now),
        "ConsoleAuthToken.clean_console_auths_for_instance" => {
            let instance = text(&args["args"][0]);
            db.tokens.retain(|(of, _)| *of != instance);
        }
        _ => {}
    }
    Value::Null
}

/// An instance with its info cache, unless the test gave it one.
fn with_cache(db: &Database, uuid: &str, row: &Map<String, Value>) -> Value {
    let mut row = row.clone();
    if let Some(cache) = db.caches.get(uuid).filter(|_| !row.contains_key("info_cache")) {
        let data = json!({"instance_uuid": uuid, "network_info": cache});
        let cache = object("InstanceInfoCache", "1.5", data.as_object().cloned().unwrap_or_default());
        row.insert("info_cache".into(), cache);
    }
    object("Instance", "2.8", row)
}

/// What is known of ports; the rest is agreed to.
fn of_networks(db: &mut Database, name: &str, args: &Value) -> Result<Value, RemoteError> {
    let first = || text(&args["args"][0]);
    match name {
        "InstanceInfoCache.get_by_instance_uuid" => {
            let text = db.caches.get(&first()).cloned().unwrap_or_else(|| "[]".into());
            let data = json!({"instance_uuid": first(), "network_info": text});
            Ok(object("InstanceInfoCache", "1.5", data.as_object().cloned().unwrap()))
        }
        "InstanceInfoCache.save" => {
            let data = sent(args);
            db.caches.insert(text(&data["instance_uuid"]), text(&data["network_info"]));
            Ok(json!([{"obj_what_changed": []}, null]))
        }
        "VirtualInterface.create" => {
            let mut data = sent(args);
            data.insert("id".into(), json!(db.interfaces.len() + 1));
            db.interfaces.insert(text(&data["uuid"]), data);
            Ok(json!([{"obj_what_changed": []}, null]))
        }
        "VirtualInterface.get_by_uuid" => Ok(db
            .interfaces
            .get(&first())
            .map_or(Value::Null, |row| object("VirtualInterface", "1.3", row.clone()))),
        "VirtualInterface.destroy" => {
            let id = sent(args)["id"].clone();
            db.interfaces.retain(|_, row| row["id"] != id);
            Ok(json!([{"obj_what_changed": []}, null]))
        }
        "VirtualInterface.delete_by_instance_uuid" => {
            db.interfaces.clear();
            Ok(Value::Null)
        }
        "VirtualInterfaceList.get_by_instance_uuid" => {
            let rows = db.interfaces.values().map(|row| object("VirtualInterface", "1.3", row.clone()));
            Ok(list("VirtualInterfaceList", rows))
        }
        _ if args.get("objinst").is_some() => Ok(json!([{"obj_what_changed": []}, null])),
        _ => Ok(Value::Null),
    }
}

fn host(args: &Value) -> String {
    text(&args["objinst"]["nova_object.data"]["host"])
}

fn migrations(db: &Database, filters: &Value) -> Value {
    let mut filters = filters.clone();
    let host = filters.as_object_mut().unwrap().remove("host").unwrap_or_default();
    let of_host =
        |row: &Map<String, Value>| ["source_compute", "dest_compute"].iter().any(|end| row[*end] == host);
    let rows =
        db.migrations.values().filter(|row| (host.is_null() || of_host(row)) && matches(row, &filters));
    list("MigrationList", rows.map(|row| object("Migration", "1.8", row.clone())))
}

/// The row of a deleted instance is kept for who asks for such.
fn is_deleted(row: &Map<String, Value>) -> bool {
    row.get("deleted") == Some(&json!(true))
}

/// Nova's filters, as far as they are asked by.
fn matches(row: &Map<String, Value>, filters: &Value) -> bool {
    filters.as_object().unwrap().iter().all(|(field, wanted)| match (field.as_str(), wanted) {
        ("deleted", wanted) => wanted == &json!(is_deleted(row)),
        (field, Value::Array(any)) => any.contains(row.get(field).unwrap_or(&Value::Null)),
        (field, one) => row.get(field).unwrap_or(&Value::Null) == one,
    })
}

fn not_found() -> RemoteError {
    RemoteError::nova("InstanceNotFound", "Instance could not be found.", 404)
}

fn list(name: &str, objects: impl Iterator<Item = Value>) -> Value {
    let mut data = Map::new();
    data.insert("objects".into(), objects.collect());
    object(name, "1.0", data)
}

fn sent(args: &Value) -> Map<String, Value> {
    args["objinst"]["nova_object.data"].as_object().cloned().unwrap_or_default()
}

fn create(row: &mut Option<Map<String, Value>>, args: &Value) -> Value {
    let mut data = sent(args);
    // Another host has another one.
    let id = 6 + data
        .get("host")
        .and_then(Value::as_str)
        .and_then(|host| host.strip_prefix('h')?.parse().ok())
        .unwrap_or(1);
    data.insert("id".into(), json!(id));
    *row = Some(data);
    json!([{"id": id, "obj_what_changed": []}, null])
}

fn save(row: Option<&mut Map<String, Value>>, args: &Value) -> Value {
    if let Some(row) = row {
        row.extend(sent(args));
    }
    json!([{"obj_what_changed": []}, null])
}

/// Compare and swap, as in Nova's database.
fn save_instance(db: &mut Database, args: &Value) -> Result<Value, RemoteError> {
    let (data, any_state) = (sent(args), db.any_state);
    let Some(row) = db.instances.get_mut(&text(&data["uuid"])) else { return Err(not_found()) };
    let null = Value::Null;
    for (field, error) in [("task_state", "UnexpectedTaskStateError"), ("vm_state", "InstanceUpdateConflict")]
    {
        let actual = row.get(field).unwrap_or(&null);
        let expected = args["kwargs"].get(format!("expected_{field}")).and_then(Value::as_array);
        if !any_state && expected.is_some_and(|expected| !expected.contains(actual)) {
            let deleting = actual == "deleting";
            let class = if deleting { "UnexpectedDeletingTaskStateError" } else { error };
            return Err(RemoteError::nova(
                class,
                format!("Conflict updating instance. Actual: {actual}"),
                500,
            ));
        }
    }
    row.extend(data.clone());
    // As the conductor: every field that the sender has not got, or has otherwise.
    let mut updates = row.clone();
    updates.retain(|field, value| data.get(field) != Some(value));
    updates.insert("obj_what_changed".into(), json!([]));
    Ok(json!([updates, null]))
}
