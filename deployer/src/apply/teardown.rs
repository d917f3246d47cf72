//! The way back: stop, start again, remove, and the proof that nothing is left.

use std::collections::BTreeSet;

use super::{Apply, Error, dag};
use crate::engine::{self, files};
use crate::images;
use crate::plan::diff::{Observed, State};
use crate::plan::order;

/// How much `rm` removes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Volumes, secrets and logs: the data.
    pub(crate) data: bool,
    pub(crate) images: bool,
}

impl Apply<'_> {
    /// Stops the named services and what depends on them, dependants first.
    pub(crate) async fn stop(&self, wanted: &[String]) -> Result<usize, Vec<Error>> {
        let one = |error| vec![error];
        let names = order::with_dependants(&self.platform.services, &self.selected(wanted).map_err(one)?);
        let observed =
            self.docker.observe(self.platform.project()).await.map_err(|error| one(error.into()))?;
        let edges = dag::reversed(&dag::edges(&names, |name| self.needs(name)));
        let outcomes = dag::run(
            &edges,
            |name| {
                let observed = &observed;
                async move { self.stop_one(&name, observed).await }
            },
            |_| (),
        );
        collect(outcomes.await)
    }

    async fn stop_one(&self, name: &str, observed: &Observed) -> Result<usize, Error> {
        let container = self.platform.container(name);
        let stopped = |state| matches!(state, State::Succeeded | State::Failed | State::Created);
        if observed.containers.get(&container).is_none_or(|known| stopped(known.state)) {
            return Ok(0);
        }
        let task = self.settings.printer.task(name);
        task.now("stopping");
        let result = self.docker.stop(&container, self.platform.services[name].stop_timeout).await;
        if result.is_ok() {
            task.done("stopped")
        } else {
            task.clear()
        }
        result?;
        Ok(1)
    }

    /// Starts stopped services with what they depend on, and waits until they are ready. Creates nothing.
    pub(crate) async fn start(&self, wanted: &[String]) -> Result<usize, Vec<Error>> {
        let one = |error| vec![error];
        let names = order::with_dependencies(&self.platform.services, &self.selected(wanted).map_err(one)?);
        let observed =
            self.docker.observe(self.platform.project()).await.map_err(|error| one(error.into()))?;
        let there = |name: &String| observed.containers.contains_key(&self.platform.container(name));
        let missing: Vec<String> = names.iter().filter(|name| !there(name)).cloned().collect();
        if !missing.is_empty() {
            let text = format!("{} never ran here; `octopenstack run` creates it", missing.join(", "));
            return Err(one(Error::Nothing(text)));
        }
        self.check_ports(&names, &observed).map_err(one)?;
        let edges = dag::edges(&names, |name| self.needs(name));
        let outcomes = dag::run(
            &edges,
            |name| {
                let observed = &observed;
                async move { self.start_one(&name, observed).await }
            },
            |_| (),
        );
        collect(outcomes.await)
    }

    async fn start_one(&self, name: &str, observed: &Observed) -> Result<usize, Error> {
        let container = self.platform.container(name);
        let running = observed.containers.get(&container).is_some_and(|known| known.state == State::Running);
        let task = self.settings.printer.task(name);
        if !running {
            task.now("starting");
            if let Err(error) = self.docker.start(&container).await {
                task.clear();
                return Err(error.into());
            }
        }
        task.now("waiting until it is ready");
        let ready = self.gate(name, None).await;
        if ready.is_ok() && !running {
            task.done("started and ready")
        } else {
            task.clear()
        }
        ready.map(|()| usize::from(!running))
    }

    fn needs(&self, name: &str) -> Vec<String> {
        self.platform.services[name].depends_on.iter().map(|other| other.value.clone()).collect()
    }

    /// Removes the platform. Goes on after an error and returns all of them.
    pub(crate) async fn remove(&self, extent: Extent) -> Result<(), Vec<Error>> {
        let mut errors: Vec<Error> = Vec::new();
        if !extent.data {
            // Data stays: services write it out before they end.
            errors.extend(self.stop(&[]).await.err().unwrap_or_default());
        }
        let project = self.platform.project();
        let observed = self.docker.observe(project).await.map_err(|error| vec![error.into()])?;
        let removals = observed.containers.keys().map(|name| self.docker.remove_container(name));
        let removed = futures_util::future::join_all(removals).await;
        errors.extend(removed.into_iter().filter_map(Result::err).map(Error::from));
        for network in self.docker.networks(project).await.unwrap_or_default() {
            errors.extend(self.docker.remove_network(&network).await.err().map(Error::from));
        }
        errors.extend(files::remove(&self.paths().rendered()).err().map(Error::from));
        if extent.data {
            errors.extend(self.remove_data(&observed).await);
        }
        if extent.images {
            errors.extend(self.remove_images().await);
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    async fn remove_data(&self, observed: &Observed) -> Vec<Error> {
        let mut errors: Vec<Error> = Vec::new();
        for volume in &observed.volumes {
            errors.extend(self.docker.remove_volume(volume).await.err().map(Error::from));
        }
        errors.extend(files::remove_logs(&self.paths().logs, &self.log_names()).err().map(Error::from));
        // Last: with the secrets gone, nothing of the platform could be used again.
        errors.extend(files::remove(&self.paths().state).err().map(Error::from));
        errors
    }

    fn log_names(&self) -> Vec<String> {
        let services = self.settings.config.services.services.iter();
        services
            .flat_map(|(name, service)| {
                let jobs = service.init.iter().map(move |job| format!("{name}-{}", job.name));
                jobs.chain([name.value.clone()])
            })
            .collect()
    }

    async fn remove_images(&self) -> Vec<Error> {
        let config = &self.settings.config;
        let mut names: Vec<String> =
            config.services.images.names().map(|name| images::full_name(config, name)).collect();
        names.push(images::ROOT.to_owned());
        let mut errors = Vec::new();
        // An image with children cannot go before them: go round until nothing more goes.
        for _ in 0..names.len() {
            errors.clear();
            let mut left = Vec::new();
            for name in names {
                if let Err(error) = self.docker.remove_image(&name).await {
                    errors.push(error.into());
                    left.push(name);
                }
            }
            if left.is_empty() {
                break;
            }
            names = left;
        }
        errors
    }

    /// What is still there with our label. Empty is the proof.
    pub(crate) async fn left_over(&self, extent: Extent) -> Result<BTreeSet<String>, Error> {
        let project = self.platform.project();
        let mut left: BTreeSet<String> = BTreeSet::new();
        left.extend(
            self.docker.containers(project).await?.into_iter().map(|(name, _)| format!("container {name}")),
        );
        left.extend(self.docker.networks(project).await?.into_iter().map(|name| format!("network {name}")));
        let bridge = self.platform.bridge();
        if std::path::Path::new("/sys/class/net").join(&bridge).exists() {
            left.insert(format!("link {bridge}"));
        }
        if extent.data {
            left.extend(self.docker.volumes(project).await?.into_iter().map(|name| format!("volume {name}")));
            if self.paths().state.exists() {
                left.insert(format!("folder {}", self.paths().state.display()));
            }
        }
        if extent.images {
            left.extend(self.docker.our_images().await?.into_iter().map(|name| format!("image {name}")));
        }
        Ok(left)
    }
}

fn collect<E>(outcomes: Vec<dag::Outcome<usize, E>>) -> Result<usize, Vec<E>> {
    let mut count = 0;
    let mut errors = Vec::new();
    for outcome in outcomes {
        match outcome {
            dag::Outcome::Done(done) => count += done,
            dag::Outcome::Failed(error) => errors.push(error),
            dag::Outcome::Skipped { .. } => {}
        }
    }
    if errors.is_empty() { Ok(count) } else { Err(errors) }
}

impl engine::Docker {
    /// Removes an image's name, and the image when it has no other; an absent one is fine.
    async fn remove_image(&self, name: &str) -> Result<(), engine::Error> {
        let answer =
            self.api().remove_image(name, None::<bollard::query_parameters::RemoveImageOptions>, None).await;
        match answer.map_err(|error| engine::docker::explain(&format!("remove image {name}"), error)) {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Names of images below `octopenstack/`.
    async fn our_images(&self) -> Result<Vec<String>, engine::Error> {
        let filters =
            std::collections::HashMap::from([("reference".to_owned(), vec!["octopenstack/*".to_owned()])]);
        let options =
            bollard::query_parameters::ListImagesOptionsBuilder::default().filters(&filters).build();
        let list = self.api().list_images(Some(options)).await;
        let list = list.map_err(|error| engine::docker::explain("list images", error))?;
        Ok(list.into_iter().flat_map(|image| image.repo_tags).collect())
    }
}
