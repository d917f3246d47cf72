//! A layer: a tar archive, plain or compressed. It is unpacked twice and never kept: here, to measure it and to look at its
//! entries, and on its way to dockerd, which wants to know the length of what comes.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Component, Path};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use sha2::{Digest, Sha256};

use super::archive::{beginning, hex};
use super::members::{Extent, Fault, compression};
use super::store::human;

/// What one entry may have besides its data: header, long names, attributes.
const MAX_HEADERS: u64 = 1024 * 1024;

/// Files of one layer; large distributions have a twentieth.
const MAX_ENTRIES: usize = 4_000_000;

const BUFFER: usize = 128 * 1024;

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    /// Not at all.
    Plain,
    /// `tar+gzip`
    Gzip,
    /// `tar+zstd`
    Zstd,
}

/// A layer that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layer {
    /// Where it lies, as it is.
    pub(super) extent: Extent,
    /// How it is compressed.
    pub(super) codec: Codec,
    /// Its length in bytes when unpacked.
    pub(super) len: u64,
}

impl Layer {
    /// Its bytes, unpacked. `file` is the archive.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub(super) fn unpacked<'a, F: Read + Seek + 'a>(
        &self,
        file: &'a mut F,
    ) -> io::Result<Box<dyn Read + 'a>> {
        file.seek(SeekFrom::Start(self.extent.offset))?;
        let packed = BufReader::with_capacity(BUFFER, file.take(self.extent.len));
        Ok(match self.codec {
            Codec::Plain => Box::new(packed),
            Codec::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
            Codec::Zstd => Box::new(Frames { packed, frame: None }),
        })
    }
}

/// Reads a layer called `name` to its end; gives it and the digest of its unpacked bytes (`sha256:…`).
///
/// # Arguments
/// * `room`: how many bytes are left of the `most` that an image may have.
///
/// # Errors
/// [`Fault::Refused`] when it is too long, cannot be unpacked, or has an entry that leads out of it.
pub(super) fn measure<F: Read + Seek>(
    file: &mut F,
    (name, extent): (&str, Extent),
    room: u64,
    most: u64,
) -> Result<(Layer, String), Fault> {
    let codec = match compression(&beginning(file, extent)?) {
        None => Codec::Plain,
        Some("gzip") => Codec::Gzip,
        Some("zstd") => Codec::Zstd,
        Some(other) => {
            return Err(Fault::refused(format!(
                "its layer {name:?} is compressed with {other}: save it with layers that are plain, gzip or zstd"
            )));
        }
    };
    let mut layer = Layer { extent, codec, len: 0 };
    let refuse = |error: io::Error| match error.kind() {
        io::ErrorKind::QuotaExceeded => {
            let most = human(most);
            Fault::refused(format!("its layers are longer than this host takes: unpacked {most} at most"))
        }
        io::ErrorKind::FileTooLarge => {
            Fault::refused(format!("its layer {name:?} has an entry with names of megabytes"))
        }
        // The disk, not the layer.
        _ if error.raw_os_error().is_some() => Fault::Io(error),
        _ => Fault::refused(format!("its layer {name:?} cannot be unpacked ({error})")),
    };
    let mut unpacked = Hashing { inner: layer.unpacked(file)?, hash: Sha256::new(), len: 0, room };
    walk(&mut unpacked, name, &refuse)?;
    // What follows the end of the tar archive belongs to the digest, too.
    io::copy(&mut unpacked, &mut io::sink()).map_err(refuse)?;
    let (len, digest) = (unpacked.len, format!("sha256:{}", hex(&unpacked.hash.finalize())));
    layer.len = len;
    Ok((layer, digest))
}

/// Looks at every entry of a layer.
fn walk(unpacked: impl Read, name: &str, refuse: &dyn Fn(io::Error) -> Fault) -> Result<(), Fault> {
    let left = Cell::new(MAX_HEADERS);
    let mut tar = tar::Archive::new(Meter { inner: unpacked, left: &left });
    for (count, entry) in tar.entries().map_err(refuse)?.enumerate() {
        let mut entry = entry.map_err(refuse)?;
        if count == MAX_ENTRIES {
            return Err(Fault::refused(format!("its layer {name:?} has more than {MAX_ENTRIES} entries")));
        }
        if let Some(problem) = problem(&mut entry) {
            let entry = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let entry = super::archive::shown(&entry);
            // The reason first: a fault has room for 255 characters.
            return Err(Fault::refused(format!("one of its files {problem}: {entry:?} in layer {name:?}")));
        }
        // The data is skipped before the next header is read.
        left.set(entry.size().saturating_add(512 + MAX_HEADERS));
    }
    Ok(())
}

