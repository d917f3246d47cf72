//! A failure as oslo.messaging carries it between processes (`serialize_remote_exception`).

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// An exception of the other side, or one of ours on its way there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemoteError {
    /// Python class, e.g. `InstanceNotFound`.
    pub class: String,
    /// Python module, e.g. `nova.exception`. A caller rebuilds only classes of modules it knows.
    pub module: String,
    /// The formatted message.
    #[serde(default)]
    pub message: String,
    /// Traceback: a Python matter. Ours is empty, others' is not read.
    #[serde(default, skip_deserializing)]
    tb: [String; 0],
    /// Positional arguments of the constructor.
    #[serde(default)]
    pub args: Vec<Value>,
    /// Keyword arguments of the constructor.
    #[serde(default)]
    pub kwargs: Map<String, Value>,
}

impl RemoteError {
    /// A class of `nova.exception`, the way Nova itself sends it: formatted text first, HTTP code in the keywords.
    pub fn nova(class: &str, message: impl Into<String>, code: u16) -> Self {
        let message = message.into();
        let mut kwargs = Map::new();
        kwargs.insert("code".into(), json!(code));
        Self {
            class: class.into(),
            module: "nova.exception".into(),
            args: vec![Value::String(message.clone())],
            message,
            tb: [],
            kwargs,
        }
    }

    /// A built-in Python exception; its constructor takes the message alone.
    pub fn builtin(class: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            class: class.into(),
            module: "builtins".into(),
            args: vec![Value::String(message.clone())],
            message,
            tb: [],
            kwargs: Map::new(),
        }
    }

    /// The dispatcher's answer to a version nobody here serves.
    pub fn unsupported_version(version: &str, method: &str) -> Self {
        let message = format!("Endpoint does not support RPC version {version}. Attempted method: {method}");
        Self::builtin("", message).dispatcher("UnsupportedVersion")
    }

    /// The dispatcher's answer to an unknown method.
    pub fn no_such_method(method: &str) -> Self {
        Self::builtin("", format!("Endpoint does not support RPC method {method}")).dispatcher("NoSuchMethod")
    }

    fn dispatcher(mut self, class: &str) -> Self {
        self.module = "oslo_messaging.rpc.dispatcher".into();
        self.class = class.into();
        self
    }

    /// True for this class of whatever module: Nova's classes are unique by name.
    pub fn is(&self, class: &str) -> bool {
        self.class == class
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.message)
    }
}

impl std::error::Error for RemoteError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nova_exception_looks_as_nova_sends_it() {
        let error = RemoteError::nova("ConsoleTypeUnavailable", "Unavailable console type novnc.", 400);
        assert_eq!(
            serde_json::to_value(error).unwrap(),
            json!({"class": "ConsoleTypeUnavailable", "module": "nova.exception",
                   "message": "Unavailable console type novnc.", "tb": [],
                   "args": ["Unavailable console type novnc."], "kwargs": {"code": 400}})
        );
    }

    #[test]
    fn dispatcher_errors_carry_oslo_s_sentences() {
        let error = RemoteError::unsupported_version("7.0", "pause_instance");
        assert_eq!(error.module, "oslo_messaging.rpc.dispatcher");
        assert_eq!(error.class, "UnsupportedVersion");
        assert!(error.message.starts_with("Endpoint does not support RPC version 7.0."));
        assert_eq!(RemoteError::no_such_method("nope").class, "NoSuchMethod");
    }

    #[test]
    fn fields_that_another_release_leaves_out_are_empty() {
        let error: RemoteError = serde_json::from_str(r#"{"class": "X", "module": "m"}"#).unwrap();
        assert!(error.message.is_empty() && error.args.is_empty());
    }
}
