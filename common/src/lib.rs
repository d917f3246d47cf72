//! What the deployer, the agent and the tests share.

pub mod docker;
pub mod openstack;
pub mod secret;
pub mod telemetry;
pub mod tls;
