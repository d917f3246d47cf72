//! The image of sandboxes: one static program, made here, so that nothing has to be fetched and nobody can replace it.

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::image::hex;

/// The program (`pause.rs`, compiled by `build.rs`).
static PAUSE: &[u8] = include_bytes!(env!("PAUSE"));

/// Where it is in the image.
const PATH: &str = "pause";

/// Repository in Docker. Images of tenants are all in another one, whatever names their archives carry.
const REPOSITORY: &str = "nova-sandbox";

/// An archive as `docker load` takes it, and the name that the image has then.
pub(super) struct Image {
    pub(super) name: String,
    pub(super) archive: Vec<u8>,
}

/// Makes the archive. The same program gives the same name.
pub(super) fn image() -> std::io::Result<Image> {
    let layer = tar(&[(PATH, PAUSE, 0o755)])?;
    let config = json!({
        "architecture": architecture(), "os": "linux",
        "config": {"Entrypoint": [format!("/{PATH}")]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(&Sha256::digest(&layer)))]},
    })
    .to_string();
    let digest = hex(&Sha256::digest(&config));
    let name = format!("{REPOSITORY}:{}", &digest[..12]);
    let config_name = format!("{digest}.json");
    let manifest =
        json!([{"Config": config_name, "RepoTags": [name], "Layers": ["layer/layer.tar"]}]).to_string();
    let archive = tar(&[
        ("layer/layer.tar", &layer, 0o644),
        (&config_name, config.as_bytes(), 0o644),
        ("manifest.json", manifest.as_bytes(), 0o644),
    ])?;
    Ok(Image { name, archive })
}

/// Docker's name of the processor that the agent itself was made for.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn tar(files: &[(&str, &[u8], u32)]) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, data, mode) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(*mode);
        tar.append_data(&mut header, name, *data)?;
    }
    tar.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_the_same_each_time() {
        let (one, two) = (image().unwrap(), image().unwrap());
        assert_eq!((&one.name, &one.archive), (&two.name, &two.archive));
        assert!(one.name.starts_with("nova-sandbox:"), "{}", one.name);
        assert_eq!(&PAUSE[..4], b"\x7fELF");
    }
}
