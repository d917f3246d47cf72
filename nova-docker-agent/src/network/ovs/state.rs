//! What the database tells by itself: the part of it that is monitored.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

/// The monitored part of the database as it is now.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Number of the configuration that ovs-vswitchd has carried out.
    pub(super) cur_cfg: i64,
    /// By uuid of the row.
    interfaces: HashMap<String, Interface>,
    /// The connection is no more: this is the past.
    pub(super) closed: bool,
}

/// A row of `Interface`.
#[derive(Debug, Default, Clone)]
pub(super) struct Interface {
    name: String,
    external_ids: BTreeMap<String, String>,
    /// Why the device cannot be used; empty when it can.
    pub(super) error: String,
}

impl Interface {
    /// A value of `external_ids`.
    pub(super) fn id(&self, key: &str) -> Option<&str> {
        self.external_ids.get(key).map(String::as_str)
    }
}

/// The `monitor` request's parameter.
pub(super) fn monitored() -> Value {
    json!({
        "Open_vSwitch": {"columns": ["cur_cfg"]},
        "Interface": {"columns": ["name", "external_ids", "error"]},
    })
}

impl State {
    /// The interface of that name.
    pub(super) fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces().find(|interface| interface.name == name)
    }

    /// All interfaces.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.interfaces.values()
    }

    /// Takes in `<table-updates>` (RFC 7047, 4.1.6).
    pub(super) fn update(&mut self, tables: &Value) {
        for (_, row) in rows(tables, "Open_vSwitch") {
            if let Some(cur_cfg) = row.get("new").and_then(|new| new["cur_cfg"].as_i64()) {
                self.cur_cfg = cur_cfg;
            }
        }
        for (uuid, row) in rows(tables, "Interface") {
            match row.get("new") {
                Some(new) => drop(self.interfaces.insert(uuid.clone(), interface(new))),
                None => drop(self.interfaces.remove(uuid)),
            }
        }
    }
}

fn rows<'a>(tables: &'a Value, table: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    tables.get(table).and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

fn interface(new: &Value) -> Interface {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    // `["map", [[key, value], …]]`; an absent `error` is `["set", []]`.
    let pairs = new.pointer("/external_ids/1").and_then(Value::as_array).into_iter().flatten();
    Interface {
        name: text(&new["name"]),
        external_ids: pairs.map(|pair| (text(&pair[0]), text(&pair[1]))).collect(),
        error: text(&new["error"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monitor_s_updates_are_followed() {
        let mut state = State::default();
        let row = |ids: Value, error: Value| json!({"new": {"name": "tap1", "external_ids": ["map", ids], "error": error}});
        state.update(&json!({
            "Open_vSwitch": {"root": {"new": {"cur_cfg": 7}}},
            "Interface": {"u1": row(json!([["iface-id", "p"], ["vm-uuid", "i"]]), json!(["set", []]))},
        }));
        let tap = state.interface("tap1").unwrap();
        assert_eq!(
            (state.cur_cfg, tap.id("vm-uuid"), tap.id("ovn-installed"), tap.error.as_str()),
            (7, Some("i"), None, "")
        );

        state.update(
            &json!({"Interface": {"u1": row(json!([["ovn-installed", "true"]]), json!("No such device"))}}),
        );
        let tap = state.interface("tap1").unwrap();
        assert_eq!(
            (state.cur_cfg, tap.id("ovn-installed"), tap.error.as_str()),
            (7, Some("true"), "No such device")
        );

        state.update(&json!({"Interface": {"u1": {"old": {"name": "tap1"}}}}));
        assert!(state.interface("tap1").is_none());
    }
}
