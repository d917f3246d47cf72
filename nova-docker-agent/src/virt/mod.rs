//! Nova's instances as Docker containers (Nova: `nova.virt.driver`).
//!
//! `spec.rs` decides what a container looks like (pure), `driver.rs` does it, `host.rs` looks at the machine,
//! `lifecycle.rs` hears what happens to containers without us.

mod driver;
mod error;
mod host;
mod instance_spec;
mod lifecycle;
mod power_state;

pub use driver::Driver;
pub use error::Error;
pub use host::{HostFacts, facts};
pub use instance_spec::InstanceSpec;
pub use lifecycle::{Event, LifecycleEvent};
pub use power_state::PowerState;
