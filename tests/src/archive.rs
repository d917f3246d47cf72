//! Small `docker save` archives made in memory, good and bad ones.

use std::io::Write;

use anyhow::Result;
use serde_json::json;
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

fn tar(files: &[(&str, &[u8], u32)]) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, contents, mode) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(*mode);
        builder.append_data(&mut header, path, *contents)?;
    }
    let mut bytes = builder.into_inner()?;
    bytes.flush()?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
