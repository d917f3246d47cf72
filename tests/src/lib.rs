//! Support for the tests of OctOpenStack.
//!
//! * [`cloud`]: a user's view, over the public REST API and the deployer's binary
//! * [`host`]: the hypervisor's view, the containers behind the servers
//! * [`agent`]: an operator's view, an agent of his own beside the cloud
//! * [`archive`]: small images made in memory
//! * [`network`]: what tests of networks make, boot and see
//! * [`platform`]: the names of the platform under test

pub mod agent;
pub mod archive;
pub mod cloud;
pub mod host;
pub mod network;
pub mod platform;
