//! `validate`: both files and every template, with placeholders for secrets. Touches nothing and needs no Docker.

use std::collections::BTreeMap;

use anyhow::Result;
use common::config::Problems;

use crate::bootstrap::secrets::Secrets;
use crate::plan::platform::Platform;
use crate::render::{self, Templates, command_context, image_context};
use crate::settings::Settings;

pub(super) fn run(settings: &Settings) -> Result<()> {
    let files = templates(settings)?;
    let platform = Platform::new(&settings.config, &settings.profiles);
    settings.printer.say(&format!(
        "services.yaml and configuration.yaml are good: {} services, {} images, {} rendered files",
        platform.services.len(),
        settings.config.services.images.len(),
        files.len()
    ));
    Ok(())
}

/// Every file that would be rendered, by a path that tells whose it is. All template errors at once.
pub(super) fn templates(settings: &Settings) -> Result<BTreeMap<String, Vec<u8>>, render::Error> {
    let templates = Templates::load(&settings.config.templates)?;
    let platform = Platform::new(&settings.config, &settings.profiles);
    let secrets = Secrets::placeholders(&platform.wanted_secrets());
    let mut files = BTreeMap::new();
    let mut broken = Vec::new();
    let mut keep = |result: Result<Vec<(String, Vec<u8>)>, render::Error>| match result {
        Ok(rendered) => {
            files.extend(rendered);
            Ok(())
        }
        Err(render::Error::Templates(errors)) => {
            broken.extend(errors.0);
            Ok(())
        }
        Err(other) => Err(other),
    };
    for (name, image) in settings.config.services.images.iter() {
        let from = image.from.as_ref().map_or(crate::images::ROOT.to_owned(), |from| platform.image(from));
        let dockerfile = templates.render(&image.dockerfile, &image_context(&settings.config, name, &from));
        keep(dockerfile.map(|content| vec![(format!("images/{name}/Dockerfile"), content)]))?;
    }
    for (name, service) in &platform.services {
        let host_folder = settings.paths.host_folder(name);
        let rendered = templates.files(&platform, &secrets, (name, service), &host_folder);
        keep(rendered.map(|files| {
            files.into_iter().map(|file| (format!("services/{name}{}", file.path), file.content)).collect()
        }))?;
        let context = command_context(&platform, name, service, &host_folder);
        let jobs = service.init.iter().flat_map(|job| &job.command);
        for word in
            service.command.iter().chain(jobs).chain(service.environment.iter().map(|(_, value)| value))
        {
            keep(
                templates
                    .value(&format!("a command or variable of {name}"), word, &context)
                    .map(|_| Vec::new()),
            )?;
        }
    }
    if broken.is_empty() {
        return Ok(files);
    }
    // A template that several services include is broken once.
    broken.sort_by(|a, b| (&a.file, a.place).cmp(&(&b.file, b.place)));
    broken.dedup();
    Err(render::Error::Templates(Problems(broken)))
}
