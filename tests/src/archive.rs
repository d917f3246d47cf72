//! Small image archives made in memory, good and bad ones.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// An archive of one layer that holds `files` (path, contents, mode) and runs `command`, tagged `tag`.
///
/// # Errors
/// When the tar cannot be written.
pub fn docker_archive(tag: &str, command: &[&str], files: &[(&str, &[u8], u32)]) -> Result<Vec<u8>> {
    let layer = tar(files)?;
    let config = json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": command},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(&layer))]}, "history": [{}]})
    .to_string();
    let config_name = format!("{}.json", hex(config.as_bytes()));
    let manifest =
        json!([{"Config": config_name, "RepoTags": [tag], "Layers": ["layer/layer.tar"]}]).to_string();
    tar(&[
        (&config_name, config.as_bytes(), 0o644),
        ("layer/layer.tar", &layer, 0o644),
        ("manifest.json", manifest.as_bytes(), 0o644),
    ])
}

/// The image of a `docker save` archive as an archive of OCI's image layout, each layer compressed, beside an image for
/// another machine.
///
/// # Errors
/// When `saved` is no archive of one image.
pub fn oci_archive(saved: &[u8]) -> Result<Vec<u8>> {
    let mut members = BTreeMap::new();
    for entry in tar::Archive::new(saved).entries()? {
        let mut entry = entry?;
        let (name, mut data) = (entry.path()?.to_string_lossy().into_owned(), Vec::new());
        entry.read_to_end(&mut data)?;
        members.insert(name, data);
    }
    let member = |name: &Value| members.get(name.as_str().unwrap_or_default()).context("a part is missing");
    let manifest: Value = serde_json::from_slice(member(&json!("manifest.json"))?)?;
    let mut blobs = BTreeMap::new();
    let mut blob = |kind: &str, data: Vec<u8>| {
        let (digest, size) = (hex(&data), data.len());
        blobs.insert(format!("blobs/sha256/{digest}"), data);
        json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": format!("sha256:{digest}"), "size": size})
    };
    let config = blob("config.v1+json", member(&manifest[0]["Config"])?.clone());
    let mut layers = Vec::new();
    for name in manifest[0]["Layers"].as_array().context("no layers")? {
        let mut packed = Vec::new();
        flate2::read::GzEncoder::new(member(name)?.as_slice(), flate2::Compression::fast())
            .read_to_end(&mut packed)?;
        layers.push(blob("layer.v1.tar+gzip", packed));
    }
    let image = json!({"schemaVersion": 2, "config": config, "layers": layers}).to_string();
    let mut ours = blob("manifest.v1+json", image.into_bytes());
    ours["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let mut other = blob("manifest.v1+json", b"{}".to_vec());
    other["platform"] = json!({"os": "linux", "architecture": "riscv64"});
    let inner = json!({"schemaVersion": 2, "manifests": [other, ours]}).to_string();
    let index =
        json!({"schemaVersion": 2, "manifests": [blob("index.v1+json", inner.into_bytes())]}).to_string();
    let mut files: Vec<(&str, &[u8], u32)> = vec![
        ("oci-layout", br#"{"imageLayoutVersion": "1.0.0"}"#, 0o644),
        ("index.json", index.as_bytes(), 0o644),
    ];
    files.extend(blobs.iter().map(|(name, data)| (name.as_str(), data.as_slice(), 0o644)));
    tar(&files)
}

fn tar(files: &[(&str, &[u8], u32)]) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, contents, mode) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(*mode);
        // As it is: the crate would not write a name that leads out of the archive.
        header.as_gnu_mut().context("no GNU header")?.name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        builder.append(&header, *contents)?;
    }
    let mut bytes = builder.into_inner()?;
    bytes.flush()?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
