//! The deployer as its user meets it: what it prints, and the code it ends with. None of this needs a Docker engine.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

mod bad_configuration;
mod bad_surroundings;
mod daemon;
mod project;
mod render;

use project::Project;
