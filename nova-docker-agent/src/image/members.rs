//! Walks the tar archive of an image without trusting it: names, links and sizes are checked, nothing is unpacked.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Component, Path};

/// What the walk may read: headers and long names only, for data is skipped. A real archive of 127 layers needs a tenth.
const MAX_WALK_BYTES: u64 = 4 * 1024 * 1024;

/// Links that lead to links.
const MAX_HOPS: usize = 5;

/// Beginnings of compressed files.
const COMPRESSED: [(&[u8], &str); 4] = [
    (&[0x1f, 0x8b], "gzip"),
    (b"BZh", "bzip2"),
    (&[0xfd, b'7', b'z', b'X', b'Z'], "xz"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
];

/// Where a file's bytes lie in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// The files of an archive, by normalised name.
#[derive(Debug, Default)]
pub(super) struct Members {
    files: HashMap<String, Extent>,
    links: HashMap<String, String>,
}

/// Why an archive is refused, as a clause about "it"; or a file of ours that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Fault {
    pub(super) fn refused(clause: impl Into<String>) -> Self {
        Self::Refused(clause.into())
    }
}

impl Members {
    /// Reads the names in `archive`, which is `len` bytes long.
    ///
    /// # Errors
    /// [`Fault::Refused`] for whatever `docker save` does not write.
    pub(super) fn read(archive: impl Read + Seek, len: u64) -> Result<Self, Fault> {
        let meter = Meter { inner: archive, read: Cell::new(0) };
        let mut tar = tar::Archive::new(meter);
        let mut members = Self::default();
        let not_tar = |error: io::Error| {
            if error.kind() == io::ErrorKind::QuotaExceeded {
                Fault::refused("it has far more entries than an image archive")
            } else {
                Fault::refused(format!("it is no intact tar archive ({error})"))
            }
        };
        for entry in tar.entries_with_seek().map_err(not_tar)? {
            let entry = entry.map_err(not_tar)?;
            let extent = Extent { offset: entry.raw_file_position(), len: entry.size() };
            if extent.offset.checked_add(extent.len).is_none_or(|end| end > len) {
                return Err(Fault::refused("it is cut off: an entry is longer than the file"));
            }
            members.add(&entry, extent)?;
        }
        Ok(members)
    }

    fn add(&mut self, entry: &tar::Entry<'_, impl Read>, extent: Extent) -> Result<(), Fault> {
        let shown = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let escape = || Fault::refused(format!("its entry {shown:?} leads out of the archive"));
        let path = entry.path().map_err(|_| escape())?;
        let name = normalize(Path::new(""), &path).ok_or_else(escape)?;
        match entry.header().entry_type() {
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                if self.files.insert(name, extent).is_some() {
                    return Err(Fault::refused(format!("it has two entries {shown:?}")));
                }
            }
            tar::EntryType::Symlink => {
                let target = entry.link_name().ok().flatten().ok_or_else(escape)?;
                let directory = Path::new(&name).parent().unwrap_or(Path::new(""));
                let target = normalize(directory, &target).ok_or_else(escape)?;
                self.links.insert(name, target);
            }
            tar::EntryType::Directory | tar::EntryType::XGlobalHeader => {}
            other => return Err(Fault::refused(format!("its entry {shown:?} is of type {other:?}"))),
        }
        Ok(())
    }

    /// A file by the name that the manifest gives it; links within the archive are followed, as podman writes them.
    pub(super) fn file(&self, name: &str) -> Option<Extent> {
        let mut name = normalize(Path::new(""), Path::new(name))?;
        for _ in 0..MAX_HOPS {
            if let Some(extent) = self.files.get(&name) {
                return Some(*extent);
            }
            name.clone_from(self.links.get(&name)?);
        }
        None
    }
}

/// `path` seen from `directory`, without `.` and `..`; None when it leaves the archive.
fn normalize(directory: &Path, path: &Path) -> Option<String> {
    let mut parts: Vec<&str> = directory.to_str()?.split('/').filter(|part| !part.is_empty()).collect();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            // Only links may go up, and only as far as the archive's root.
            Component::ParentDir if !directory.as_os_str().is_empty() => drop(parts.pop()?),
            _ => return None,
        }
    }
    Some(parts.join("/"))
}

