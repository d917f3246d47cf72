//! Logging to standard error: one line per event, a plain sentence followed by its values.
//!
//! Field names are the same everywhere so that our lines can be joined with Nova's: `request_id`, `instance_uuid`,
//! `method`, `error` (always through `Chain`). Secrets have types whose `Debug` does not tell them.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Libraries whose `debug` lines tell about bytes and sockets, or print whole requests: never below these levels.
/// What the AMQP library meets comes back as an error and is logged by us, in our words.
const LIBRARIES: &str = "bollard=info,hyper=info,hyper_util=info,reqwest=info,rustls=info,lapin=off,\
                         async_global_executor=info,tokio_util=info,mio=info,actix_server=warn,actix_http=warn";

/// Starts logging for this process; a second call does nothing.
///
/// `debug`: also tell what was looked at and left alone.
pub fn init(debug: bool) {
    let level = if debug { "debug" } else { "info" };
    let filter = EnvFilter::new(format!("{level},{LIBRARIES}"));
    // Err means that a subscriber is set already (tests).
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(debug)
        .try_init();
}
