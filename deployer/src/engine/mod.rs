//! Acts on Docker and on the host's folders: carries out one step each and decides nothing.

pub(crate) mod container;
pub(crate) mod docker;
pub(crate) mod exec;
pub(crate) mod files;
pub(crate) mod images;
pub(crate) mod logs;
pub(crate) mod observe;
pub(crate) mod ports;
pub(crate) mod resources;
pub(crate) mod routes;
mod save;
pub(crate) mod stats;

pub(crate) use docker::{Docker, Error, address};

/// Label with the project; the scope of everything: nothing without it is ever touched.
pub(crate) const PROJECT: &str = "io.octopenstack.project";
/// Label with the service.
pub(crate) const SERVICE: &str = "io.octopenstack.service";
/// Label with the kind: service, job, network, volume, image.
pub(crate) const KIND: &str = "io.octopenstack.kind";
/// Label with the hash of what was asked for.
pub(crate) const SPEC: &str = "io.octopenstack.spec";
/// Label with the hashes of the parts of what was asked for.
pub(crate) const PARTS: &str = "io.octopenstack.parts";
/// Label with the hash of what an image was built from.
pub(crate) const BUILD: &str = "io.octopenstack.build";
