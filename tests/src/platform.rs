//! The platform under test by its names, so that no test has them written in.

use std::sync::OnceLock;

use anyhow::Result;
use serde_json::Value;

use crate::cloud::{octopenstack_ok, text};

/// The name of the platform under test.
///
/// # Errors
/// When it does not run.
pub fn project() -> Result<&'static str> {
    static PROJECT: OnceLock<String> = OnceLock::new();
    if let Some(project) = PROJECT.get() {
        return Ok(project);
    }
    let status: Value = serde_json::from_str(&octopenstack_ok(&["status", "--json"])?)?;
    Ok(PROJECT.get_or_init(|| text(&status["project"]).to_owned()))
}

/// The container of one of its services, as `openvswitch`.
///
/// # Errors
/// When the platform does not run.
pub fn container(service: &str) -> Result<String> {
    Ok(format!("{}-{service}", project()?))
}
