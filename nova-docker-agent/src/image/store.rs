//! Brings an image from glance into Docker, once.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use common::docker::Engine;
use common::openstack::glance::{Glance, ImageRecord, OnBehalf};

use super::archive::{self, Archive, Limits};
use super::error::Error;
use super::members::Fault;
use super::{load, stage};
use crate::config::Config;

/// Repository of our tags; a tenant's archive cannot choose its tag, so all in it are ours.
pub(super) const REPOSITORY: &str = "nova-image";

const GIB: u64 = 1024 * 1024 * 1024;

/// What Nova tells of an image (`ImageMeta`).
#[derive(Debug, Clone, Default)]
pub struct ImageRequest {
    /// Glance image id.
    pub id: String,
    /// `checksum`; looked up in glance when absent.
    pub checksum: Option<String>,
    /// `size` in bytes; looked up in glance when absent.
    pub size: Option<u64>,
    /// `container_format`: must be `docker`.
    pub container_format: String,
    /// `disk_format`: must be `raw`.
    pub disk_format: String,
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
pub struct ImageStore {
    pub(super) engine: Engine,
    glance: Glance,
    directory: PathBuf,
    max_bytes: u64,
    /// By glance image id. A slot's own lock is held while its image is fetched: one download for all who wait.
    slots: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Option<Known>>>>>,
}

/// An image that Docker had when we last looked.
#[derive(Debug, Clone)]
pub(super) struct Known {
    checksum: String,
    handle: ImageHandle,
}

impl ImageStore {
    /// A store that keeps archives in `state_path` while it checks them.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new(engine: Engine, glance: Glance, config: &Config) -> std::io::Result<Self> {
        let directory = config.state_path.join("images");
        stage::prepare(&directory)?;
        let max_bytes = config.docker.image_max_size_gb.saturating_mul(GIB);
        Ok(Self { engine, glance, directory, max_bytes, slots: Mutex::default() })
    }

    /// Makes sure that Docker has the image: no call at all when it is known, one download for any number of callers.
    ///
    /// # Errors
    /// A sentence for the user, whatever is wrong with the image, glance or this host.
    pub async fn ensure(&self, image: &ImageRequest, behalf: OnBehalf<'_>) -> Result<ImageHandle, Error> {
        check_format(&image.id, &image.container_format, &image.disk_format)?;
        let slot = self.slot(&image.id);
        let mut known = slot.lock().await;
        if let Some(known) = known.as_ref()
            && image.checksum.as_ref().is_none_or(|checksum| *checksum == known.checksum)
        {
            return Ok(known.handle.clone());
        }
        let (found, _) = self.find_or_fetch(image, behalf).await?;
        Ok(known.insert(found).handle.clone())
    }

    /// Makes sure that Docker has the image whatever it is; false when it had it already.
    ///
    /// # Errors
    /// As [`ImageStore::ensure`].
    pub async fn cache(&self, image_id: &str, behalf: OnBehalf<'_>) -> Result<bool, Error> {
        let slot = self.slot(image_id);
        let mut known = slot.lock().await;
        // What is remembered may have been removed behind our back.
        let request = ImageRequest { id: image_id.to_owned(), ..ImageRequest::default() };
        let (found, fetched) = self.find_or_fetch(&request, behalf).await?;
        *known = Some(found);
        Ok(fetched)
    }

    /// What glance says of an image now: what a container needs in order to be made from it, and its properties.
    ///
    /// # Errors
    /// As [`ImageStore::ensure`].
    pub async fn describe(
        &self,
        image_id: &str,
        behalf: OnBehalf<'_>,
    ) -> Result<(ImageRequest, BTreeMap<String, String>), Error> {
        let request = ImageRequest { id: image_id.to_owned(), ..ImageRequest::default() };
        let record = self.record(&request, behalf).await?;
        let properties = record.properties();
        let request = ImageRequest {
            id: record.id,
            checksum: record.checksum,
            size: record.size,
            container_format: record.container_format.unwrap_or_default(),
            disk_format: record.disk_format.unwrap_or_default(),
        };
        Ok((request, properties))
    }

    /// The image, if a boot of it would need no download; None also while it is being fetched.
    pub fn cached(&self, image_id: &str) -> Option<ImageHandle> {
        let slot = self.slots.lock().ok()?.get(image_id)?.clone();
        let known = slot.try_lock().ok()?;
        known.as_ref().map(|known| known.handle.clone())
    }

    /// Drops what is remembered of the image (after [`crate::virt::Error::ImageGone`]).
    pub async fn forget(&self, image_id: &str) {
        *self.slot(image_id).lock().await = None;
    }

    pub(super) fn slot(&self, image_id: &str) -> Arc<tokio::sync::Mutex<Option<Known>>> {
        // A panic while the map was held cannot have left it half-changed.
        let mut slots = self.slots.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        slots.entry(image_id.to_owned()).or_default().clone()
    }

    /// The image, and whether it had to be fetched.
    async fn find_or_fetch(
        &self,
        image: &ImageRequest,
        behalf: OnBehalf<'_>,
    ) -> Result<(Known, bool), Error> {
        if let Some(checksum) = &image.checksum
            && let Some(handle) = self.find(&image.id, checksum).await?
        {
            return Ok((Known { checksum: checksum.clone(), handle }, false));
        }
        let record = self.record(image, behalf).await?;
        let checksum = checksum_of(&record);
        if image.checksum.is_none()
            && let Some(handle) = self.find(&image.id, &checksum).await?
        {
            return Ok((Known { checksum, handle }, false));
        }
        let handle = self.fetch(&record, &checksum, behalf).await?;
        Ok((Known { checksum, handle }, true))
    }

