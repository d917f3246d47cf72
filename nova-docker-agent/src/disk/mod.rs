//! Moves the disk of a stopped instance from one agent to another.
//!
//! ```text
//! source                                                   destination
//! commit ─ spool.rs: the layers above the image's ─┐
//!          depot.rs: HTTPS, a key of this run ◄─── │ ─── fetch.rs: GET by digest, resumed by Range, checked
//!          Offer {url, certificate, token, …} ─────┴──RPC──► load.rs: docker load ─► the disk's name
//! ```
//! The offer travels over the broker, so who can read that can fetch the disk, as he could anything else of the cloud. The
//! certificate in it is the only one that the destination trusts; the token is good for one disk and gone with the transfer.
//! The ephemeral disk is one more file, an archive of its content (`virt/ephemeral.rs`).
//! A layer's digest is its name in the image's configuration, and the configuration's that of the image.

mod depot;
mod fetch;
mod load;
mod spool;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use depot::{Depot, Offered};
pub use fetch::{Arriving, Destination, fetch};

/// Why a disk does not move.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key or the server of this run.
    #[error("the server for disks that move cannot be started: {0}")]
    Serve(String),
    /// A file of ours.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The source does not answer, or does not hand it out.
    #[error("the disk cannot be fetched from {url}: {why}")]
    Fetch {
        /// Where it is.
        url: String,
        /// What happened last.
        why: String,
    },
    /// What came is not what was offered.
    #[error("what came as {digest} is something else")]
    Digest {
        /// What was asked for.
        digest: String,
    },
    /// The archive that Docker gave is not complete.
    #[error("Docker's archive of the disk lacks {0}")]
    Incomplete(String),
    /// An agent that is older than this part of the offer does so.
    #[error("the destination did not fetch the ephemeral disk; is its agent older than this host's?")]
    LeftBehind,
    /// There is no room for it.
    #[error("the disk needs {needed} bytes below {path}, where {free} are free")]
    NoRoom {
        /// Where.
        path: PathBuf,
        /// Its size.
        needed: u64,
        /// What is left.
        free: u64,
    },
    /// Docker.
    #[error(transparent)]
    Virt(#[from] crate::virt::Error),
}

impl Error {
    fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

/// What the source offers.
#[derive(Clone, Serialize, Deserialize)]
pub struct Offer {
    /// Below it each file lies under its digest.
    pub url: String,
    /// PEM of the certificate that the server has.
    pub certificate: String,
    /// The bearer's right to this disk.
    pub token: String,
    /// `sha256:…` of the image's configuration: Docker's id of the image.
    pub image: String,
    /// `sha256:…` of each layer as it is unpacked, the lowest first.
    pub layers: Vec<String>,
    /// `sha256:…` of the archive of what is on the ephemeral disk, if there is one.
    #[serde(default)]
    pub ephemeral: Option<String>,
    /// Bytes of the files that are ready; lower layers are made ready when somebody asks for one.
    pub size: u64,
}

/// The hexadecimal part of a digest.
fn hex(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

/// The folder of all moves; what is in it is worth nothing to the next run.
pub fn folder(state_path: &std::path::Path) -> PathBuf {
    state_path.join("moves")
}

/// Removes a folder of disks that move; one that stays takes room.
fn remove(folder: &std::path::Path) {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(folder = %folder.display(), %error, "what came of a disk stays until the next start");
        }
        _ => {}
    }
}
