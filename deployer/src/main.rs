//! `octopenstack`: builds and runs an OpenStack control plane in Docker containers.
fn main() {}