    /// The image that an earlier run of the agent has brought.
    async fn find(&self, image_id: &str, checksum: &str) -> Result<Option<ImageHandle>, Error> {
        match self.engine.inspect_image(&tag(image_id, checksum)).await {
            Ok(found) => Ok(Some(ImageHandle {
                image_id: image_id.to_owned(),
                docker_id: found.id,
                has_command: !found.command.is_empty() || !found.entrypoint.is_empty(),
            })),
            Err(error) if error.is_not_found() => Ok(None),
            Err(source) => Err(Error::Docker { image: image_id.to_owned(), source }),
        }
    }

    /// Glance's record, if it describes an image that can be fetched.
    async fn record(&self, image: &ImageRequest, behalf: OnBehalf<'_>) -> Result<ImageRecord, Error> {
        let record =
            self.glance.show(&image.id, behalf).await.map_err(|e| Error::from_glance(&image.id, e))?;
        if record.status != "active" {
            return Err(Error::NotActive { image: image.id.clone(), status: record.status });
        }
        let format = |format: &Option<String>| format.clone().unwrap_or_default();
        check_format(&image.id, &format(&record.container_format), &format(&record.disk_format))?;
        Ok(record)
    }

    async fn fetch(
        &self,
        record: &ImageRecord,
        checksum: &str,
        behalf: OnBehalf<'_>,
    ) -> Result<ImageHandle, Error> {
        let docker = |source| Error::Docker { image: record.id.clone(), source };
        let info = self.engine.info().await.map_err(docker)?;
        let size = record.size.unwrap_or_default();
        if size > self.max_bytes {
            let (size, most) = (human(size), human(self.max_bytes));
            let reason = format!("it is {size} long, but this host takes {most} at most");
            return Err(Error::unacceptable(&record.id, reason));
        }
        stage::check_room(&record.id, size, &self.directory)?;
        stage::check_room(&record.id, size, info.root_dir.as_ref())?;
        tracing::info!(image = record.id, bytes = size, "fetches an image from glance");
        let bytes =
            self.glance.download(&record.id, behalf).await.map_err(|e| Error::from_glance(&record.id, e))?;
        let staged = stage::download(&self.directory, record, bytes).await?;
        let limits =
            Limits { max_bytes: self.max_bytes, architecture: docker_arch(&info.architecture).to_owned() };
        let archive = checked(&record.id, staged.path().to_owned(), limits).await?;
        stage::check_room(&record.id, archive.size(), info.root_dir.as_ref())?;
        let tag = tag(&record.id, checksum);
        let stream = load::stream(&archive, staged.path().to_owned(), &tag);
        self.engine.load_image(stream).await.map_err(docker)?;
        let loaded = self.engine.inspect_image(&tag).await.map_err(docker)?;
        tracing::info!(image = record.id, docker_id = loaded.id, "the image is in Docker");
        Ok(ImageHandle {
            image_id: record.id.clone(),
            docker_id: loaded.id,
            has_command: archive.has_command,
        })
    }
}

/// Checks the archive on a thread where hashing stops nobody.
async fn checked(image: &str, path: PathBuf, limits: Limits) -> Result<Archive, Error> {
    let staging = |source| Error::Staging { image: image.to_owned(), path: path.clone(), source };
    let opened = path.clone();
    let work = move || archive::check(&mut std::fs::File::open(opened)?, &limits);
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(archive)) => Ok(archive),
        Ok(Err(Fault::Refused(reason))) => Err(Error::unacceptable(image, reason)),
        Ok(Err(Fault::Io(source))) => Err(staging(source)),
        Err(panic) => Err(staging(std::io::Error::other(panic))),
    }
}

fn check_format(image: &str, container_format: &str, disk_format: &str) -> Result<(), Error> {
    if container_format == "docker" && disk_format == "raw" {
        return Ok(());
    }
    // In the first words what to do: a fault has room for 255 characters.
    let reason = format!(
        "its format is {container_format}/{disk_format}, but must be container_format docker, disk_format raw: what \
         docker save writes, or an archive of OCI's image layout"
    );
    Err(Error::unacceptable(image, reason))
}

/// What tells two contents of one image id apart.
fn checksum_of(record: &ImageRecord) -> String {
    record.checksum.clone().or_else(|| record.os_hash_value.clone()).unwrap_or_else(|| "none".into())
}

/// The only name that an image of glance has in Docker.
fn tag(image_id: &str, checksum: &str) -> String {
    let short: String = checksum.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
    format!("{REPOSITORY}/{}:{short}", image_id.to_ascii_lowercase())
}

/// Docker's name of a kernel's architecture.
fn docker_arch(kernel: &str) -> &str {
    match kernel {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Bytes as people write them.
pub(super) fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut tenths = bytes.saturating_mul(10);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} bytes")
    } else {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_people_write_them() {
        for (bytes, text) in [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (20 * GIB, "20.0 GiB")]
        {
            assert_eq!(human(bytes), text);
        }
        assert!(human(u64::MAX).ends_with("TiB"));
    }

    #[test]
    fn only_docker_archives_are_accepted() {
        check_format("i", "docker", "raw").unwrap();
        let error = check_format("i", "bare", "qcow2").unwrap_err().to_string();
        assert!(error.starts_with("image i is unacceptable: its format is bare/qcow2"), "{error}");
    }

    #[test]
    fn the_tag_names_image_and_content() {
        assert_eq!(tag("ABC-1", "0123456789abcdef"), "nova-image/abc-1:0123456789ab");
        assert_eq!(tag("i", "no/such:thing"), "nova-image/i:nosuchthing");
    }
}
