//! What `docker save` and `podman save` write: `manifest.json`, which names a configuration and layers.

use std::io::{Read, Seek};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::archive::{Blob, MAX_CONFIG, Parts, hex, missing, parse, read};
use super::members::{Fault, Members};

/// The file that names all others.
pub(super) const MANIFEST: &str = "manifest.json";

/// Largest [`MANIFEST`], in bytes.
const MAX_MANIFEST: u64 = 1024 * 1024;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    layers: Vec<String>,
}

/// The parts of the one image.
///
/// # Errors
/// [`Fault::Refused`] when there is not exactly one, or a part is not there.
pub(super) fn parts<F: Read + Seek>(file: &mut F, members: &Members) -> Result<Parts, Fault> {
    let manifest = manifest(file, members)?;
    let extent = members.file(&manifest.config).ok_or_else(|| missing("configuration", &manifest.config))?;
    let config = read(file, extent, MAX_CONFIG, "configuration")?;
    check_name(&manifest.config, &hex(&Sha256::digest(&config)))?;
    let blob = |name: String| match members.file(&name) {
        Some(extent) => Ok(Blob { name, extent, digest: None }),
        None => Err(missing("layer", &name)),
    };
    Ok(Parts { config, layers: manifest.layers.into_iter().map(blob).collect::<Result<_, _>>()? })
}

/// The one entry of `manifest.json`.
fn manifest<F: Read + Seek>(file: &mut F, members: &Members) -> Result<Entry, Fault> {
    let extent = members.file(MANIFEST).ok_or_else(|| {
        Fault::refused(
            "it has no manifest.json, as docker save writes it, and no oci-layout with index.json, as OCI's image \
             layout has them",
        )
    })?;
    let mut entries: Vec<Entry> = parse(&read(file, extent, MAX_MANIFEST, MANIFEST)?, MANIFEST)?;
    match (entries.pop(), entries.len()) {
        (Some(entry), 0) => Ok(entry),
        (Some(_), more) => Err(Fault::refused(format!("it holds {} images instead of one", more + 1))),
        (None, _) => Err(Fault::refused("it holds no image")),
    }
}

/// A configuration that is named after its digest must have it (`<digest>.json`, `blobs/sha256/<digest>`).
fn check_name(name: &str, digest: &str) -> Result<(), Fault> {
    let last = name.rsplit('/').next().unwrap_or(name);
    let named = last.strip_suffix(".json").unwrap_or(last);
    let is_digest = named.len() == 64 && named.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_digest && named != digest {
        return Err(Fault::refused(format!("its configuration is named {named} but its digest is {digest}")));
    }
    Ok(())
}
