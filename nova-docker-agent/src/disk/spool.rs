//! The files of an image, by their digests, taken out of `docker save`.
//!
//! Engines write their archives differently (a folder per layer, or blobs); the digest says what a member is.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use futures_util::{Stream, TryStreamExt};
use sha2::{Digest, Sha256};
use tokio_util::bytes::Bytes;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::Error;
use crate::image::hex as hexadecimal;
use crate::virt::Driver;

/// Read at once.
const CHUNK: usize = 128 * 1024;

/// The files of one disk on their way out.
pub(super) struct Spool {
    driver: Driver,
    /// Docker's id of the image.
    image: String,
    directory: PathBuf,
    /// One who takes files out of an archive at a time.
    filling: tokio::sync::Mutex<()>,
    /// Digests of the files that somebody has asked for.
    asked: Mutex<BTreeSet<String>>,
}

impl Spool {
    pub(super) fn new(driver: Driver, image: &str, directory: PathBuf) -> Self {
        Self {
            driver,
            image: image.to_owned(),
            directory,
            filling: tokio::sync::Mutex::default(),
            asked: Mutex::default(),
        }
    }

    /// Whether somebody has asked for the file of a digest (hexadecimal).
    pub(super) fn was_asked_for(&self, digest: &str) -> bool {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).contains(digest)
    }

    /// The file of a digest (hexadecimal), made ready if it is not.
    pub(super) async fn file(&self, digest: &str) -> Result<PathBuf, Error> {
        let path = self.directory.join(digest);
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.to_owned());
        if !path.exists() {
            self.fill(&[digest.to_owned()].into()).await?;
        }
        Ok(path)
    }

    /// Makes the files of these digests ready; returns their bytes.
    pub(super) async fn fill(&self, digests: &BTreeSet<String>) -> Result<u64, Error> {
        let _filling = self.filling.lock().await;
        let missing: BTreeSet<String> =
            digests.iter().filter(|digest| !self.directory.join(digest).exists()).cloned().collect();
        if !missing.is_empty() {
            std::fs::create_dir_all(&self.directory).map_err(Error::file(&self.directory))?;
            let archive = Box::pin(self.driver.archive(&self.image).map_err(io::Error::other));
            let archive = SyncIoBridge::new(StreamReader::new(archive));
            let directory = self.directory.clone();
            let taken = tokio::task::spawn_blocking(move || take(archive, &missing, &directory)).await;
            taken.map_err(|panic| Error::Serve(panic.to_string()))??;
        }
        Ok(digests.iter().map(|digest| self.size(digest)).sum())
    }

    fn size(&self, digest: &str) -> u64 {
        std::fs::metadata(self.directory.join(digest)).map_or(0, |file| file.len())
    }

    /// Takes one more file in, whatever is in it; returns its digest (hexadecimal) and its bytes.
    pub(super) async fn add(
        &self,
        content: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<(String, u64), Error> {
        let _filling = self.filling.lock().await;
        std::fs::create_dir_all(&self.directory).map_err(Error::file(&self.directory))?;
        let mut content = SyncIoBridge::new(StreamReader::new(Box::pin(content)));
        let part = self.directory.join("added");
        let path = part.clone();
        let copied = tokio::task::spawn_blocking(move || {
            File::create(&path).and_then(|mut file| copy(&mut content, &mut file))
        });
        let copied = copied.await.map_err(|panic| Error::Serve(panic.to_string()))?;
        let digest = copied.map_err(Error::file(&part))?;
        std::fs::rename(&part, self.directory.join(&digest)).map_err(Error::file(&part))?;
        let size = self.size(&digest);
        Ok((digest, size))
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        super::remove(&self.directory);
    }
}

/// Takes the members with these digests out of an archive.
fn take(archive: impl Read, wanted: &BTreeSet<String>, directory: &Path) -> Result<(), Error> {
    let mut found = BTreeSet::new();
    let mut archive = tar::Archive::new(archive);
    let at = || Error::file(directory);
    for entry in archive.entries().map_err(at())? {
        let mut entry = entry.map_err(at())?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let part = directory.join("part");
        let copied = File::create(&part).and_then(|mut file| copy(&mut entry, &mut file));
        let digest = copied.map_err(Error::file(&part))?;
        if wanted.contains(&digest) {
            std::fs::rename(&part, directory.join(&digest)).map_err(Error::file(&part))?;
            found.insert(digest);
        } else {
            std::fs::remove_file(&part).map_err(Error::file(&part))?;
        }
    }
    match wanted.iter().find(|digest| !found.contains(*digest)) {
        Some(digest) => Err(Error::Incomplete(digest.clone())),
        None => Ok(()),
    }
}

/// Copies; returns the digest of what was copied.
pub(super) fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk)? {
            0 => return Ok(hexadecimal(&hash.finalize())),
            count => {
                hash.update(&chunk[..count]);
                to.write_all(&chunk[..count])?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, data) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(data.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, *data).unwrap();
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn members_are_known_by_their_digest_whatever_they_are_called() {
        let directory = std::env::temp_dir().join(format!("spool-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&directory).unwrap();
        let digest = |data: &[u8]| hexadecimal(&Sha256::digest(data));
        let tar = archive(&[("a/layer.tar", b"one"), ("blobs/x", b"two"), ("deep/down/three", b"three")]);
        let wanted: BTreeSet<String> = [digest(b"two")].into();
        take(tar.as_slice(), &wanted, &directory).unwrap();
        let left: Vec<_> =
            std::fs::read_dir(&directory).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(left, [digest(b"two").as_str()]);
        let absent: BTreeSet<String> = [digest(b"four")].into();
        assert!(matches!(take(tar.as_slice(), &absent, &directory), Err(Error::Incomplete(_))));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
