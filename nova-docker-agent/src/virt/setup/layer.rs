//! Reading and writing the file system of a container that was never started.

use std::io::Read;

use common::docker::{self, Engine};
use common::ids::InstanceUuid;

use crate::virt::error;
use crate::virt::{Error, container_name};

/// Files that are read are small; an image may hold anything under their names.
const LARGEST_FILE: usize = 1024 * 1024;

/// A file that the image has.
#[derive(Debug, Clone)]
pub(super) struct Present {
    /// Whose, and who may read it.
    pub(super) header: tar::Header,
    /// Its text; text that is none is as good as no text.
    pub(super) text: String,
}

/// The root directory of an instance's container.
pub(super) struct Root<'a> {
    engine: &'a Engine,
    uuid: InstanceUuid,
    name: String,
}

/// What is written in one go.
pub(super) struct Layer(tar::Builder<Vec<u8>>);

impl<'a> Root<'a> {
    pub(super) fn new(engine: &'a Engine, uuid: InstanceUuid) -> Self {
        Self { engine, uuid, name: container_name(uuid) }
    }

    /// Whether there is anything of that name.
    pub(super) async fn has(&self, path: &str) -> bool {
        // What is longer than what is read is there all the same.
        !matches!(self.engine.get_archive(&self.name, path, 0).await, Ok(None))
    }

    /// A small file; None when there is none.
    pub(super) async fn file(&self, path: &str) -> Result<Option<Present>, Error> {
        let archive = self.engine.get_archive(&self.name, path, LARGEST_FILE).await;
        let Some(archive) = archive.map_err(|e| self.refused(e))? else { return Ok(None) };
        let mut archive = tar::Archive::new(archive.as_slice());
        let Ok(mut entries) = archive.entries() else { return Ok(None) };
        let Some(Ok(mut entry)) = entries.next() else { return Ok(None) };
        let mut text = String::new();
        let _ = entry.read_to_string(&mut text);
        Ok(Some(Present { header: entry.header().clone(), text }))
    }

    /// Writes everything at once.
    pub(super) async fn write(&self, layer: Layer) -> Result<(), Error> {
        let tar = layer.0.into_inner().map_err(|e| self.refused(docker::Error::Other(e.to_string())))?;
        self.engine.put_archive(&self.name, "/", tar).await.map_err(|e| self.refused(e))
    }

    fn refused(&self, source: docker::Error) -> Error {
        error::of_container("set the guest up", self.uuid, source)
    }
}

impl Layer {
    pub(super) fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// A directory; its mode and owner change if it is there. `path` without the slash at the beginning.
    pub(super) fn directory(&mut self, path: &str, mode: u32, owner: (u64, u64)) {
        let header = header(tar::EntryType::Directory, mode, owner);
        self.append(header, &format!("{path}/"), &[]);
    }

    /// A file. `path` without the slash at the beginning.
    pub(super) fn file(&mut self, path: &str, mode: u32, owner: (u64, u64), content: &[u8]) {
        self.append(header(tar::EntryType::Regular, mode, owner), path, content);
    }

    fn append(&mut self, mut header: tar::Header, path: &str, content: &[u8]) {
        header.set_size(content.len() as u64);
        // Writing into memory does not fail, and a path that is too long is told by the archive's reader.
        let _ = self.0.append_data(&mut header, path, content);
    }

    #[cfg(test)]
    pub(super) fn entries(self) -> Vec<(String, u32, u64, u64)> {
        let bytes = self.0.into_inner().unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entry = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
            let entry = entry.unwrap();
            let header = entry.header();
            let path = entry.path().unwrap().display().to_string();
            (path, header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap())
        };
        archive.entries().unwrap().map(entry).collect()
    }
}

fn header(kind: tar::EntryType, mode: u32, (uid, gid): (u64, u64)) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(uid);
    header.set_gid(gid);
    header
}
