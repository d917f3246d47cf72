//! Makes the archive that dockerd gets: our own names, our own tag, the checked bytes, layers unpacked.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use futures_util::Stream;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::bytes::Bytes;

use super::archive::Archive;
use super::layer::Layer;

/// Bytes that are read at once.
const CHUNK: usize = 128 * 1024;

/// Chunks between the reader and dockerd.
const QUEUE: usize = 2;

/// A piece of the archive.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Bytes(Vec<u8>),
    Copy(Layer),
}

/// The archive of `image` as a stream. `source`: the file that the layers are in; `tag`: the only name it will have.
pub(super) fn stream(
    image: &Archive,
    source: PathBuf,
    tag: &str,
) -> impl Stream<Item = io::Result<Bytes>> + use<> {
    let parts = plan(image, tag);
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = send(&parts, &source, &sender) {
            // Nobody listens when dockerd has hung up already.
            let _ = sender.blocking_send(Err(error));
        }
    });
    futures_util::stream::poll_fn(move |context| receiver.poll_recv(context))
}

/// What the archive consists of; pure.
fn plan(image: &Archive, tag: &str) -> Vec<Part> {
    let layer_name = |index: usize| format!("layer-{index}.tar");
    let config_name = format!("{}.json", image.config_digest);
    let names: Vec<String> = (0..image.layers.len()).map(layer_name).collect();
    let manifest =
        json!([{ "Config": config_name, "RepoTags": [tag], "Layers": names }]).to_string().into_bytes();
    let mut parts = Vec::new();
    let mut file = |name: &str, len: u64, content: Part| {
        parts.push(Part::Bytes(header(name, len)));
        parts.push(content);
        parts.push(Part::Bytes(vec![0; padding(len)]));
    };
    file("manifest.json", manifest.len() as u64, Part::Bytes(manifest));
    file(&config_name, image.config.len() as u64, Part::Bytes(image.config.clone()));
    for (name, layer) in names.iter().zip(&image.layers) {
        file(name, layer.len, Part::Copy(*layer));
    }
    parts.push(Part::Bytes(vec![0; 1024]));
    parts
}

fn header(name: &str, len: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    // Our names are short and plain, so that the crate takes them.
    let _ = header.set_path(name);
    header.set_mode(0o600);
    header.set_size(len);
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// Zeros that fill the last block.
fn padding(len: u64) -> usize {
    usize::try_from(len.next_multiple_of(512) - len).unwrap_or(0)
}

fn send(parts: &[Part], source: &PathBuf, sender: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
    let mut file = File::open(source)?;
    for part in parts {
        match part {
            Part::Bytes(bytes) if bytes.is_empty() => {}
            Part::Bytes(bytes) => {
                if sender.blocking_send(Ok(Bytes::copy_from_slice(bytes))).is_err() {
                    return Ok(());
                }
            }
            Part::Copy(layer) => {
                let mut unpacked = layer.unpacked(&mut file)?;
                let mut left = layer.len;
                while left > 0 {
                    let mut buffer = vec![0; CHUNK.min(usize::try_from(left).unwrap_or(CHUNK))];
                    unpacked.read_exact(&mut buffer)?;
                    left -= buffer.len() as u64;
                    if sender.blocking_send(Ok(buffer.into())).is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::layer::Codec;
    use crate::image::members::Extent;

    /// A layer that is longer than what is in the archive of it.
    fn layer((offset, len): (u64, u64)) -> Layer {
        Layer { extent: Extent { offset, len: 3 }, codec: Codec::Gzip, len }
    }

    #[test]
    fn the_archive_has_our_names_and_our_tag_only() {
        let image = Archive {
            config: b"{}".to_vec(),
            config_digest: "cd".repeat(32),
            layers: [(512, 10), (2048, 512)].map(layer).to_vec(),
            has_command: true,
        };
        let mut bytes = Vec::new();
        for part in plan(&image, "nova-image/id:sum") {
            match part {
                Part::Bytes(part) => bytes.extend(part),
                Part::Copy(layer) => bytes.resize(bytes.len() + usize::try_from(layer.len).unwrap(), b'L'),
            }
        }
        let mut tar = tar::Archive::new(bytes.as_slice());
        let mut names = Vec::new();
        for entry in tar.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            if name == "manifest.json" {
                let manifest: serde_json::Value = serde_json::from_reader(&mut entry).unwrap();
                assert_eq!(manifest[0]["RepoTags"], json!(["nova-image/id:sum"]));
                assert_eq!(manifest[0]["Layers"], json!(["layer-0.tar", "layer-1.tar"]));
            }
            names.push((name, entry.size()));
        }
        let config = format!("{}.json", "cd".repeat(32));
        let expected = [(config.as_str(), 2), ("layer-0.tar", 10), ("layer-1.tar", 512)];
        assert_eq!(
            names[1..].iter().map(|(name, size)| (name.as_str(), *size)).collect::<Vec<_>>(),
            expected
        );
    }
}
