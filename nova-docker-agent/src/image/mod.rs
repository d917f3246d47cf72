//! Glance images in Docker (Nova: `nova.image.glance` and the image cache).
//!
//! ```text
//! store.ensure ─► known? ─► Docker has our tag? ─► glance: record ─► room? ─► stage.rs: download, hash ─┐
//!     ▲                                                                                                  ▼
//!     └── handle ◄── inspect ◄── docker load of load.rs's own archive ◄── archive.rs: walk, unpack, check every digest
//! ```
//! What a tenant uploads reaches dockerd only as bytes of layers and configuration whose digests were checked, in an
//! archive of our own making: no file name, link or tag of the tenant's is passed on.
//!
//! Accepted is `container_format=docker`, `disk_format=raw`: an archive of one image, not compressed as a whole, as
//! `docker save` or `podman save` write it (`docker_archive.rs`), or of OCI's image layout (`oci.rs`), which dockerd 20.10
//! could not read. Layers may be compressed: dockerd would unpack them without a limit, so it is done here (`layer.rs`).

mod archive;
mod docker_archive;
mod error;
mod layer;
mod load;
mod members;
mod oci;
mod prune;
mod stage;
mod store;
mod upload;

pub(crate) use archive::hex;
pub use common::openstack::glance::OnBehalf;
pub use error::Error;
pub use prune::LastUsed;
pub use store::{ImageHandle, ImageRequest, ImageStore};
pub use upload::upload;
