//! Benchmarks: both sides in one run, a table with ratios at the end.
//!
//! * [`boot`]: the agent against nova-compute's fake driver and against plain Docker
//! * [`network`]: packets between instances against plain Docker's, and what a port adds to a boot
//! * [`console`]: from a key to its echo in an instance's console, and pages of the dashboard
//! * [`platform`]: how long the platform takes to come up, and what it takes of the machine

pub(crate) mod boot;
pub(crate) mod console;
mod firehose;
pub(crate) mod front;
pub(crate) mod network;
mod pages;
mod peers;
pub(crate) mod platform;
mod process;
mod record;
mod sides;
mod stats;
pub(crate) mod table;
mod websocket;

pub(crate) use sides::{Side, Sides, Subjects};

/// Why a benchmark has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The cloud did not do what was asked.
    #[error(transparent)]
    Cloud(#[from] crate::cloud::Error),
    /// Docker did not.
    #[error(transparent)]
    Docker(#[from] crate::engine::Error),
    /// The reference container could not be run.
    #[error("the container beside the instances could not be run")]
    Beside(#[from] bollard::errors::Error),
    /// Nova's database lets nobody in.
    #[error(transparent)]
    Database(#[from] crate::bootstrap::mysql::Error),
    /// Nova's database does not tell.
    #[error("the row of a server cannot be read in Nova's database")]
    Record(#[source] sqlx::Error),
    /// A boot takes too long.
    #[error("server {id} is neither ACTIVE nor in ERROR after {seconds} s")]
    Unsettled {
        /// The server.
        id: String,
        /// How long was waited.
        seconds: u64,
    },
    /// RabbitMQ's copy of the traffic cannot be had.
    #[error("cannot listen to RabbitMQ's traces")]
    Firehose(#[from] lapin::Error),
    /// The agent does not tell its metrics.
    #[error("the agent's metrics at {url} cannot be read")]
    Metrics {
        /// Where they were looked for.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The agent's metrics lack what is measured.
    #[error("{0} has no histogram of boots")]
    NoBoots(String),
    /// The agent's histogram did not move.
    #[error("the agent has counted none of the benchmark's boots")]
    NotMeasured,
    /// The way between two containers cannot be measured.
    #[error("cannot measure from container {from} to {to}")]
    Peers {
        /// Where the connection begins.
        from: String,
        /// The address it goes to.
        to: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A server has no address where it should have one.
    #[error("server {0} has no address")]
    NoAddress(String),
    /// Servers do not become as many as they should.
    #[error("there are {there} servers and not {wanted} after {seconds} s")]
    Count {
        /// How many there should be.
        wanted: u32,
        /// How many there are.
        there: i64,
        /// How long was waited.
        seconds: u64,
    },
    /// The dashboard's address does not answer.
    #[error("{url} does not answer")]
    Site {
        /// The dashboard.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// nova-serialproxy, or the load balancer, does not open a console.
    #[error("a console's URL is answered {0} and not with a WebSocket")]
    NoConsole(reqwest::StatusCode),
    /// Docker starts no shell in a server.
    #[error(transparent)]
    Shell(#[from] common::docker::Error),
    /// A shell does not show what is typed.
    #[error("a shell does not show what is typed into it")]
    Echo(#[source] std::io::Error),
    /// A page of the dashboard fails.
    #[error("the dashboard answers {path} with {status}")]
    Page {
        /// The page.
        path: String,
        /// Its answer.
        status: reqwest::StatusCode,
    },
    /// A container of the platform does not run.
    #[error("container {0} does not run")]
    NotRunning(String),
}
