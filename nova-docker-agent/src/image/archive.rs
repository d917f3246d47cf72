//! Checks that an archive is one Docker image whose parts are what its configuration says.

use std::io::{self, Read, Seek, SeekFrom};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::layer::{self, Layer};
use super::members::{Extent, Fault, Members, compression};
use super::{docker_archive, oci};

/// Largest image configuration, in bytes.
pub(super) const MAX_CONFIG: u64 = 4 * 1024 * 1024;

/// As many as Docker stacks.
const MAX_LAYERS: usize = 125;

/// What an image may be.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// Bytes of all layers together, unpacked.
    pub(super) max_bytes: u64,
    /// Docker's name of the host's architecture (`amd64`); any when empty.
    pub(super) architecture: String,
}

/// An image whose digests were checked.
#[derive(Debug)]
pub(super) struct Archive {
    /// The configuration as it is in the archive.
    pub(super) config: Vec<u8>,
    /// SHA-256 of the configuration, in hexadecimal.
    pub(super) config_digest: String,
    /// The layers, lowest first.
    pub(super) layers: Vec<Layer>,
    /// Whether the image says what to run.
    pub(super) has_command: bool,
}

impl Archive {
    /// Bytes of all layers, unpacked.
    pub(super) fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.len).sum()
    }
}

/// What the manifest of either format names.
pub(super) struct Parts {
    /// The configuration; its digest is as the manifest says, if that says any.
    pub(super) config: Vec<u8>,
    /// The layers, lowest first.
    pub(super) layers: Vec<Blob>,
}

/// A layer as it lies in the archive.
pub(super) struct Blob {
    /// Its name there.
    pub(super) name: String,
    pub(super) extent: Extent,
    /// Digest of its bytes as they lie there, when the manifest says it (`sha256:…`).
    pub(super) digest: Option<String>,
}

#[derive(Deserialize)]
struct ImageConfig {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    config: Option<Run>,
    rootfs: RootFs,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Run {
    cmd: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

/// Reads and checks the archive in `file`; takes as long as unpacking and hashing it takes.
///
/// # Errors
/// [`Fault::Refused`] with a clause about "it".
pub(super) fn check<F: Read + Seek>(file: &mut F, limits: &Limits) -> Result<Archive, Fault> {
    let len = file.seek(SeekFrom::End(0))?;
    refuse_compressed(file, len)?;
    file.seek(SeekFrom::Start(0))?;
    let members = Members::read(&mut *file, len)?;
    // Newer Dockers save both: then the plain one is taken, which is the one for this host.
    let parts = match members.file(docker_archive::MANIFEST) {
        None if oci::is_layout(&members) => oci::parts(file, &members, &limits.architecture)?,
        _ => docker_archive::parts(file, &members)?,
    };
    let parsed: ImageConfig = parse(&parts.config, "configuration")?;
    check_platform(&parsed, limits)?;
    let layers = layers(file, &parts.layers, &parsed, limits)?;
    let run = parsed.config.unwrap_or_default();
    let has_command = [run.cmd, run.entrypoint].into_iter().flatten().any(|words| !words.is_empty());
    let config_digest = hex(&Sha256::digest(&parts.config));
    Ok(Archive { config: parts.config, config_digest, layers, has_command })
}

fn refuse_compressed<F: Read + Seek>(file: &mut F, len: u64) -> Result<(), Fault> {
    match compression(&beginning(file, Extent { offset: 0, len })?) {
        Some(name) => {
            Err(Fault::refused(format!("it is compressed with {name}: upload it as docker save writes it")))
        }
        None => Ok(()),
    }
}

fn check_platform(config: &ImageConfig, limits: &Limits) -> Result<(), Fault> {
    if !config.os.is_empty() && config.os != "linux" {
        return Err(Fault::refused(format!("it is for {}, not for linux", shown(&config.os))));
    }
    let (image, host) = (&config.architecture, &limits.architecture);
    if !image.is_empty() && !host.is_empty() && image != host {
        let image = shown(image);
        return Err(Fault::refused(format!("it is for {image} processors, but this host has {host}")));
    }
    Ok(())
}

/// The layers in order, each with the digest that the configuration says.
fn layers<F: Read + Seek>(
    file: &mut F,
    blobs: &[Blob],
    config: &ImageConfig,
    limits: &Limits,
) -> Result<Vec<Layer>, Fault> {
    let (named, expected) = (blobs.len(), config.rootfs.diff_ids.len());
    if named != expected {
        return Err(Fault::refused(format!(
            "its manifest has {named} layers, but its configuration {expected}"
        )));
    }
    if named > MAX_LAYERS {
        return Err(Fault::refused(format!("it has {named} layers, but Docker stacks {MAX_LAYERS} at most")));
    }
    // Named twice, a layer is unpacked twice: so the sum is checked, not the length of the archive.
    let packed = blobs.iter().fold(0_u64, |sum, blob| sum.saturating_add(blob.extent.len));
    if packed > limits.max_bytes {
        let (packed, most) = (super::store::human(packed), super::store::human(limits.max_bytes));
        return Err(Fault::refused(format!(
            "its layers are {packed} long, but this host takes {most} at most"
        )));
    }
    let mut room = limits.max_bytes;
    let mut layers = Vec::new();
    for (blob, diff_id) in blobs.iter().zip(&config.rootfs.diff_ids) {
        let name = shown(&blob.name);
        let wrong = |actual: &str, expected: &str| {
            let expected = shown(expected);
            Fault::refused(format!("the digest of its layer {name:?} is {actual}, but should be {expected}"))
        };
        if let Some(expected) = &blob.digest {
            let actual = format!("sha256:{}", digest(file, blob.extent)?);
            if actual != *expected {
                return Err(wrong(&actual, expected));
            }
        }
        let (layer, actual) = layer::measure(file, (name, blob.extent), room, limits.max_bytes)?;
        if actual != *diff_id {
            return Err(wrong(&actual, diff_id));
        }
        room -= layer.len;
        layers.push(layer);
    }
    Ok(layers)
}

/// The first bytes of a part of the file: enough to tell compressions apart.
pub(super) fn beginning<F: Read + Seek>(file: &mut F, extent: Extent) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(extent.len).unwrap_or(usize::MAX).min(6)];
    file.seek(SeekFrom::Start(extent.offset))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A part of at most `most` bytes, called `what`.
pub(super) fn read<F: Read + Seek>(
    file: &mut F,
    extent: Extent,
    most: u64,
    what: &str,
) -> Result<Vec<u8>, Fault> {
    if extent.len > most {
        return Err(Fault::refused(format!("its {what} is {} bytes long", extent.len)));
    }
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(extent.offset))?;
    file.take(extent.len).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The JSON of a part called `what`; nesting without end is refused by the parser.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, Fault> {
    serde_json::from_slice(bytes)
        .map_err(|error| Fault::refused(format!("its {what} cannot be understood ({error})")))
}

/// What to say when a part called `what` is not there.
pub(super) fn missing(what: &str, name: &str) -> Fault {
    Fault::refused(format!("its {what} {:?} is not in the archive", shown(name)))
}

/// As much of a tenant's text as fits into a sentence.
pub(super) fn shown(text: &str) -> &str {
    text.char_indices().nth(100).map_or(text, |(end, _)| &text[..end])
}

/// SHA-256 of a part of the file, in hexadecimal.
fn digest<F: Read + Seek>(file: &mut F, extent: Extent) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    file.seek(SeekFrom::Start(extent.offset))?;
    let mut part = file.take(extent.len);
    loop {
        match part.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}

/// Hexadecimal digits of a digest.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
pub(super) mod tests;
