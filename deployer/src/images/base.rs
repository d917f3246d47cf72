//! The Debian root file system below all images: pulled when a registry answers, else made by debootstrap and imported.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bollard::query_parameters::{CreateImageOptionsBuilder, TagImageOptionsBuilder};
use common::config::BaseFrom;
use futures_util::StreamExt;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio_util::io::ReaderStream;

use super::{Builder, Error, ROOT, inspect};
use crate::engine::docker::explain;
use crate::printer::Task;

const SUITE: &str = "trixie";
/// Name of the pulled image.
const PULLED: &str = "debian";
const PULLED_TAG: &str = "trixie-slim";
/// A registry that has not begun to answer by then is taken as absent. Docker itself tries for minutes.
const REGISTRY_PATIENCE: Duration = Duration::from_secs(15);
/// Left out of the root: documentation, manual pages, translations, and what apt can fetch again.
const EXCLUDED: &[&str] = &[
    "./usr/share/man/*",
    "./usr/share/info/*",
    "./usr/share/locale/*",
    "./usr/share/doc/*/changelog*",
    "./usr/share/doc/*/NEWS*",
    "./var/cache/apt/*",
    "./var/lib/apt/lists/*",
    "./var/log/*",
    "./dev/*",
    "./proc/*",
    "./sys/*",
];

impl Builder<'_> {
    /// Id of the Debian root, made when absent.
    pub(super) async fn root(&self) -> Result<String, Error> {
        if let Some(found) = inspect(self.docker, ROOT).await? {
            return Ok(found.id);
        }
        let task = self.printer.task("image debian");
        let made = self.make_root(&task).await;
        match &made {
            Ok(how) => task.done(how),
            Err(_) => task.clear(),
        }
        made?;
        let missing = Error::Root {
            how: "any way",
            message: "Docker reported success, but there is no such image".into(),
        };
        inspect(self.docker, ROOT).await?.map(|found| found.id).ok_or(missing)
    }

    async fn make_root(&self, task: &Task) -> Result<&'static str, Error> {
        let base = &self.config.configuration.images.base;
        match base.from {
            BaseFrom::Tarball => {
                let path = base.path.as_ref().map(|path| PathBuf::from(path.as_str())).unwrap_or_default();
                self.import_file(&path).await.map(|()| "imported")
            }
            BaseFrom::Debootstrap => self.debootstrap(task).await.map(|()| "made by debootstrap"),
            BaseFrom::Pull => self.pull(Duration::from_secs(600), task).await.map(|()| "pulled"),
            BaseFrom::Auto => match self.pull(REGISTRY_PATIENCE, task).await {
                Ok(()) => Ok("pulled"),
                Err(error @ Error::Docker(crate::engine::Error::NoSpace { .. })) => Err(error),
                Err(_) => self.debootstrap(task).await.map(|()| "made by debootstrap (no registry answers)"),
            },
        }
    }

    async fn pull(&self, patience: Duration, task: &Task) -> Result<(), Error> {
        let name = format!("{PULLED}:{PULLED_TAG}");
        task.now(&format!("pulling {name}"));
        let was_there = inspect(self.docker, &name).await?.is_some();
        let options = CreateImageOptionsBuilder::default().from_image(PULLED).tag(PULLED_TAG).build();
        let doing = format!("pull {PULLED}:{PULLED_TAG}");
        let docker = self.docker.patient(Duration::from_secs(600));
        let mut stream = Box::pin(docker.create_image(Some(options), None, None));
        // Only the wait for the first word is short: once layers flow, they may take their time.
        let first = tokio::time::timeout(patience, stream.next()).await;
        let mut next =
            first.map_err(|_| Error::Root { how: "pulling it", message: "no registry answers".into() })?;
        while let Some(message) = next {
            message.map_err(|error| explain(&doing, error))?;
            next = stream.next().await;
        }
        let (repo, tag) = ROOT.split_once(':').unwrap_or((ROOT, "latest"));
        let options = TagImageOptionsBuilder::default().repo(repo).tag(tag).build();
        let tagged = self.docker.api().tag_image(&format!("{PULLED}:{PULLED_TAG}"), Some(options)).await;
        tagged.map_err(|error| explain("name the Debian root", error))?;
        if !was_there {
            // The name was ours for a moment only.
            self.docker.remove_image(&name).await?;
        }
        Ok(())
    }

    async fn debootstrap(&self, task: &Task) -> Result<(), Error> {
        let folder = Scratch::new()?;
        let mut command = Command::new("debootstrap");
        command.args(["--variant=minbase", SUITE]).arg(&folder.0);
        // Without one, debootstrap takes its own default.
        command.args(self.config.configuration.images.base.mirror.as_deref());
        run(command, task).await?;
        task.now("importing it into Docker");
        let mut tar = Command::new("tar");
        tar.arg("--create").arg("--numeric-owner").arg("--directory").arg(&folder.0);
        tar.args(EXCLUDED.iter().map(|path| format!("--exclude={path}"))).arg(".");
        let mut child =
            tar.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().map_err(root)?;
        if let Some(stdout) = child.stdout.take() {
            self.import(ReaderStream::with_capacity(stdout, 64 << 10)).await?;
        }
        let status = child.wait().await.map_err(root)?;
        if status.success() { Ok(()) } else { Err(root(format!("tar ended with {status}"))) }
    }

    async fn import_file(&self, path: &Path) -> Result<(), Error> {
        let message = |error| Error::Root {
            how: "importing a tarball",
            message: format!("{}: {error}", path.display()),
        };
        let file = tokio::fs::File::open(path).await.map_err(message)?;
        self.import(ReaderStream::new(file)).await
    }

    /// `POST /images/create?fromSrc=-`: Docker also unpacks compressed archives.
    async fn import<R>(&self, archive: ReaderStream<R>) -> Result<(), Error>
    where
        R: tokio::io::AsyncRead + Send + 'static,
    {
        let (repo, tag) = ROOT.split_once(':').unwrap_or((ROOT, "latest"));
        let options = CreateImageOptionsBuilder::default().from_src("-").repo(repo).tag(tag).build();
        let docker = self.docker.patient(Duration::from_secs(600));
        let body = bollard::body_try_stream(archive);
        let mut stream = Box::pin(docker.create_image(Some(options), Some(body), None));
        while let Some(message) = stream.next().await {
            message.map_err(|error| explain("import the Debian root", error))?;
        }
        Ok(())
    }
}