/// What is wrong with an entry. dockerd would refuse, too, to leave the root; but only after it has unpacked what comes before.
fn problem(entry: &mut tar::Entry<'_, impl Read>) -> Option<&'static str> {
    // Sparse files become as long as they claim to be.
    let sparse = "is sparse: it says how long it is and has no data for it";
    let extensions = entry.pax_extensions().ok().flatten();
    let mut extensions = extensions.into_iter().flatten().flatten();
    let extended = extensions.any(|extension| extension.key_bytes().starts_with(b"GNU.sparse"));
    if extended || entry.header().entry_type().is_gnu_sparse() {
        return Some(sparse);
    }
    let Ok(path) = entry.path() else { return Some("has no usable name") };
    if leaves_root(&path) {
        return Some("leads out of the image");
    }
    let kind = entry.header().entry_type();
    if kind.is_hard_link() || kind.is_symlink() {
        let Ok(Some(target)) = entry.link_name() else { return Some("is a link to nowhere") };
        let from = if kind.is_symlink() { path.parent().unwrap_or(Path::new("")) } else { Path::new("") };
        // An absolute target counts from the image's root.
        if leaves_root(&from.join(target)) {
            return Some("is a link that leads out of the image");
        }
    }
    None
}

/// True when `path`, walked from the root, climbs above it.
fn leaves_root(path: &Path) -> bool {
    let mut depth = 0_usize;
    for component in path.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::ParentDir if depth == 0 => return true,
            Component::ParentDir => depth -= 1,
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    false
}

/// Hashes and counts what is read, and ends when there is more than there is room for.
struct Hashing<R> {
    inner: R,
    hash: Sha256,
    len: u64,
    room: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.len += count as u64;
        if self.len > self.room {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

/// Ends a walk whose headers have no end: the crate keeps a long name in memory whatever its length.
struct Meter<'a, R> {
    inner: R,
    left: &'a Cell<u64>,
}

impl<R: Read> Read for Meter<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match self.left.get().checked_sub(count as u64) {
            Some(left) => self.left.set(left),
            None => return Err(io::ErrorKind::FileTooLarge.into()),
        }
        Ok(count)
    }
}

/// The frames of a zstd file one after the other; the crate reads one.
struct Frames<R> {
    packed: R,
    /// The frame that is being read.
    frame: Option<Box<FrameDecoder>>,
}

impl<R: BufRead> Frames<R> {
    fn read_frame(&mut self, frame: &mut FrameDecoder, buffer: &mut [u8]) -> io::Result<usize> {
        while frame.can_collect() < buffer.len() && !frame.is_finished() {
            let wanted = BlockDecodingStrategy::UptoBytes(buffer.len() - frame.can_collect());
            frame.decode_blocks(&mut self.packed, wanted).map_err(damaged)?;
        }
        frame.read(buffer)
    }

    /// Begins a frame, or passes over one that holds no data.
    fn next_frame(&mut self) -> io::Result<Option<Box<FrameDecoder>>> {
        let mut frame = Box::new(FrameDecoder::new());
        match frame.init(&mut self.packed) {
            Ok(()) => Ok(Some(frame)),
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length, ..
            })) => {
                io::copy(&mut (&mut self.packed).take(length.into()), &mut io::sink())?;
                Ok(None)
            }
            Err(error) => Err(damaged(error)),
        }
    }
}

fn damaged(error: FrameDecoderError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(mut frame) = self.frame.take() {
                let count = self.read_frame(&mut frame, buffer)?;
                if count > 0 || buffer.is_empty() {
                    self.frame = Some(frame);
                    return Ok(count);
                }
            }
            if self.packed.fill_buf()?.is_empty() {
                return Ok(0);
            }
            self.frame = self.next_frame()?;
        }
    }
}

#[cfg(test)]
mod tests;