/// The compression that a file begins with, if any.
pub(super) fn compression(beginning: &[u8]) -> Option<&'static str> {
    COMPRESSED.iter().find(|(magic, _)| beginning.starts_with(magic)).map(|(_, name)| *name)
}

/// Ends a walk that reads too much: one header may announce a name of any length, and the crate would keep it.
struct Meter<R> {
    inner: R,
    read: Cell<u64>,
}

impl<R: Read> Read for Meter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read.set(self.read.get() + count as u64);
        if self.read.get() > MAX_WALK_BYTES {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        Ok(count)
    }
}

impl<R: Seek> Seek for Meter<R> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.inner.seek(position)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn read(bytes: Vec<u8>) -> Result<Members, Fault> {
        let len = bytes.len() as u64;
        Members::read(Cursor::new(bytes), len)
    }

    /// An archive with one entry whose raw header `change` may spoil.
    fn entry(name: &str, kind: tar::EntryType, link: &str, data: &[u8]) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    fn end(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.extend_from_slice(&[0; 1024]);
        bytes
    }

    fn refusal(bytes: Vec<u8>) -> String {
        match read(bytes) {
            Err(Fault::Refused(clause)) => clause,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    #[test]
    fn files_and_inner_links_are_found() {
        let mut bytes = entry("./a/layer.tar", tar::EntryType::Regular, "", b"layer");
        bytes.extend(entry("b/layer.tar", tar::EntryType::Symlink, "../a/layer.tar", b""));
        let members = read(end(bytes)).unwrap();
        assert_eq!(members.file("a/layer.tar"), Some(Extent { offset: 512, len: 5 }));
        assert_eq!(members.file("b/layer.tar"), members.file("a/layer.tar"));
        assert_eq!(members.file("c"), None);
        assert_eq!(members.file("../a/layer.tar"), None);
    }

    #[test]
    fn names_and_links_that_lead_out_are_refused() {
        let regular = tar::EntryType::Regular;
        for name in ["../x", "/etc/passwd", "a/../../x", "a/../b"] {
            assert!(refusal(end(entry(name, regular, "", b"x"))).contains("leads out"), "{name}");
        }
        for link in ["/etc/passwd", "../../x", "a/../../../x"] {
            let bytes = end(entry("d/link", tar::EntryType::Symlink, link, b""));
            assert!(refusal(bytes).contains("leads out"), "{link}");
        }
    }

    #[test]
    fn devices_and_hard_links_have_no_place_in_an_image() {
        for kind in
            [tar::EntryType::Link, tar::EntryType::Char, tar::EntryType::Fifo, tar::EntryType::GNUSparse]
        {
            let clause = refusal(end(entry("x", kind, "y", b"")));
            assert!(clause.contains("is of type") || clause.contains("no intact tar"), "{clause}");
        }
    }

    #[test]
    fn a_circle_of_links_leads_nowhere() {
        let mut bytes = entry("a", tar::EntryType::Symlink, "b", b"");
        bytes.extend(entry("b", tar::EntryType::Symlink, "a", b""));
        assert_eq!(read(end(bytes)).unwrap().file("a"), None);
    }

    #[test]
    fn what_is_no_archive_is_said_to_be_none() {
        assert!(refusal(vec![b'x'; 2048]).contains("no intact tar archive"));
        let mut cut = entry("x", tar::EntryType::Regular, "", &[1; 4096]);
        cut.truncate(1024);
        assert!(refusal(cut).contains("cut off"));
    }

    #[test]
    fn a_name_of_many_megabytes_is_not_read() {
        let bytes = entry("././@LongLink", tar::EntryType::GNULongName, "", &vec![b'a'; 6 * 1024 * 1024]);
        assert!(refusal(end(bytes)).contains("far more entries"));
    }

    #[test]
    fn compression_is_recognised() {
        assert_eq!(compression(&[0x1f, 0x8b, 8]), Some("gzip"));
        assert_eq!(compression(b"manifest"), None);
    }
}