fn root(message: impl ToString) -> Error {
    Error::Root { how: "debootstrap", message: message.to_string() }
}

/// Runs debootstrap, showing what it does; its last lines are the error.
async fn run(mut command: Command, task: &Task) -> Result<(), Error> {
    let spawned =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn();
    let mut child =
        spawned.map_err(|error| root(format!("{error} (is the package debootstrap installed?)")))?;
    let mut last = std::collections::VecDeque::new();
    if let Some(stdout) = child.stdout.take() {
        let mut lines = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            task.now(&line);
            last.push_back(line);
            if last.len() > 10 {
                last.pop_front();
            }
        }
    }
    let status = child.wait().await.map_err(root)?;
    if status.success() {
        return Ok(());
    }
    let said: Vec<String> = last.into();
    let full = said.iter().any(|line| line.to_lowercase().contains("no space left"));
    if full {
        return Err(crate::engine::Error::NoSpace { doing: "make the Debian root".into() }.into());
    }
    Err(root(format!("it ended with {status}; its last words:\n{}", super::indented(&said))))
}

/// A folder for the unpacked root, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Error> {
        // Not /tmp: it may be a small file system in memory, or mounted without device files.
        let path = PathBuf::from("/var/tmp").join(format!("octopenstack-root-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&path).map_err(root)?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Left-overs cost disk, nothing else.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
