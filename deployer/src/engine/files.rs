//! Folders on the host: rendered files and logs. A folder of rendered files appears whole or not at all.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use crate::plan::spec::{Desired, Folder, host_path};

/// A folder that cannot be made or removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}", path.display())]
pub(crate) struct Error {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error { doing, path: path.to_owned(), source }
}

/// Makes the folders a container is mounted with.
pub(crate) fn prepare(desired: &Desired) -> Result<(), Error> {
    if !desired.config.files.is_empty() {
        write_config(&desired.config).map_err(failed("write", &desired.config.path))?;
    }
    if let Some(folder) = &desired.host_folder {
        let make = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        make.and_then(|()| chown(folder, Some(desired.spec.user), Some(desired.spec.user)))
            .map_err(failed("make", folder))?;
    }
    log_folder(&desired.log)
}

/// Files belong to the user who reads them, and to nobody else; the name of the folder is the hash of its content.
fn write_config(folder: &Folder) -> io::Result<()> {
    if folder.path.is_dir() {
        return Ok(());
    }
    let parent = folder.path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    let temporary = parent.join(format!(".new-{}", std::process::id()));
    if temporary.exists() {
        std::fs::remove_dir_all(&temporary)?;
    }
    DirBuilder::new().mode(0o700).create(&temporary)?;
    for file in &folder.files {
        let path = host_path(&temporary, &file.path);
        if let Some(dir) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o400).open(&path)?;
        out.write_all(&file.content)?;
        out.sync_data()?;
        chown(&path, Some(folder.owner), Some(folder.owner))?;
    }
    std::fs::rename(&temporary, &folder.path)?;
    File::open(parent)?.sync_all()
}

/// `<logs>/<name>/` belongs to the service, which can rotate in it but reach no other log; `<logs>/<name>.log` points into it.
fn log_folder(folder: &Folder) -> Result<(), Error> {
    let logs = folder.path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o755).create(logs).map_err(failed("make", logs))?;
    let make = || -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o750).create(&folder.path)?;
        std::fs::set_permissions(&folder.path, std::fs::Permissions::from_mode(0o750))?;
        chown(&folder.path, Some(folder.owner), Some(folder.owner))?;
        let name = folder.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let link = logs.join(format!("{name}.log"));
        match symlink(format!("{name}/{name}.log"), &link) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    };
    make().map_err(failed("make", &folder.path))
}

/// Removes rendered folders of a service that are not in use any more.
pub(crate) fn prune_config(rendered: &Path, service: &str, keep: &[&Path]) -> Result<(), Error> {
    let dir = rendered.join(service);
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(failed("read", &dir)(source)),
    };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| !keep.contains(&path.as_path())) {
        std::fs::remove_dir_all(&path).map_err(failed("remove", &path))?;
    }
    Ok(())
}

/// Removes a folder with everything in it; an absent one is fine.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(failed("remove", path)),
    }
}

/// Removes the logs of the named services and jobs, and the log folder itself when nothing else is in it.
pub(crate) fn remove_logs(logs: &Path, names: &[String]) -> Result<(), Error> {
    for name in names {
        remove(&logs.join(name))?;
        let link = logs.join(format!("{name}.log"));
        match std::fs::remove_file(&link) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(failed("remove", &link))?,
        }
    }
    // Other projects, or the user's own files, may live there.
    let _ = std::fs::remove_dir(logs);
    Ok(())
}
