//! Support for the tests of OctOpenStack.
//!
//! * [`cloud`]: a user's view, over the public REST API and the deployer's binary
//! * [`host`]: the hypervisor's view, the containers behind the servers
//! * [`archive`]: small images made in memory

pub mod archive;
pub mod cloud;
pub mod host;
