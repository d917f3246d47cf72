//! Archives as `docker save` writes them, and what is wrong with others.

use std::io::Cursor;

use serde_json::{Value, json};

use super::*;

/// A tar archive of files.
pub(in crate::image) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, data) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *data).unwrap();
    }
    tar.into_inner().unwrap()
}

/// A layer of one file.
pub(in crate::image) fn layer(name: &str, len: usize) -> Vec<u8> {
    tar(&[(name, &vec![1; len])])
}

/// `sha256:…`
pub(in crate::image) fn digest_of(data: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(data)))
}

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
            vec![("a/layer.tar".into(), layer("etc/a", 1000)), ("b/layer.tar".into(), layer("etc/b", 600))];
        let diff_ids: Vec<String> = layers.iter().map(|(_, data)| digest_of(data)).collect();
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
        let manifest = manifest.to_string();
        let mut parts: Vec<(&str, &[u8])> =
            self.layers.iter().map(|(name, data)| (name.as_str(), data.as_slice())).collect();
        parts.push((&name, &config));
        parts.push(("manifest.json", manifest.as_bytes()));
        tar(&parts)
    }
}

pub(in crate::image) fn limits() -> Limits {
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
    assert_eq!(archive.layers.iter().map(|layer| layer.len).collect::<Vec<_>>(), [2560, 2560]);
    assert_eq!(archive.size(), 5120);
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
    saved.layers[1].1[600] = 9;
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
    assert_eq!(refusal(&saved), "its layers are 50.0 KiB long, but this host takes 9.7 KiB at most");
}

#[test]
fn a_compressed_layer_is_unpacked_and_an_unknown_compression_refused() {
    let mut saved = Saved::new();
    let plain = saved.layers[0].1.clone();
    saved.layers[0].1 = gzip(&plain);
    let archive = check(&mut Cursor::new(saved.bytes()), &limits()).unwrap();
    assert_eq!(archive.layers[0].len, plain.len() as u64);
    saved.layers[0].1[..3].copy_from_slice(b"BZh");
    assert_eq!(
        refusal(&saved),
        "its layer \"a/layer.tar\" is compressed with bzip2: save it with layers that are plain, gzip or zstd"
    );
}

/// Compressed as most layers are.
pub(in crate::image) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::read::GzEncoder::new(data, flate2::Compression::fast());
    let mut packed = Vec::new();
    encoder.read_to_end(&mut packed).unwrap();
    packed
}

#[test]
fn another_platform_is_refused() {
    let mut saved = Saved::new();
    saved.config["architecture"] = json!("arm64");
    assert_eq!(refusal(&saved), "it is for arm64 processors, but this host has amd64");
    saved.config["os"] = json!("windows");
    assert_eq!(refusal(&saved), "it is for windows, not for linux");
}
