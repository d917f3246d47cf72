//! Brings an image from glance into Docker, once.

/// What Nova tells of an image (`ImageMeta`).
#[derive(Debug, Clone, Default)]
pub struct ImageRequest {
    /// Glance image id.
    pub id: String,
    /// `checksum` (MD5), part of the cache key when there is no `os_hash_value`.
    pub checksum: Option<String>,
    /// `os_hash_algo` (`sha512`); looked up in glance when absent, for Nova's ImageMeta does not carry it.
    pub os_hash_algo: Option<String>,
    /// `os_hash_value`
    pub os_hash_value: Option<String>,
    /// `size` in bytes.
    pub size: Option<u64>,
    /// `container_format`: must be `docker`.
    pub container_format: String,
    /// `disk_format`: must be `raw`.
    pub disk_format: String,
}

/// On whose behalf glance is asked.
#[derive(Clone, Copy, Default)]
pub struct OnBehalf<'a> {
    /// Token of the user who booted the instance; the service's own when absent.
    pub user_token: Option<&'a str>,
    /// Nova's request id.
    pub request_id: Option<&'a str>,
}

/// An image that Docker has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageHandle {
    /// Glance image id.
    pub image_id: String,
    /// Docker's image id (`sha256:…`).
    pub docker_id: String,
    /// Whether the image says what to run.
    pub has_command: bool,
}

/// The images of this host.
#[derive(Debug)]
pub struct ImageStore {}

impl ImageStore {
    /// Makes sure that Docker has the image. Zero calls when it is known already; one download for any number of callers.
    pub async fn ensure(
        &self,
        image: &ImageRequest,
        behalf: OnBehalf<'_>,
    ) -> Result<ImageHandle, super::Error> {
        let _ = behalf;
        Err(super::Error::NotFound { image: image.id.clone() })
    }

    /// The image, if a boot of it would not need glance.
    pub fn cached(&self, image_id: &str) -> Option<ImageHandle> {
        let _ = image_id;
        None
    }

    /// Drops what is remembered of the image (after [`crate::virt::Error::ImageGone`]).
    pub fn forget(&self, image_id: &str) {
        let _ = image_id;
    }
}
