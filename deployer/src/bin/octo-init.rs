//! `octo-init`: PID 1 of every service container.
fn main() {}
