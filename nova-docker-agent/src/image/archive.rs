//! Checks that an archive is one Docker image whose parts are what its configuration says.

use std::io::{self, Read, Seek, SeekFrom};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::members::{Extent, Fault, Members, compression};

/// Largest `manifest.json`, in bytes.
const MAX_MANIFEST: u64 = 1024 * 1024;

/// Largest image configuration, in bytes.
const MAX_CONFIG: u64 = 4 * 1024 * 1024;

/// As many as Docker stacks.
const MAX_LAYERS: usize = 125;

/// What an image may be.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// Bytes of all layers together.
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
    pub(super) layers: Vec<Extent>,
    /// Whether the image says what to run.
    pub(super) has_command: bool,
}

impl Archive {
    /// Bytes of all layers.
    pub(super) fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.len).sum()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestEntry {
    config: String,
    #[serde(default)]
    layers: Vec<String>,
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

/// Reads and checks the archive in `file`; takes as long as hashing it takes.
///
/// # Errors
/// [`Fault::Refused`] with a clause about "it".
pub(super) fn check<F: Read + Seek>(file: &mut F, limits: &Limits) -> Result<Archive, Fault> {
    let len = file.seek(SeekFrom::End(0))?;
    refuse_compressed(file, Extent { offset: 0, len }, "it is", "upload it as docker save writes it")?;
    file.seek(SeekFrom::Start(0))?;
    let members = Members::read(&mut *file, len)?;
    let manifest = manifest(file, &members)?;
    let extent = members.file(&manifest.config).ok_or_else(|| missing("configuration", &manifest.config))?;
    let config = read(file, extent, MAX_CONFIG, "configuration")?;
    let config_digest = hex(&Sha256::digest(&config));
    check_name(&manifest.config, &config_digest)?;
    let parsed: ImageConfig = parse(&config, "configuration")?;
    check_platform(&parsed, limits)?;
    let layers = layers(file, &members, &manifest, &parsed, limits)?;
    let run = parsed.config.unwrap_or_default();
    let has_command = [run.cmd, run.entrypoint].into_iter().flatten().any(|words| !words.is_empty());
    Ok(Archive { config, config_digest, layers, has_command })
}

/// The one entry of `manifest.json`.
fn manifest<F: Read + Seek>(file: &mut F, members: &Members) -> Result<ManifestEntry, Fault> {
    let extent = members
        .file("manifest.json")
        .ok_or_else(|| Fault::refused("it has no manifest.json, so it is not what docker save writes"))?;
    let mut entries: Vec<ManifestEntry> =
        parse(&read(file, extent, MAX_MANIFEST, "manifest.json")?, "manifest.json")?;
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

fn check_platform(config: &ImageConfig, limits: &Limits) -> Result<(), Fault> {
    if !config.os.is_empty() && config.os != "linux" {
        return Err(Fault::refused(format!("it is for {}, not for linux", config.os)));
    }
    let (image, host) = (&config.architecture, &limits.architecture);
    if !image.is_empty() && !host.is_empty() && image != host {
        return Err(Fault::refused(format!("it is for {image} processors, but this host has {host}")));
    }
    Ok(())
}

/// The layers in order, each with the digest that the configuration says.
fn layers<F: Read + Seek>(
    file: &mut F,
    members: &Members,
    manifest: &ManifestEntry,
    config: &ImageConfig,
    limits: &Limits,
) -> Result<Vec<Extent>, Fault> {
    let (named, expected) = (manifest.layers.len(), config.rootfs.diff_ids.len());
    if named != expected {
        return Err(Fault::refused(format!(
            "its manifest has {named} layers, but its configuration {expected}"
        )));
    }
    if named > MAX_LAYERS {
        return Err(Fault::refused(format!("it has {named} layers, but Docker stacks {MAX_LAYERS} at most")));
    }
    let extents: Vec<Extent> = manifest
        .layers
        .iter()
        .map(|name| members.file(name).ok_or_else(|| missing("layer", name)))
        .collect::<Result<_, _>>()?;
    // Named twice, a layer is unpacked twice: so the sum is checked, not the length of the archive.
    let total = extents.iter().fold(0_u64, |sum, extent| sum.saturating_add(extent.len));
    if total > limits.max_bytes {
        let (total, most) = (super::store::human(total), super::store::human(limits.max_bytes));
        return Err(Fault::refused(format!(
            "its layers are {total} long, but this host takes {most} at most"
        )));
    }
    for ((extent, diff_id), name) in extents.iter().zip(&config.rootfs.diff_ids).zip(&manifest.layers) {
        refuse_compressed(
            file,
            *extent,
            &format!("its layer {name:?} is"),
            "save it with uncompressed layers",
        )?;
        let digest = format!("sha256:{}", digest(file, *extent)?);
        if digest != *diff_id {
            return Err(Fault::refused(format!(
                "the digest of its layer {name:?} is {digest}, but should be {diff_id}"
            )));
        }
    }
    Ok(extents)
}

fn refuse_compressed<F: Read + Seek>(
    file: &mut F,
    extent: Extent,
    what: &str,
    advice: &str,
) -> Result<(), Fault> {
    let mut beginning = [0; 6];
    let count = usize::try_from(extent.len).unwrap_or(usize::MAX).min(beginning.len());
    file.seek(SeekFrom::Start(extent.offset))?;
    file.read_exact(&mut beginning[..count])?;
    match compression(&beginning[..count]) {
        Some(name) => Err(Fault::refused(format!("{what} compressed with {name}: {advice}"))),
        None => Ok(()),
    }
}

fn read<F: Read + Seek>(file: &mut F, extent: Extent, most: u64, what: &str) -> Result<Vec<u8>, Fault> {
    if extent.len > most {
        return Err(Fault::refused(format!("its {what} is {} bytes long", extent.len)));
    }
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(extent.offset))?;
    file.take(extent.len).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, Fault> {
    serde_json::from_slice(bytes)
        .map_err(|error| Fault::refused(format!("its {what} cannot be understood ({error})")))
}

fn missing(what: &str, name: &str) -> Fault {
    Fault::refused(format!("its {what} {name:?} is not in the archive"))
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
mod tests {
    use std::io::Cursor;

    use serde_json::{Value, json};

    use super::*;

    /// An archive as `docker save` writes it, whose parts a test may spoil.
    struct Saved {
        config: Value,
        config_name: Option<String>,
        layers: Vec<(String, Vec<u8>)>,
        manifest: Option<Value>,
    }

    impl Saved {
        fn new() -> Self {
            let layers: Vec<(String, Vec<u8>)> =
                vec![("a/layer.tar".into(), vec![1; 1000]), ("b/layer.tar".into(), vec![2; 600])];
            let diff_ids: Vec<String> =
                layers.iter().map(|(_, data)| format!("sha256:{}", hex(&Sha256::digest(data)))).collect();
            let config = json!({
                "architecture": "amd64", "os": "linux", "config": { "Cmd": ["/sbin/init"], "Entrypoint": null },
                "rootfs": { "type": "layers", "diff_ids": diff_ids }
            });
            Self { config, config_name: None, layers, manifest: None }
        }

        fn bytes(&self) -> Vec<u8> {
            let config = self.config.to_string().into_bytes();
            let name =
                self.config_name.clone().unwrap_or_else(|| format!("{}.json", hex(&Sha256::digest(&config))));
            let layers: Vec<&String> = self.layers.iter().map(|(name, _)| name).collect();
            let manifest = self.manifest.clone().unwrap_or_else(
                || json!([{ "Config": name, "RepoTags": ["host-image:latest"], "Layers": layers }]),
            );
            let mut tar = tar::Builder::new(Vec::new());
            let mut add = |name: &str, data: &[u8]| {
                let mut header = tar::Header::new_gnu();
                header.set_size(data.len() as u64);
                header.set_mode(0o644);
                tar.append_data(&mut header, name, data).unwrap();
            };
            for (name, data) in &self.layers {
                add(name, data);
            }
            add(&name, &config);
            add("manifest.json", manifest.to_string().as_bytes());
            tar.into_inner().unwrap()
        }
    }

    fn limits() -> Limits {
        Limits { max_bytes: 10_000, architecture: "amd64".into() }
    }

    fn refusal(saved: &Saved) -> String {
        refusal_of(saved.bytes())
    }

    fn refusal_of(bytes: Vec<u8>) -> String {
        match check(&mut Cursor::new(bytes), &limits()) {
            Err(Fault::Refused(clause)) => clause,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    #[test]
    fn what_docker_save_writes_is_accepted() {
        let archive = check(&mut Cursor::new(Saved::new().bytes()), &limits()).unwrap();
        assert_eq!(archive.layers.iter().map(|layer| layer.len).collect::<Vec<_>>(), [1000, 600]);
        assert_eq!(archive.size(), 1600);
        assert!(archive.has_command);
        assert_eq!(archive.config_digest, hex(&Sha256::digest(&archive.config)));
    }

    #[test]
    fn a_file_that_is_no_archive_is_refused() {
        assert!(refusal_of(b"#!/bin/sh\necho hello\n".repeat(100)).contains("no intact tar archive"));
        assert!(refusal_of(vec![0; 4096]).contains("no manifest.json"));
        assert!(refusal_of(Vec::new()).contains("no manifest.json"));
        assert_eq!(
            refusal_of(vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0]),
            "it is compressed with gzip: upload it as docker save writes it"
        );
    }

    #[test]
    fn one_image_and_no_more() {
        let mut saved = Saved::new();
        saved.manifest = Some(json!([{ "Config": "x", "Layers": [] }, { "Config": "y", "Layers": [] }]));
        assert_eq!(refusal(&saved), "it holds 2 images instead of one");
        saved.manifest = Some(json!([]));
        assert_eq!(refusal(&saved), "it holds no image");
        saved.manifest = Some(json!({ "schemaVersion": 2 }));
        assert!(refusal(&saved).contains("manifest.json cannot be understood"));
    }

    #[test]
    fn digests_must_be_right() {
        let mut saved = Saved::new();
        saved.layers[1].1[0] = 9;
        assert!(refusal(&saved).starts_with("the digest of its layer \"b/layer.tar\" is sha256:"));
        let mut saved = Saved::new();
        saved.config_name = Some(format!("blobs/sha256/{}", "0".repeat(64)));
        assert!(refusal(&saved).contains("its configuration is named 0000"));
    }

    #[test]
    fn every_part_must_be_there() {
        let mut saved = Saved::new();
        saved.manifest = Some(json!([{ "Config": "missing.json", "Layers": [] }]));
        assert_eq!(refusal(&saved), "its configuration \"missing.json\" is not in the archive");
        let mut saved = Saved::new();
        saved.config["rootfs"]["diff_ids"] = json!([]);
        assert_eq!(refusal(&saved), "its manifest has 2 layers, but its configuration 0");
    }

    #[test]
    fn parts_may_not_be_taken_from_outside() {
        let mut saved = Saved::new();
        saved.manifest = Some(json!([{ "Config": "../../etc/shadow", "Layers": [] }]));
        assert!(refusal(&saved).contains("is not in the archive"));
    }

    #[test]
    fn layers_count_as_often_as_they_are_named() {
        let mut saved = Saved::new();
        let (name, data) = saved.layers[0].clone();
        let diff_id = format!("sha256:{}", hex(&Sha256::digest(&data)));
        saved.config["rootfs"]["diff_ids"] = json!(vec![diff_id; 20]);
        let config = saved.config.to_string().into_bytes();
        let config_name = format!("{}.json", hex(&Sha256::digest(&config)));
        saved.manifest = Some(json!([{ "Config": config_name, "Layers": vec![name; 20] }]));
        assert_eq!(refusal(&saved), "its layers are 19.5 KiB long, but this host takes 9.7 KiB at most");
    }

    #[test]
    fn compressed_layers_are_refused() {
        let mut saved = Saved::new();
        saved.layers[0].1[..2].copy_from_slice(&[0x1f, 0x8b]);
        assert!(refusal(&saved).contains("layer \"a/layer.tar\" is compressed with gzip"));
    }

    #[test]
    fn another_platform_is_refused() {
        let mut saved = Saved::new();
        saved.config["architecture"] = json!("arm64");
        assert_eq!(refusal(&saved), "it is for arm64 processors, but this host has amd64");
        saved.config["os"] = json!("windows");
        assert_eq!(refusal(&saved), "it is for windows, not for linux");
    }
}
