//! Exit codes by kind of error, and the one place that prints an error.

use std::io::Write;
use std::process::ExitCode;

use common::config::Problems;

use crate::{apply, lock, render};

/// Something failed.
const FAILURE: u8 = 1;
/// A service did not become ready: partly up, the same command goes on.
const GATE: u8 = 3;
/// The configuration is wrong; nothing was touched.
const CONFIGURATION: u8 = 4;
/// Somebody else is at work.
const LOCKED: u8 = 6;

/// Several errors of one command.
#[derive(Debug)]
pub(crate) struct Many(pub(crate) Vec<anyhow::Error>);

impl std::fmt::Display for Many {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let texts: Vec<String> = self.0.iter().map(text).collect();
        f.write_str(&texts.join("\nerror: "))
    }
}

impl std::error::Error for Many {}

impl Many {
    /// One error as itself, several as one.
    pub(crate) fn of<E: std::error::Error + Send + Sync + 'static>(errors: Vec<E>) -> anyhow::Error {
        let mut errors: Vec<anyhow::Error> = errors.into_iter().map(anyhow::Error::new).collect();
        match errors.pop() {
            Some(only) if errors.is_empty() => only,
            Some(last) => {
                errors.push(last);
                anyhow::Error::new(Many(errors))
            }
            None => anyhow::Error::msg("it failed without saying why"),
        }
    }
}

/// Prints the error and returns its exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let code = code(error);
    let mut stderr = std::io::stderr();
    let _ = writeln!(stderr, "error: {}", text(error));
    if code == GATE {
        let _ = writeln!(
            stderr,
            "The platform is partly up. When the cause is removed, the same command goes on from here."
        );
    }
    ExitCode::from(code)
}

/// The error with its causes. A message that already holds its cause is not repeated.
fn text(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn code(error: &anyhow::Error) -> u8 {
    if let Some(Many(errors)) = error.downcast_ref() {
        // Any other failure is worse news than a gate.
        return errors.iter().map(code).min().unwrap_or(FAILURE);
    }
    if error.is::<Problems>() || error.is::<render::Error>() {
        return CONFIGURATION;
    }
    if let Some(lock::Error::Held { .. }) = error.downcast_ref() {
        return LOCKED;
    }
    match error.downcast_ref() {
        Some(apply::Error::Render(_) | apply::Error::Unknown { .. }) => CONFIGURATION,
        Some(error) if error.is_gate() => GATE,
        _ => FAILURE,
    }
}
