//! The build context: a tar archive with the rendered Dockerfile, files, programs, and the host's certificate bundle.

use std::path::{Path, PathBuf};

use common::config::Image;

use super::{Builder, Error};
use crate::plan::hash;
use crate::render::image_context;

/// Where Debian keeps its certificate bundle.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Everything an image is made of, beside its parent.
pub(super) struct Context {
    entries: Vec<Entry>,
}

struct Entry {
    path: String,
    content: Vec<u8>,
    executable: bool,
}

impl Builder<'_> {
    /// Reads and renders what `image` is made of.
    pub(super) fn context(&self, name: &str, image: &Image, from: &str) -> Result<Context, Error> {
        let variables = image_context(self.config, name, from);
        let dockerfile = self.templates.render(&image.dockerfile, &variables)?;
        let mut entries = vec![Entry { path: "Dockerfile".into(), content: dockerfile, executable: false }];
        // Builds trust what the host trusts: a package mirror may stand behind a private authority.
        if let Ok(content) = std::fs::read(CERTIFICATES) {
            entries.push(Entry { path: "ca-certificates.crt".into(), content, executable: false });
        }
        for file in &image.files {
            if file.ends_with(".tera") {
                let content = self.templates.render(file, &variables)?;
                let path = file.trim_end_matches(".tera").to_owned();
                entries.push(Entry { path, content, executable: false });
                continue;
            }
            let path = self.config.templates.join(file.as_str());
            let executable = is_executable(&path);
            entries.push(Entry { path: file.value.clone(), content: self.read(name, path, "")?, executable });
        }
        for binary in &image.binaries {
            let path = self.binaries.join(binary.as_str());
            let content = self.read(name, path, " (cargo build --release makes it)")?;
            entries.push(Entry { path: format!("bin/{binary}"), content, executable: true });
        }
        Ok(Context { entries })
    }

    fn read(&self, image: &str, path: PathBuf, hint: &'static str) -> Result<Vec<u8>, Error> {
        std::fs::read(&path).map_err(|source| Error::Context { image: image.to_owned(), path, hint, source })
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

impl Context {
    /// Hash of the content and of the parent: the same hash, the same image.
    pub(super) fn hash(&self, parent_id: &str) -> String {
        let entries = self.entries.iter().flat_map(|entry| {
            let mode: &[u8] = if entry.executable { b"x" } else { b"-" };
            [entry.path.as_bytes(), mode, entry.content.as_slice()]
        });
        hash::plain([parent_id.as_bytes()].into_iter().chain(entries))
    }

    /// The archive. Times are fixed, so that Docker's own layer cache recognises files.
    pub(super) fn tar(&self) -> std::io::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for entry in &self.entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(entry.content.len() as u64);
            header.set_mode(if entry.executable { 0o755 } else { 0o644 });
            header.set_mtime(0);
            archive.append_data(&mut header, &entry.path, entry.content.as_slice())?;
        }
        archive.into_inner()
    }
}
