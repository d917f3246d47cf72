//! The request context: who asked, under which request id, with which token (`nova.context.RequestContext`).
//!
//! It travels as flat `_context_*` keys. Keys we do not know are kept and echoed, because the conductor finds the
//! instance action by the caller's own request id and newer releases add fields.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::ids::new_request_id;

/// Prefix of the context's keys in a message.
const PREFIX: &str = "_context_";

/// Who asked; cheap enough to clone per call.
#[derive(Clone, PartialEq)]
pub struct RequestContext {
    fields: Map<String, Value>,
}

impl RequestContext {
    /// A context of our own, as nova-compute's `context.get_admin_context()`, with a new request id.
    pub fn admin() -> Self {
        let timestamp = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6f").to_string();
        let fields = json!({
            "user": null, "project_id": null, "system_scope": null, "project": null, "domain": null,
            "user_domain": null, "project_domain": null, "is_admin": true, "read_only": false,
            "show_deleted": false, "auth_token": null, "request_id": new_request_id(),
            "global_request_id": null, "resource_uuid": null, "roles": [], "user_identity": "- - - - -",
            "is_admin_project": true, "user_id": null, "read_deleted": "no", "remote_address": null,
            "timestamp": timestamp, "quota_class": null, "user_name": null, "service_catalog": [],
            "project_name": null,
        });
        Self { fields: fields.as_object().cloned().unwrap_or_default() }
    }

    /// The same, but deleted rows are seen too (`read_deleted='yes'`).
    #[must_use]
    pub fn reading_deleted(mut self) -> Self {
        self.fields.insert("read_deleted".into(), json!("yes"));
        self
    }

    /// Takes the `_context_*` keys out of a message.
    pub fn take_from(message: &mut Map<String, Value>) -> Self {
        let keys: Vec<String> = message.keys().filter(|key| key.starts_with(PREFIX)).cloned().collect();
        let mut fields = Map::new();
        for key in keys {
            if let Some(value) = message.remove(&key) {
                fields.insert(key[PREFIX.len()..].to_owned(), value);
            }
        }
        Self { fields }
    }

    /// Puts the context into a message.
    pub fn put_into(&self, message: &mut Map<String, Value>) {
        for (name, value) in &self.fields {
            message.insert(format!("{PREFIX}{name}"), value.clone());
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(Value::as_str)
    }

    /// `req-…`; `-` when the sender gave none.
    pub fn request_id(&self) -> &str {
        self.text("request_id").unwrap_or("-")
    }

    /// When it was asked; `None` when the sender gave no time that can be read.
    pub fn timestamp(&self) -> Option<jiff::Timestamp> {
        let time: jiff::civil::DateTime = self.text("timestamp")?.parse().ok()?;
        jiff::tz::Offset::UTC.to_timestamp(time).ok()
    }

    /// The user's Keystone token, with which Glance is asked on the user's behalf.
    pub fn auth_token(&self) -> Option<&str> {
        self.text("auth_token").filter(|token| !token.is_empty())
    }

    /// The user's roles in that project.
    pub fn roles(&self) -> Vec<&str> {
        let roles = self.fields.get("roles").and_then(Value::as_array);
        roles.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// Whether Nova's policy counts the user as an administrator.
    pub fn is_admin(&self) -> bool {
        self.fields.get("is_admin").and_then(Value::as_bool).unwrap_or(false)
    }

    /// The project the user works in; none for a context of a service.
    pub fn project_id(&self) -> Option<&str> {
        self.text("project_id")
    }
}

impl fmt::Debug for RequestContext {
    /// Shows who asked, never the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestContext")
            .field("request_id", &self.request_id())
            .field("user_id", &self.text("user_id"))
            .field("project_id", &self.project_id())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_request_is_utc_without_saying_so() {
        let mut message = Map::new();
        message.insert("_context_timestamp".into(), json!("2026-11-22T15:39:46.616748"));
        let asked = RequestContext::take_from(&mut message).timestamp();
        assert_eq!(asked, "2026-11-22T15:39:46.616748Z".parse().ok());
        assert!(RequestContext::admin().timestamp().is_some());
    }

    #[test]
    fn unknown_fields_come_back_unchanged() {
        let mut message = Map::new();
        message.insert("_context_request_id".into(), json!("req-1"));
        message.insert("_context_invented_in_2030".into(), json!({"a": [1]}));
        message.insert("method".into(), json!("ping"));
        let original = message.clone();
        let context = RequestContext::take_from(&mut message);
        assert_eq!(message.len(), 1);
        context.put_into(&mut message);
        assert_eq!(message, original);
    }

    #[test]
    fn debug_output_does_not_show_the_token() {
        let mut message = Map::new();
        message.insert("_context_auth_token".into(), json!("gAAAA-secret"));
        let context = RequestContext::take_from(&mut message);
        assert_eq!(context.auth_token(), Some("gAAAA-secret"));
        assert!(!format!("{context:?}").contains("secret"));
    }

    #[test]
    fn an_admin_context_has_the_fields_of_nova_compute() {
        let mut message = Map::new();
        RequestContext::admin().put_into(&mut message);
        assert_eq!(message.len(), 25);
        assert_eq!(message["_context_is_admin"], json!(true));
        assert!(message["_context_project_id"].is_null());
    }
}
