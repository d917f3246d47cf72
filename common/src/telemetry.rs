//! Logging to standard error: one line per event, a plain sentence followed by its values.
//!
//! Field names are the same everywhere so that our lines can be joined with Nova's: `request_id`, `instance_uuid`,
//! `method`, `error` (always through `Chain`). Secrets have types whose `Debug` does not tell them.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Libraries whose `debug` lines tell about bytes and sockets, or print whole requests: never below `info`.
const LIBRARIES: [&str; 10] = [
    "bollard",
    "hyper",
    "hyper_util",
    "reqwest",
    "rustls",
    "lapin",
    "tokio_util",
    "mio",
    "actix_server",
    "actix_http",
];

/// Starts logging for this process; a second call does nothing.
///
/// `debug`: also tell what was looked at and left alone.
pub fn init(debug: bool) {
    let level = if debug { LevelFilter::DEBUG } else { LevelFilter::INFO };
    // Not EnvFilter: its regular expressions are half a megabyte of every process, for levels that we never write.
    let filter = Targets::new()
        .with_default(level)
        .with_targets(LIBRARIES.map(|library| (library, LevelFilter::INFO)))
        .with_target("actix_server", LevelFilter::WARN);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(debug);
    // Err means that a subscriber is set already (tests).
    let _ = tracing_subscriber::registry().with(lines).with(filter).try_init();
}
