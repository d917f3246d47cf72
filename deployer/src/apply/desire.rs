//! Renders every file and builds every spec: the desired state, complete before anything is touched.

use std::collections::{BTreeMap, BTreeSet};

use common::config::{Problems, Service};

use super::{Apply, Error};
use crate::images::Builder;
use crate::plan::diff::DesiredService;
use crate::plan::spec::Ingredients;
use crate::render::{self, command_context};

impl Apply<'_> {
    /// Desired state of `names`. With `images_needed`, an image that does not exist is an error.
    pub(super) async fn desire(
        &self,
        names: &BTreeSet<String>,
        images_needed: bool,
    ) -> Result<BTreeMap<String, DesiredService>, Error> {
        let ids = Builder::ids(&self.docker, &self.settings.config).await?;
        let mut desired = BTreeMap::new();
        let mut broken = Vec::new();
        for name in names {
            let service = &self.platform.services[name];
            let id = match ids.get(service.image.as_str()) {
                Some(id) => id.as_str(),
                None if images_needed => {
                    let image = self.platform.image(&service.image);
                    return Err(Error::NoImage { service: name.clone(), image });
                }
                None => "not built",
            };
            match self.desire_one(name, service, id) {
                Ok(one) => drop(desired.insert(name.clone(), one)),
                Err(render::Error::Templates(errors)) => broken.extend(errors.0),
                Err(other) => return Err(other.into()),
            }
        }
        if broken.is_empty() { Ok(desired) } else { Err(render::Error::Templates(Problems(broken)).into()) }
    }

    fn desire_one(
        &self,
        name: &str,
        service: &Service,
        image_id: &str,
    ) -> Result<DesiredService, render::Error> {
        let host_folder = self.paths().host_folder(name);
        let files = self.templates.files(&self.platform, &self.secrets, (name, service), &host_folder)?;
        let context = command_context(&self.platform, name, service, &host_folder);
        let words = |what: &str, words: &[String]| -> Result<Vec<String>, render::Error> {
            words.iter().map(|word| self.templates.value(what, word, &context)).collect()
        };
        let overrides = self.platform.config.configuration.services.get(name).map(|over| &over.environment);
        let mut environment = BTreeMap::new();
        for (key, value) in
            service.environment.iter().chain(overrides.into_iter().flat_map(|over| over.iter()))
        {
            let value = self.templates.value(&format!("environment {key} of {name}"), value, &context)?;
            environment.insert(key.value.clone(), value);
        }
        let ingredients = Ingredients {
            platform: &self.platform,
            key: &self.key,
            rendered: &self.paths().rendered(),
            logs: &self.paths().logs,
            host_folder: &host_folder,
            name,
            service,
            image_id,
            files: &files,
            environment: &environment,
        };
        let mut jobs = Vec::new();
        for job in &service.init {
            let command = words(&format!("job {} of {name}", job.name), &job.command)?;
            jobs.push((job.name.value.clone(), ingredients.job(job, &command)));
        }
        let command = words(&format!("command of {name}"), &service.command)?;
        Ok(DesiredService { container: ingredients.service(&command), jobs })
    }
}
