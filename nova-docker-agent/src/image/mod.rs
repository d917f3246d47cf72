//! Glance images in Docker (Nova: `nova.image.glance` and the image cache).
//!
//! ```text
//! store.ensure ─► known? ─► Docker has our tag? ─► glance: record ─► room? ─► stage.rs: download, hash ─┐
//!     ▲                                                                                                  ▼
//!     └── handle ◄── inspect ◄── docker load of load.rs's own archive ◄── archive.rs: walk, check every digest
//! ```
//! What a tenant uploads reaches dockerd only as bytes of layers and configuration whose digests were checked, in an
//! archive of our own making: no file name, link or tag of the tenant's is passed on.
//!
//! Accepted is `container_format=docker`, `disk_format=raw`: an archive as `docker save` or `podman save` write it,
//! of one image, not compressed, with layers that are not compressed either. (Their sizes could not be trusted
//! before they are unpacked, and dockerd would unpack them without a limit.)

mod archive;
mod error;
mod load;
mod members;
mod stage;
mod store;

pub(crate) use archive::hex;
pub use common::openstack::glance::OnBehalf;
pub use error::Error;
pub use store::{ImageHandle, ImageRequest, ImageStore};
