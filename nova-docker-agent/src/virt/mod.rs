//! Nova's instances as Docker containers (Nova: `nova.virt.driver`).
//!
//! `spec.rs` decides what a container looks like and `error.rs` what dockerd's words mean (both pure), `driver.rs` does
//! it, `host.rs` looks at the machine, `lifecycle.rs` hears what happens to containers without us.

mod command_line;
mod cpu;
mod driver;
mod error;
mod guest_files;
mod host;
mod instance_spec;
mod lifecycle;
mod login;
mod power_state;
mod sandbox;
mod spec;

pub use driver::Driver;
pub use error::Error;
pub use host::{HostFacts, facts};
pub use instance_spec::InstanceSpec;
pub use lifecycle::{Event, LifecycleEvent};
pub use power_state::PowerState;
pub use sandbox::{Sandbox, Sandboxes, sandbox_name};
pub use spec::container_name;
