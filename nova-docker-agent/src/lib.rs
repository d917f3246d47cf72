//! `nova-docker-agent`: takes the place of nova-compute.

pub mod config;
pub mod http;
pub mod image;
pub mod metrics;
pub mod resources;
#[cfg(test)]
mod test_support;
pub mod virt;
