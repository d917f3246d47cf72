//! `rm`: takes away everything that carries our label, and looks whether anything is left.

use std::collections::BTreeSet;

use super::{Apply, Error};
use crate::engine::files;
use crate::engine::images::Removal;
use crate::engine::routes;
use crate::images;
use crate::plan::diff::Observed;

/// The service that runs instances; what it made is found by the labels Nova's names are in.
const AGENT: &str = "nova-docker-agent";

/// How much `rm` removes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Volumes, secrets, logs, and the instances: the data.
    pub(crate) data: bool,
    pub(crate) images: bool,
}

impl Apply<'_> {
    /// Names of the containers that are instances of this platform.
    pub(crate) async fn instances(&self) -> Result<Vec<String>, Error> {
        if !self.platform.services.contains_key(AGENT) {
            return Ok(Vec::new());
        }
        Ok(self.docker.instances(&self.platform.config.configuration.compute.host).await?)
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
        errors.extend(self.remove_containers(observed.containers.keys().cloned().collect()).await);
        if extent.data {
            // The agent is gone: nobody makes new ones.
            errors.extend(self.remove_instances().await);
        }
        for (network, _) in self.docker.networks(project).await.unwrap_or_default() {
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

    async fn remove_containers(&self, names: Vec<String>) -> Vec<Error> {
        let removals = names.iter().map(|name| self.docker.remove_container(name));
        let removed = futures_util::future::join_all(removals).await;
        removed.into_iter().filter_map(Result::err).map(Error::from).collect()
    }

    async fn remove_instances(&self) -> Vec<Error> {
        let instances = match self.instances().await {
            Ok(instances) => instances,
            Err(error) => return vec![error],
        };
        let host = &self.platform.config.configuration.compute.host;
        let images = self.docker.instance_images(host).await.unwrap_or_default();
        let count = instances.len();
        let mut errors = self.remove_containers(instances).await;
        if count > 0 {
            self.settings.printer.step(&format!("{count} instance(s) removed"));
        }
        for image in images {
            errors.extend(self.docker.remove_image(&image).await.err().map(Error::from));
        }
        errors
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

    /// Images are shared by all projects of a host: one that another project uses stays, and that is said.
    async fn remove_images(&self) -> Vec<Error> {
        let config = &self.settings.config;
        let mut names: Vec<String> =
            config.services.images.names().map(|name| config.configuration.image(name)).collect();
        names.push(images::ROOT.to_owned());
        let mut errors = Vec::new();
        for name in names {
            match self.docker.remove_image(&name).await {
                Ok(Removal::InUse) => {
                    self.settings.printer.say(&format!("image {name} is used by another platform and stays"));
                }
                Ok(Removal::Gone) => {}
                Err(error) => errors.push(error.into()),
            }
        }
        errors.extend(self.docker.prune_images().await.err().map(Error::from));
        errors
    }

    /// What is still there with our label. Empty is the proof.
    pub(crate) async fn left_over(&self, extent: Extent) -> Result<BTreeSet<String>, Error> {
        let project = self.platform.project();
        let (docker, bridge) = (&self.docker, self.platform.bridge());
        let mut left: BTreeSet<String> = BTreeSet::new();
        left.extend(
            docker.containers(project).await?.into_iter().map(|(name, _)| format!("container {name}")),
        );
        left.extend(docker.networks(project).await?.into_iter().map(|(name, _)| format!("network {name}")));
        if std::path::Path::new("/sys/class/net").join(&bridge).exists() {
            left.insert(format!("link {bridge}"));
        }
        let provider = &self.platform.config.configuration.networks.provider_subnet;
        left.extend(routes::of(&bridge, provider).into_iter().map(|route| format!("route {route}")));
        if extent.data {
            left.extend(self.instances().await?.into_iter().map(|name| format!("instance {name}")));
            left.extend(docker.volumes(project).await?.into_iter().map(|name| format!("volume {name}")));
            if self.paths().state.exists() {
                left.insert(format!("folder {}", self.paths().state.display()));
            }
        }
        if extent.images {
            for name in self.settings.config.services.images.names() {
                let name = self.settings.config.configuration.image(name);
                if images::inspect(docker, &name).await?.is_some() && !docker.is_image_used(&name).await? {
                    left.insert(format!("image {name}"));
                }
            }
        }
        Ok(left)
    }
}
