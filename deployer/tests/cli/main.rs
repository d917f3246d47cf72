//! The deployer as its user meets it: what it prints, and the code it ends with. None of this needs a Docker engine.

mod bad_configuration;
mod bad_surroundings;
mod daemon;
mod project;
mod render;

use project::Project;
