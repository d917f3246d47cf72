//! What the deployer, the agent and the tests share.

pub mod config;
pub mod contact;
pub mod docker;
pub mod error_chain;
pub mod ids;
pub mod messaging;
pub mod objects;
pub mod openstack;
pub mod retry;
pub mod secret;
pub mod shutdown;
pub mod telemetry;
pub mod tls;
