//! OCI's image layout in an archive, as `skopeo copy … oci-archive:` and `docker buildx build --output type=oci` write it:
//! `oci-layout`, `index.json`, and everything else by its digest below `blobs/`.

use std::collections::BTreeSet;
use std::io::{Read, Seek};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::archive::{Blob, MAX_CONFIG, Parts, hex, missing, parse, read, shown};
use super::members::{Extent, Fault, Members};

/// The file that says that it is one.
const LAYOUT: &str = "oci-layout";

/// The file that leads to all others.
const INDEX: &str = "index.json";

/// Largest index or manifest, in bytes (what registries take).
const MAX_MANIFEST: u64 = 4 * 1024 * 1024;

/// Indexes that lead to indexes.
const MAX_INDEXES: usize = 4;

/// What says that a descriptor is of an index.
const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layout {
    image_layout_version: String,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Deserialize, Clone, Debug)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    variant: String,
}

/// Whether the archive is of this format.
pub(super) fn is_layout(members: &Members) -> bool {
    members.file(LAYOUT).is_some() && members.file(INDEX).is_some()
}

/// The parts of the one image for this host.
///
/// # Errors
/// [`Fault::Refused`] when there is not exactly one, or a part is not there or not what its digest says.
pub(super) fn parts<F: Read + Seek>(
    file: &mut F,
    members: &Members,
    architecture: &str,
) -> Result<Parts, Fault> {
    let mut whole = |name: &str| match members.file(name) {
        Some(extent) => read(file, extent, MAX_MANIFEST, name),
        None => Err(missing("file", name)),
    };
    let layout: Layout = parse(&whole(LAYOUT)?, LAYOUT)?;
    if !layout.image_layout_version.starts_with("1.") {
        let version = shown(&layout.image_layout_version);
        return Err(Fault::refused(format!("its layout has version {version:?}, but 1.0.0 is known")));
    }
    let mut index: Index = parse(&whole(INDEX)?, INDEX)?;
    for _ in 0..MAX_INDEXES {
        let chosen = choose(&index, architecture)?;
        let what = if is_index(&chosen) { "index" } else { "manifest" };
        let bytes = blob(file, members, &chosen, (what, MAX_MANIFEST))?;
        if !is_index(&chosen) {
            return named(file, members, &parse(&bytes, what)?);
        }
        index = parse(&bytes, what)?;
    }
    Err(Fault::refused("its indexes lead to indexes without end"))
}

fn is_index(descriptor: &Descriptor) -> bool {
    INDEXES.contains(&descriptor.media_type.as_str())
}

/// Configuration and layers of a manifest.
fn named<F: Read + Seek>(file: &mut F, members: &Members, manifest: &Manifest) -> Result<Parts, Fault> {
    let config = blob(file, members, &manifest.config, ("configuration", MAX_CONFIG))?;
    let layer = |descriptor: &Descriptor| {
        let (name, extent) = find(members, descriptor, "layer")?;
        Ok(Blob { name, extent, digest: Some(descriptor.digest.clone()) })
    };
    Ok(Parts { config, layers: manifest.layers.iter().map(layer).collect::<Result<_, Fault>>()? })
}

/// What an index has for linux on this architecture (any when empty). What says no platform is taken to fit: the image's
/// configuration is asked later.
fn choose(index: &Index, architecture: &str) -> Result<Descriptor, Fault> {
    let fits = |descriptor: &&Descriptor| match &descriptor.platform {
        None => true,
        Some(platform) => {
            platform.os == "linux" && (architecture.is_empty() || platform.architecture == architecture)
        }
    };
    let plain = |descriptor: &&Descriptor| {
        descriptor.platform.as_ref().is_none_or(|platform| platform.variant.is_empty())
    };
    let mut fitting: Vec<&Descriptor> = index.manifests.iter().filter(fits).collect();
    // amd64/v3 beside amd64: the plain one runs on every processor.
    if fitting.iter().any(plain) {
        fitting.retain(plain);
    }
    let different: BTreeSet<&str> = fitting.iter().map(|descriptor| descriptor.digest.as_str()).collect();
    match (fitting.first(), different.len()) {
        (Some(one), 1) => Ok((*one).clone()),
        (Some(_), many) => Err(Fault::refused(format!("it holds {many} images instead of one"))),
        (None, _) if index.manifests.is_empty() => Err(Fault::refused("it holds no image")),
        (None, _) => {
            let platforms: BTreeSet<String> = index.manifests.iter().filter_map(name_of_platform).collect();
            let platforms = platforms.into_iter().collect::<Vec<_>>().join(", ");
            let platforms = shown(&platforms);
            Err(Fault::refused(format!("it is for {platforms}, but this host is linux/{architecture}")))
        }
    }
}

fn name_of_platform(descriptor: &Descriptor) -> Option<String> {
    descriptor.platform.as_ref().map(|platform| format!("{}/{}", platform.os, platform.architecture))
}

/// Where a blob lies, called `what`.
fn find(members: &Members, descriptor: &Descriptor, what: &str) -> Result<(String, Extent), Fault> {
    let digest = &descriptor.digest;
    let hexadecimal = digest.strip_prefix("sha256:").filter(|digits| {
        digits.len() == 64 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    });
    let Some(hexadecimal) = hexadecimal else {
        return Err(Fault::refused(format!("the digest of its {what} is {:?}, no sha256", shown(digest))));
    };
    let name = format!("blobs/sha256/{hexadecimal}");
    let extent = members.file(&name).ok_or_else(|| missing(what, &name))?;
    if extent.len != descriptor.size {
        let (is, should) = (extent.len, descriptor.size);
        return Err(Fault::refused(format!(
            "its {what} {name:?} is {is} bytes long, but should be {should}"
        )));
    }
    Ok((name, extent))
}

/// The bytes of a small blob, called `what`, whose digest is right.
fn blob<F: Read + Seek>(
    file: &mut F,
    members: &Members,
    descriptor: &Descriptor,
    (what, most): (&str, u64),
) -> Result<Vec<u8>, Fault> {
    let (name, extent) = find(members, descriptor, what)?;
    let bytes = read(file, extent, most, what)?;
    let digest = format!("sha256:{}", hex(&Sha256::digest(&bytes)));
    if digest != descriptor.digest {
        let expected = &descriptor.digest;
        return Err(Fault::refused(format!(
            "the digest of its {what} {name:?} is {digest}, but should be {expected}"
        )));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
