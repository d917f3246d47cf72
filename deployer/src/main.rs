//! `octopenstack`: builds and runs an OpenStack control plane in Docker containers.
//!
//! ```text
//! cli (words) ─► settings (files, flags) ─► commands/<verb> ─► plan (pure: what is missing?) ─► apply (order, gates)
//!                                                                                              ├─ engine     Docker, folders
//!                                                                                              ├─ images     Dockerfiles
//!                                                                                              ├─ render     templates
//!                                                                                              └─ bootstrap  MariaDB, Keystone
//! ```

mod apply;
mod bench;
mod bootstrap;
mod cli;
mod cloud;
mod commands;
mod engine;
mod exit;
mod graph;
mod health;
mod images;
mod lock;
mod logins;
mod plan;
mod printer;
mod render;
mod settings;
mod versions;

use std::process::ExitCode;

fn main() -> ExitCode {
    common::tls::install();
    let cli = cli::Cli::from_environment();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&error.into()),
    };
    let code = match runtime.block_on(commands::run(cli)) {
        Ok(code) => code,
        Err(error) => exit::report(&error),
    };
    // A thread may still be reading standard input; nobody waits for it.
    runtime.shutdown_background();
    code
}

/// An error with its causes on one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    common::error_chain::Chain(error).to_string()
}
