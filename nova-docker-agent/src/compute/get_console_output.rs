//! The end of what the container wrote (`openstack console log show`).

use common::objects::Instance;
use serde::Deserialize;
use serde_json::Value;

use super::{Call, Method};
use crate::error::Error;
use crate::instance::guards::Guards;
use crate::virt;

/// The arguments.
#[derive(Deserialize)]
pub struct GetConsoleOutput {
    /// The instance.
    pub instance: Instance,
    /// How many lines; all when null. Old clients send text.
    #[serde(default)]
    pub tail_length: Value,
}

impl Method for GetConsoleOutput {
    const NAME: &'static str = "get_console_output";
    const GUARDS: Guards = Guards::F;
    type Reply = String;

    fn instance(&self) -> Option<&Instance> {
        Some(&self.instance)
    }

    async fn run(self, call: &Call) -> Result<String, Error> {
        let Some(uuid) = self.instance.instance_uuid() else {
            return Err(Error::Arguments { method: Self::NAME.into(), problem: "no instance uuid".into() });
        };
        match call.agent.driver.console_output(uuid, lines(&self.tail_length)).await {
            Err(virt::Error::NotFound { .. }) => Err(Error::Refused {
                class: "ConsoleNotAvailable",
                code: 404,
                message: "Guest does not have a console available.".into(),
            }),
            other => Ok(tail(&other?, lines(&self.tail_length))),
        }
    }
}

/// The last pieces between line ends, as Nova counts them: what follows the last line end is one, and mostly empty.
fn tail(log: &str, pieces: Option<u64>) -> String {
    let Some(pieces) = pieces.and_then(|pieces| usize::try_from(pieces).ok()) else { return log.to_owned() };
    let all: Vec<&str> = log.split('\n').collect();
    all[all.len().saturating_sub(pieces)..].join("\n")
}

/// Nova allows a number, text of a number, or nothing; less than nothing means all.
fn lines(tail: &Value) -> Option<u64> {
    match tail {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_tail_is_cut_as_novas() {
        assert_eq!(tail("a\nb\nc\n", Some(3)), "b\nc\n");
        assert_eq!(tail("a\nb\nc", Some(2)), "b\nc");
        assert_eq!(tail("a\n", Some(9)), "a\n");
        assert_eq!(tail("a\n", Some(0)), "");
        assert_eq!(tail("a\nb\n", None), "a\nb\n");
    }

    #[test]
    fn the_number_of_lines_comes_in_several_forms() {
        for (value, expected) in [
            (json!(10), Some(10)),
            (json!("7"), Some(7)),
            (json!(null), None),
            (json!(-1), None),
            (json!(0), Some(0)),
        ] {
            assert_eq!(lines(&value), expected, "{value}");
        }
    }
}
