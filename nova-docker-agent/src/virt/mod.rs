//! Nova's instances as Docker containers (Nova: `nova.virt.driver`).
//!
//! `spec.rs` decides what a container looks like, with what `wishes.rs` reads of its users and `grants.rs` of its operator,
//! and `error.rs` what dockerd's words mean (all pure), `driver.rs` does it, `setup/` fills a container before its first
//! start, `host.rs` looks at the machine, `lifecycle.rs` hears what happens to containers without us.

mod command_line;
mod commit;
mod config_drive;
mod cpu;
mod disk_device;
mod disk_io;
mod driver;
mod ephemeral;
mod error;
mod extra_specs;
mod freeze;
mod grants;
mod guest;
mod guest_files;
mod host;
mod instance_spec;
mod lifecycle;
mod moved;
mod password;
mod power_state;
mod processes;
mod rescue;
mod sandbox;
mod setup;
mod spec;
mod statistics;
mod terminal;
pub(crate) mod wishes;

pub use driver::Driver;
pub use ephemeral::in_place;
pub use error::Error;
pub use host::{HostFacts, facts};
pub use instance_spec::InstanceSpec;
pub use lifecycle::{Event, LifecycleEvent};
pub use password::PasswordError;
pub use power_state::PowerState;
pub use rescue::RescueDisk;
pub use sandbox::{Sandbox, Sandboxes, sandbox_name};
pub use setup::{GuestSetup, InjectedFile};
pub use spec::container_name;
pub use statistics::{NicStats, Statistics, Traffic};
