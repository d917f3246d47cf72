//! Glance images in Docker (Nova: `nova.image.glance` and the image cache).

mod error;
mod store;

pub use error::Error;
pub use store::{ImageHandle, ImageRequest, ImageStore, OnBehalf};
