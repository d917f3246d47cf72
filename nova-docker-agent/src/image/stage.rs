//! Keeps an image's bytes in a file of ours while they are checked.

use std::io;
use std::path::{Path, PathBuf};

use common::openstack::glance::ImageRecord;
use futures_util::{Stream, StreamExt};
use nix::sys::statvfs::statvfs;
use sha2::{Digest, Sha256, Sha512};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio_util::bytes::Bytes;

use super::archive::hex;
use super::error::Error;
use super::store::human;

/// Room that stays free, so that a big image does not stop everything else on the host.
const SPARE: u64 = 256 * 1024 * 1024;

/// A file that goes when it is dropped, also when the boot that wanted it is cancelled.
#[derive(Debug)]
pub(super) struct Staged {
    path: PathBuf,
}

impl Staged {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), error = %error, "cannot remove an image's archive");
        }
    }
}

/// Makes the directory of staged files, and removes those that a killed agent has left.
///
/// # Errors
/// When it cannot be made or is not writable.
pub(super) fn prepare(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "part") {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Writes `bytes` into a file in `directory`, and compares length and hash with what glance recorded.
///
/// # Errors
/// [`Error::Damaged`] when they differ, [`Error::Glance`] when the stream breaks, [`Error::NoSpace`] on a full disk.
pub(super) async fn download(
    directory: &Path,
    record: &ImageRecord,
    bytes: impl Stream<Item = io::Result<Bytes>>,
) -> Result<Staged, Error> {
    let path = directory.join(format!("{}.part", uuid::Uuid::new_v4()));
    let trouble = |source| Error::Staging { image: record.id.clone(), path: path.clone(), source };
    let file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).await.map_err(trouble)?;
    let staged = Staged { path: path.clone() };
    let mut file = BufWriter::with_capacity(256 * 1024, file);
    let mut check = Check::new(record);
    let mut bytes = std::pin::pin!(bytes);
    while let Some(chunk) = bytes.next().await {
        let chunk =
            chunk.map_err(|source| Error::Glance { image: record.id.clone(), source: source.into() })?;
        check.update(&chunk)?;
        write(&mut file, &chunk, record, directory).await?;
    }
    file.flush().await.map_err(|source| full_or(source, record, directory))?;
    check.finish()?;
    Ok(staged)
}

async fn write(
    file: &mut BufWriter<File>,
    chunk: &[u8],
    record: &ImageRecord,
    directory: &Path,
) -> Result<(), Error> {
    file.write_all(chunk).await.map_err(|source| full_or(source, record, directory))
}

fn full_or(source: io::Error, record: &ImageRecord, directory: &Path) -> Error {
    if source.kind() == io::ErrorKind::StorageFull {
        no_space(&record.id, record.size.unwrap_or(0), 0, directory)
    } else {
        Error::Staging { image: record.id.clone(), path: directory.to_owned(), source }
    }
}

/// Refuses an image that would fill the file system of `directory`.
///
/// # Errors
/// [`Error::NoSpace`] naming both sizes.
pub(super) fn check_room(image: &str, needed: u64, directory: &Path) -> Result<(), Error> {
    // What cannot be seen (an agent in a container, and Docker's directory) lies with what is above it.
    let nearest = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let Ok(found) = statvfs(nearest) else { return Ok(()) };
    decide_room(image, needed, found.blocks_available() * found.fragment_size(), directory)
}

fn decide_room(image: &str, needed: u64, free: u64, directory: &Path) -> Result<(), Error> {
    if needed.saturating_add(SPARE) <= free { Ok(()) } else { Err(no_space(image, needed, free, directory)) }
}

fn no_space(image: &str, needed: u64, free: u64, directory: &Path) -> Error {
    Error::NoSpace {
        image: image.to_owned(),
        needed: human(needed),
        free: human(free),
        path: directory.to_owned(),
    }
}

/// Compares what arrives with glance's record.
struct Check<'a> {
    record: &'a ImageRecord,
    len: u64,
    hash: Hash,
}

enum Hash {
    Sha512(Sha512),
    Sha256(Sha256),
    /// An algorithm that we do not have (glance's default is SHA-512); the layers' digests are checked all the same.
    Unknown,
}

impl<'a> Check<'a> {
    fn new(record: &'a ImageRecord) -> Self {
        let hash = match record.os_hash_algo.as_deref() {
            Some("sha512") => Hash::Sha512(Sha512::new()),
            Some("sha256") => Hash::Sha256(Sha256::new()),
            _ => Hash::Unknown,
        };
        Self { record, len: 0, hash }
    }

    /// More than announced is not even written down.
    fn update(&mut self, chunk: &[u8]) -> Result<(), Error> {
        self.len += chunk.len() as u64;
        if self.record.size.is_some_and(|size| self.len > size) {
            return Err(self.wrong_size());
        }
        match &mut self.hash {
            Hash::Sha512(hash) => hash.update(chunk),
            Hash::Sha256(hash) => hash.update(chunk),
            Hash::Unknown => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<(), Error> {
        if self.record.size.is_some_and(|size| self.len != size) {
            return Err(self.wrong_size());
        }
        let (algorithm, actual) = match self.hash {
            Hash::Sha512(hash) => ("sha512", hex(&hash.finalize())),
            Hash::Sha256(hash) => ("sha256", hex(&hash.finalize())),
            Hash::Unknown => return Ok(()),
        };
        match &self.record.os_hash_value {
            Some(expected) if *expected != actual => Err(Error::Damaged {
                image: self.record.id.clone(),
                algorithm: algorithm.into(),
                expected: expected.clone(),
                actual,
            }),
            _ => Ok(()),
        }
    }

    fn wrong_size(&self) -> Error {
        Error::Damaged {
            image: self.record.id.clone(),
            algorithm: "size".into(),
            expected: self.record.size.unwrap_or_default().to_string(),
            actual: self.len.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(size: u64, hash: &str) -> ImageRecord {
        ImageRecord {
            id: "i".into(),
            size: Some(size),
            os_hash_algo: Some("sha256".into()),
            os_hash_value: Some(hash.into()),
            ..ImageRecord::default()
        }
    }

    const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    fn check(record: &ImageRecord, chunks: &[&str]) -> Result<(), Error> {
        let mut check = Check::new(record);
        for chunk in chunks {
            check.update(chunk.as_bytes())?;
        }
        check.finish()
    }

    #[test]
    fn length_and_hash_must_be_those_of_glance() {
        check(&record(5, HELLO), &["he", "llo"]).unwrap();
        let shorter = check(&record(6, HELLO), &["hello"]).unwrap_err();
        assert_eq!(shorter.to_string(), "image i arrived damaged: its size is 5, but glance says 6");
        assert!(matches!(check(&record(4, HELLO), &["hello"]), Err(Error::Damaged { .. })));
        let other = check(&record(5, "00"), &["hello"]).unwrap_err();
        assert!(other.to_string().contains("its sha256 is 2cf24dba"), "{other}");
    }

    #[test]
    fn an_image_larger_than_the_disk_names_both_sizes() {
        let gib = 1024 * 1024 * 1024;
        decide_room("i", gib, 2 * gib, Path::new("/d")).unwrap();
        let error = decide_room("i", 10 * gib, gib + gib / 2, Path::new("/var/lib/nova")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "image i needs 10.0 GiB, but only 1.5 GiB are free in /var/lib/nova of this host"
        );
    }
}
