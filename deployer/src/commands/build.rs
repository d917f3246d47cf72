//! `build`: makes the images that changed.

use anyhow::Result;

use crate::engine::Docker;
use crate::exit::Many;
use crate::images::Builder;
use crate::lock;
use crate::render::Templates;
use crate::settings::Settings;

pub(super) async fn run(settings: &Settings, images: &[String], no_cache: bool) -> Result<()> {
    let docker = Docker::connect().await?;
    let built = build(settings, &docker, images, no_cache).await?;
    match built {
        0 => settings.printer.say("images: nothing to do"),
        count => settings.printer.step(&format!("{count} image(s) built")),
    }
    Ok(())
}

/// Returns how many were built.
pub(super) async fn build(
    settings: &Settings,
    docker: &Docker,
    images: &[String],
    no_cache: bool,
) -> Result<usize> {
    // Images are shared by all projects of the host: one build at a time, and the second finds its work done.
    let path = settings.paths.all_state.join("build.lock");
    let printer = &settings.printer;
    let waiting = |holder: &str| {
        printer.step(&format!("another octopenstack ({holder}) builds images: waiting for it"))
    };
    let _lock = lock::wait(&path, "images", "build", waiting).await?;
    let templates = Templates::load(&settings.config.templates)?;
    let builder = Builder {
        docker,
        config: &settings.config,
        templates: &templates,
        binaries: settings.paths.binaries.clone(),
        printer,
        no_cache,
    };
    builder.build(images).await.map_err(Many::of)
}
