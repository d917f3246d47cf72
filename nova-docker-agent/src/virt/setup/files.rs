//! Injected files (the `personality` of the Compute API before 2.57).

use super::InjectedFile;
use super::layer::{Layer, Root};
use crate::virt::Error;

/// Modes of what the image does not have.
const DIRECTORY: u32 = 0o755;
const FILE: u32 = 0o644;

/// Writes the files; they belong to root. One that the image has keeps its mode.
///
/// # Errors
/// When a path leads nowhere, or dockerd does not write it.
pub(super) async fn put(root: &Root<'_>, files: &[InjectedFile]) -> Result<(), Error> {
    if files.is_empty() {
        return Ok(());
    }
    let mut layer = Layer::new();
    for file in files {
        let parts = parts(&file.path)?;
        // A folder that is there must not change, one that is not would be everybody's.
        for length in 1..parts.len() {
            let folder = parts[..length].join("/");
            if !root.has(&format!("/{folder}")).await {
                layer.directory(&folder, DIRECTORY, (0, 0));
            }
        }
        let path = parts.join("/");
        let present = root.file(&format!("/{path}")).await?;
        let mode = present.and_then(|present| present.header.mode().ok()).map_or(FILE, |mode| mode & 0o777);
        layer.file(&path, mode, (0, 0), &file.content);
    }
    root.write(layer).await
}

/// The parts of a path below the root, which is where it begins with and without a slash.
fn parts(path: &str) -> Result<Vec<&str>, Error> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.is_empty() || parts.contains(&"..") || path.ends_with('/') {
        return Err(Error::InvalidSpec(format!(
            "the injected file {path:?} has no path below / (without ..)"
        )));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_a_file_below_the_root() {
        assert_eq!(parts("/etc//app/./x.conf").unwrap(), ["etc", "app", "x.conf"]);
        assert_eq!(parts("motd").unwrap(), ["motd"]);
        for wrong in ["", "/", "/etc/", "../x", "/etc/../../x"] {
            let error = parts(wrong).unwrap_err().to_string();
            assert_eq!(error, format!("the injected file {wrong:?} has no path below / (without ..)"));
        }
    }
}
