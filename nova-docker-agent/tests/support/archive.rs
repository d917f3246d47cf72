//! A small image of this machine's shell, as `docker save` writes it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};

/// What may be wanted of an image.
pub(crate) struct Image {
    pub(crate) command: Value,
    pub(crate) tag: &'static str,
    pub(crate) architecture: &'static str,
}

impl Default for Image {
    fn default() -> Self {
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        Self { command: json!(null), tag: "nova-docker-agent-test-stolen:latest", architecture }
    }
}

/// An image that runs a shell `script`.
pub(crate) fn shell(script: &str) -> Vec<u8> {
    Image { command: json!(["/bin/sh", "-c", script]), ..Image::default() }.save()
}

impl Image {
    /// The archive.
    pub(crate) fn save(&self) -> Vec<u8> {
        let layer = layer();
        let config = json!({
            "architecture": self.architecture, "os": "linux", "config": { "Cmd": self.command },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer))] },
        })
        .to_string();
        let name = format!("{}.json", sha256(config.as_bytes()));
        let manifest =
            json!([{ "Config": name, "RepoTags": [self.tag], "Layers": ["one/layer.tar"] }]).to_string();
        let mut tar = tar::Builder::new(Vec::new());
        append(&mut tar, "one/layer.tar", &layer, 0o644);
        append(&mut tar, &name, config.as_bytes(), 0o644);
        append(&mut tar, "manifest.json", manifest.as_bytes(), 0o644);
        tar.into_inner().unwrap()
    }
}

/// The shell, `sleep`, and the libraries that they need.
fn layer() -> Vec<u8> {
    let mut files: BTreeSet<PathBuf> = ["/bin/sh", "/bin/sleep"].map(PathBuf::from).into();
    for program in files.clone() {
        let output = Command::new("ldd").arg(program).output().expect("these tests need ldd");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        files.extend(text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from));
    }
    let mut tar = tar::Builder::new(Vec::new());
    for file in files {
        let data = std::fs::read(&file).unwrap();
        append(&mut tar, file.strip_prefix("/").unwrap(), &data, 0o755);
    }
    tar.into_inner().unwrap()
}

fn append(tar: &mut tar::Builder<Vec<u8>>, name: impl AsRef<Path>, data: &[u8], mode: u32) {
    let mut header = tar::Header::new_gnu();
    header.set_size(data.len() as u64);
    header.set_mode(mode);
    tar.append_data(&mut header, name, data).unwrap();
}

fn sha256(data: &[u8]) -> String {
    hex(&Sha256::digest(data))
}

pub(crate) fn sha512(data: &[u8]) -> String {
    hex(&Sha512::digest(data))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
