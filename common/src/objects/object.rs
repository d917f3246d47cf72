//! What all versioned objects have in common: name, version, data and the list of changes.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

const NAME: &str = "nova_object.name";
const NAMESPACE: &str = "nova_object.namespace";
const VERSION: &str = "nova_object.version";
const DATA: &str = "nova_object.data";
const CHANGES: &str = "nova_object.changes";

/// Why something is not the object it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is no object at all, or it lacks a part.
    #[error("no versioned object: {0}")]
    NoObject(&'static str),
    /// It is another class.
    #[error("expected a {expected}, got a {got}")]
    OtherClass {
        /// Class that was needed.
        expected: &'static str,
        /// Class that came.
        got: String,
    },
    /// Its major version is one we cannot read.
    #[error("{class} {version} cannot be read (made for {known})")]
    OtherMajor {
        /// The class.
        class: &'static str,
        /// Version that came.
        version: String,
        /// Version the agent was written against.
        known: &'static str,
    },
    /// A field holds something else than Nova's class allows.
    #[error("{class}.{field} is no {expected}")]
    Field {
        /// The class.
        class: &'static str,
        /// The field.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

/// An object of any class.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    name: String,
    version: String,
    data: Map<String, Value>,
    changes: BTreeSet<String>,
}

/// A class of ours: made by the `object!` macro.
pub trait Versioned: Sized + Send + Sync {
    /// Nova's class name.
    const NAME: &'static str;
    /// Version the agent was written against.
    const VERSION: &'static str;

    /// Wraps an object whose class, version and known fields are right.
    fn wrap(object: Object) -> Self;
    /// The object below.
    fn object(&self) -> &Object;
    /// The object below.
    fn object_mut(&mut self) -> &mut Object;
    /// Checks the known fields.
    ///
    /// # Errors
    /// [`Error::Field`] for the first wrong one.
    fn check(object: &Object) -> Result<(), Error>;

    /// Reads a primitive.
    ///
    /// # Errors
    /// [`Error`] saying what is wrong with it.
    fn parse(primitive: Value) -> Result<Self, Error> {
        let object = Object::parse(primitive)?;
        if object.name != Self::NAME {
            return Err(Error::OtherClass { expected: Self::NAME, got: object.name });
        }
        let major = |version: &str| version.split('.').next().map(str::to_owned);
        if major(&object.version) != major(Self::VERSION) {
            let (class, known) = (Self::NAME, Self::VERSION);
            return Err(Error::OtherMajor { class, version: object.version, known });
        }
        Self::check(&object)?;
        Ok(Self::wrap(object))
    }

    /// A new object without any field.
    fn empty() -> Self {
        Self::wrap(Object {
            name: Self::NAME.into(),
            version: Self::VERSION.into(),
            data: Map::new(),
            changes: BTreeSet::new(),
        })
    }
}

impl Object {
    fn parse(primitive: Value) -> Result<Self, Error> {
        let Value::Object(mut parts) = primitive else { return Err(Error::NoObject("it is no map")) };
        let mut text = |key| match parts.remove(key) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(Error::NoObject(key)),
        };
        let (name, version) = (text(NAME)?, text(VERSION)?);
        let Some(Value::Object(data)) = parts.remove(DATA) else { return Err(Error::NoObject(DATA)) };
        let changes = match parts.remove(CHANGES) {
            Some(Value::Array(names)) => {
                names.into_iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
            }
            _ => BTreeSet::new(),
        };
        Ok(Self { name, version, data, changes })
    }

    /// The whole object as it travels.
    pub fn primitive(&self) -> Value {
        self.with_data(self.data.clone())
    }

    /// Only the changed fields and `keys`: enough for a remote save, and little for the conductor to compare.
    pub fn changed_primitive(&self, keys: &[&str]) -> Value {
        let wanted = |name: &String| self.changes.contains(name) || keys.contains(&name.as_str());
        let data = self.data.iter().filter(|(name, _)| wanted(name));
        self.with_data(data.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    fn with_data(&self, data: Map<String, Value>) -> Value {
        let mut parts = Map::new();
        parts.insert(NAME.into(), json!(self.name));
        parts.insert(NAMESPACE.into(), json!("nova"));
        parts.insert(VERSION.into(), json!(self.version));
        parts.insert(DATA.into(), Value::Object(data));
        if !self.changes.is_empty() {
            parts.insert(CHANGES.into(), json!(self.changes));
        }
        Value::Object(parts)
    }

    /// A field; none when it is unset or null.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.data.get(field).filter(|value| !value.is_null())
    }

    /// Sets a field and notes the change.
    pub fn set(&mut self, field: &str, value: Value) {
        self.data.insert(field.to_owned(), value);
        self.changes.insert(field.to_owned());
    }

    /// Takes a field out, without noting a change.
    pub fn remove(&mut self, field: &str) -> Option<Value> {
        self.data.remove(field)
    }

    /// A scalar as text; none for null, lists and maps.
    pub fn text_of(value: &Value) -> Option<String> {
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// Names of the fields that were set and not saved.
    pub fn changes(&self) -> impl Iterator<Item = &str> {
        self.changes.iter().map(String::as_str)
    }

    /// Forgets that anything was changed.
    pub fn clear_changes(&mut self) {
        self.changes.clear();
    }

    /// Takes over what the conductor answered to a remote action: the new values and what is still unsaved.
    pub fn merge(&mut self, updates: Map<String, Value>) {
        self.changes.clear();
        for (field, value) in updates {
            if field == "obj_what_changed" {
                let still = value.as_array().into_iter().flatten();
                self.changes.extend(still.filter_map(|name| name.as_str().map(str::to_owned)));
            } else {
                self.data.insert(field, value);
            }
        }
    }
}

/// The members of a list object; a member that cannot be read is left out and logged, so that one damaged row does not
/// blind the agent to the others.
///
/// # Errors
/// When it is no list object.
pub fn list<T: Versioned>(primitive: Value) -> Result<Vec<T>, Error> {
    let members = members(primitive)?;
    Ok(members
        .into_iter()
        .filter_map(|member| {
            T::parse(member)
                .inspect_err(|error| tracing::error!(%error, class = T::NAME, "left out a record"))
                .ok()
        })
        .collect())
}

/// The members of a list object that is useless when incomplete.
///
/// # Errors
/// When it is no list object or a member cannot be read.
pub fn list_strictly<T: Versioned>(primitive: Value) -> Result<Vec<T>, Error> {
    members(primitive)?.into_iter().map(T::parse).collect()
}

fn members(primitive: Value) -> Result<Vec<Value>, Error> {
    match Object::parse(primitive)?.data.remove("objects") {
        Some(Value::Array(members)) => Ok(members),
        _ => Err(Error::NoObject("objects")),
    }
}

/// Now, as Nova writes it: UTC, whole seconds.
pub fn timestamp() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Instance, Service};
    use proptest::prelude::*;

    fn service(version: &str, data: Value) -> Value {
        json!({NAME: "Service", NAMESPACE: "nova", VERSION: version, DATA: data})
    }

    #[test]
    fn a_newer_minor_with_fields_we_do_not_know_goes_back_as_it_came() {
        let primitive = service("1.99", json!({"id": 5, "host": "fake1", "colour": {"a": [1, null]}}));
        let read = Service::parse(primitive.clone()).unwrap();
        assert_eq!(read.host(), Some("fake1"));
        assert_eq!(read.object().primitive(), primitive);
    }

    #[test]
    fn another_class_or_major_is_refused() {
        let other = Instance::parse(service("1.22", json!({})));
        assert_eq!(other, Err(Error::OtherClass { expected: "Instance", got: "Service".into() }));
        assert!(matches!(Service::parse(service("2.0", json!({}))), Err(Error::OtherMajor { .. })));
        assert!(matches!(Service::parse(json!([])), Err(Error::NoObject(_))));
        let wrong = Service::parse(service("1.22", json!({"id": "five"})));
        assert_eq!(wrong, Err(Error::Field { class: "Service", field: "id", expected: "whole number" }));
    }

    #[test]
    fn only_changes_and_keys_are_sent_and_answers_are_taken_over() {
        let mut service =
            Service::parse(service("1.22", json!({"id": 5, "host": "fake1", "disabled": false}))).unwrap();
        service.set_report_count(7);
        let sent = service.object().changed_primitive(&["id"]);
        assert_eq!(sent[DATA], json!({"id": 5, "report_count": 7}));
        assert_eq!(sent[CHANGES], json!(["report_count"]));
        let updates = json!({"last_seen_up": "2026-11-22T15:39:47Z", "obj_what_changed": []});
        service.object_mut().merge(updates.as_object().unwrap().clone());
        assert_eq!(service.object().changes().count(), 0);
        assert_eq!(service.object().get("last_seen_up"), Some(&json!("2026-11-22T15:39:47Z")));
    }

    #[test]
    fn one_damaged_row_does_not_hide_the_others() {
        let rows = json!({NAME: "ServiceList", NAMESPACE: "nova", VERSION: "1.19", DATA: {"objects": [
            service("1.22", json!({"host": "a"})), {"broken": true}, service("1.22", json!({"host": "b"})),
        ]}});
        let read: Vec<Service> = list(rows.clone()).unwrap();
        assert_eq!(read.iter().filter_map(Service::host).collect::<Vec<_>>(), ["a", "b"]);
        assert!(list_strictly::<Service>(rows).is_err());
    }

    #[test]
    fn times_are_written_in_whole_seconds() {
        let now = timestamp();
        assert!(now.len() == 20 && now.ends_with('Z') && now.contains('T'), "{now}");
    }

    proptest! {
        #[test]
        fn objects_of_any_content_survive_or_are_refused(
            host in ".*", minor in 0_u32..200, extra in prop::collection::btree_map("[a-z_]{1,12}", ".*", 0..6),
        ) {
            let mut data: Map<String, Value> = extra.into_iter().map(|(k, v)| (format!("x_{k}"), json!(v))).collect();
            data.insert("host".into(), json!(host));
            let primitive = service(&format!("1.{minor}"), Value::Object(data));
            let read = Service::parse(primitive.clone()).unwrap();
            prop_assert_eq!(read.object().primitive(), primitive);
        }
    }
}
