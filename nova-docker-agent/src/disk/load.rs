//! The archive that Docker gets: the configuration, the layers that came, and the names of those that it has.

use std::io;
use std::path::{Path, PathBuf};

use futures_util::Stream;
use serde_json::json;
use tokio_util::bytes::Bytes;
use tokio_util::io::{ReaderStream, SyncIoBridge};

use super::{Offer, hex};

/// Bytes between the writer and dockerd.
const BETWEEN: usize = 256 * 1024;

/// The archive, as it is written. `name`: the only name that the image has in it.
pub(super) fn archive(
    offer: &Offer,
    directory: &Path,
    name: &str,
) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    let (config, directory) = (hex(&offer.image).to_owned(), directory.to_owned());
    let layers: Vec<String> = offer.layers.iter().map(|layer| hex(layer).to_owned()).collect();
    let names: Vec<String> = layers.iter().map(|layer| format!("{layer}.tar")).collect();
    let manifest = json!([{ "Config": format!("{config}.json"), "RepoTags": [name], "Layers": names }]);
    let (writer, reader) = tokio::io::duplex(BETWEEN);
    let writer = SyncIoBridge::new(writer);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = write(writer, &manifest.to_string(), (&config, &layers), &directory) {
            // Docker sees an archive that is cut off, and says so.
            tracing::debug!(%error, "the archive of a disk was not written to its end");
        }
    });
    ReaderStream::new(reader)
}

fn write(
    mut writer: SyncIoBridge<tokio::io::DuplexStream>,
    manifest: &str,
    (config, layers): (&str, &[String]),
    directory: &Path,
) -> io::Result<()> {
    let mut tar = tar::Builder::new(&mut writer);
    let mut header = tar::Header::new_ustar();
    header.set_size(manifest.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "manifest.json", manifest.as_bytes())?;
    let mut add = |path: PathBuf, name: String| tar.append_file(name, &mut std::fs::File::open(path)?);
    add(directory.join(config), format!("{config}.json"))?;
    for layer in layers {
        let path = directory.join(layer);
        if path.exists() {
            add(path, format!("{layer}.tar"))?;
        }
    }
    tar.finish()?;
    drop(tar);
    writer.shutdown()
}
