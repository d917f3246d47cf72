//! Why an image cannot be used.

/// An error of the image store; each reads as a sentence for the user.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Glance has no such image, or not for this user (Nova: ImageNotFound).
    #[error("image {image} could not be found")]
    NotFound {
        /// Glance image id.
        image: String,
    },
    /// The image can never be booted here (Nova: ImageUnacceptable); `reason` is a clause.
    #[error("image {image} is unacceptable: {reason}")]
    Unacceptable {
        /// Glance image id.
        image: String,
        /// Why.
        reason: String,
    },
}
