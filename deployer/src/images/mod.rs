//! Images: what each is built from, whether it must be built again, and building it.

mod base;
mod build;
mod context;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use common::config::{Config, Image};
use tokio::sync::{Semaphore, watch};

use crate::engine::{Docker, docker::explain};
use crate::printer::Printer;
use crate::render::Templates;

/// The Debian root file system below all images.
pub(crate) const ROOT: &str = "octopenstack/debian:trixie";
/// More builds at a time would wait for the same disk and network.
const PARALLEL: usize = 2;

/// An image that cannot be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Docker refused.
    #[error(transparent)]
    Docker(#[from] crate::engine::Error),
    /// The Dockerfile cannot be rendered.
    #[error(transparent)]
    Render(#[from] crate::render::Error),
    /// A file of the context cannot be read.
    #[error("image {image}: cannot read {}{hint}", path.display())]
    Context { image: String, path: PathBuf, hint: &'static str, source: std::io::Error },
    /// A step of the Dockerfile failed.
    #[error(
        "image {image} could not be built; it failed at\n    {step}\nwith\n{}\n{message}",
        indented(output)
    )]
    Step { image: String, step: String, output: Vec<String>, message: String },
    /// The Debian root could not be made.
    #[error("the Debian root file system could not be made by {how}: {message}")]
    Root { how: &'static str, message: String },
    /// The parent failed, which was said before.
    #[error("image {image} was not built, because {parent} was not")]
    Parent { image: String, parent: String },
    /// A name that is not in `services.yaml`.
    #[error("there is no image {image} in services.yaml")]
    Unknown { image: String },
}

fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// What building needs.
pub(crate) struct Builder<'a> {
    pub(crate) docker: &'a Docker,
    pub(crate) config: &'a Config,
    pub(crate) templates: &'a Templates,
    /// Where our programs are.
    pub(crate) binaries: PathBuf,
    pub(crate) printer: &'a Printer,
    pub(crate) no_cache: bool,
}

/// State of an image as its children wait for it: its id, or that it failed.
type State = Option<Result<String, ()>>;

impl Builder<'_> {
    /// Builds `wanted` and what they sit on (all when empty), parents first, two at a time. Returns how many were built.
    pub(crate) async fn build(&self, wanted: &[String]) -> Result<usize, Vec<Error>> {
        let images = self.selection(wanted).map_err(|error| vec![error])?;
        let root = self.root().await.map_err(|error| vec![error])?;
        let states: BTreeMap<&str, watch::Sender<State>> =
            images.keys().map(|name| (*name, watch::Sender::new(None))).collect();
        let slots = Arc::new(Semaphore::new(PARALLEL));
        let builds = images.iter().map(|(name, image)| {
            let (states, slots, root) = (&states, slots.clone(), &root);
            async move {
                let built = self.after_parent(name, image, states, &slots, root).await;
                let state = built.as_ref().map(|(id, _)| id.clone()).map_err(|_| ());
                states[name].send_replace(Some(state));
                built.map(|(_, built)| built)
            }
        });
        let mut count = 0;
        let mut errors = Vec::new();
        for result in futures_util::future::join_all(builds).await {
            match result {
                Ok(built) => count += usize::from(built),
                Err(error) => errors.push(error),
            }
        }
        // Images that lost their name to a newer one; those that containers still use go at a later build.
        if count > 0 {
            errors.extend(self.docker.prune_images().await.err().map(Error::from));
        }
        if errors.is_empty() { Ok(count) } else { Err(errors) }
    }

    fn selection(&self, wanted: &[String]) -> Result<BTreeMap<&str, &Image>, Error> {
        let all = &self.config.services.images;
        let mut queue: Vec<String> =
            if wanted.is_empty() { all.names().map(str::to_owned).collect() } else { wanted.to_vec() };
        let mut selected = BTreeMap::new();
        while let Some(name) = queue.pop() {
            let found = all.iter().find(|(known, _)| known.value == name);
            let (key, image) = found.ok_or(Error::Unknown { image: name })?;
            if selected.insert(key.value.as_str(), image).is_none() {
                queue.extend(image.from.iter().map(|from| from.value.clone()));
            }
        }
        Ok(selected)
    }

    async fn after_parent(
        &self,
        name: &str,
        image: &Image,
        states: &BTreeMap<&str, watch::Sender<State>>,
        slots: &Semaphore,
        root: &str,
    ) -> Result<(String, bool), Error> {
        let (from, parent_id) = match &image.from {
            None => (ROOT.to_owned(), root.to_owned()),
            Some(parent) => {
                let failed = || Error::Parent { image: name.to_owned(), parent: parent.value.clone() };
                let mut state = states[parent.as_str()].subscribe();
                let state = state.wait_for(Option::is_some).await.map_err(|_| failed())?.clone();
                let id = state.and_then(Result::ok).ok_or_else(failed)?;
                (self.config.configuration.image(parent), id)
            }
        };
        // The semaphore is never closed.
        let _slot = slots.acquire().await.ok();
        self.one(name, image, &from, &parent_id).await
    }

    /// Ids of the images that are there, by short name.
    pub(crate) async fn ids(docker: &Docker, config: &Config) -> Result<BTreeMap<String, String>, Error> {
        let mut ids = BTreeMap::new();
        for name in config.services.images.names() {
            if let Some(found) = inspect(docker, &config.configuration.image(name)).await? {
                ids.insert(name.to_owned(), found.id);
            }
        }
        Ok(ids)
    }
}

/// An image as far as we care.
pub(crate) struct Found {
    pub(crate) id: String,
    /// Our label with the hash of what it was built from.
    pub(crate) build: Option<String>,
}

/// The image called `name`, when there is one.
pub(crate) async fn inspect(docker: &Docker, name: &str) -> Result<Option<Found>, crate::engine::Error> {
    match docker.api().inspect_image(name).await {
        Ok(image) => {
            let labels = image.config.and_then(|config| config.labels).unwrap_or_default();
            let build = labels.get(crate::engine::BUILD).cloned();
            Ok(image.id.map(|id| Found { id, build }))
        }
        Err(error) => {
            let error = explain(&format!("inspect image {name}"), error);
            if error.is_not_found() { Ok(None) } else { Err(error) }
        }
    }
}
