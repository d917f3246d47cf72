//! `up`: build, run and init. From nothing to a working cloud; the second time there is nothing to do.

use anyhow::Result;

use crate::apply::{Apply, Mode};
use crate::cli::Converge;
use crate::engine::Docker;
use crate::exit::Many;
use crate::logins::{self, Login};
use crate::plan::platform::Platform;
use crate::settings::Settings;

pub(super) async fn run(settings: &Settings, converge: &Converge) -> Result<()> {
    let docker = Docker::connect().await?;
    if converge.plan {
        return super::run::plan(settings, docker, converge).await;
    }
    let _lock = super::lock(settings, "up")?;
    let done = up(settings, &docker, &converge.selection.services).await?;
    super::run::report(settings, done);
    Ok(())
}

/// The whole way up; the caller holds the lock. Returns the number of things done.
pub(super) async fn up(settings: &Settings, docker: &Docker, services: &[String]) -> Result<usize> {
    let apply = Apply::new(settings, docker.clone())?;
    apply.preflight(services).await?;
    let images = images(&apply.platform, services);
    let built = super::build::build(settings, docker, &images, false).await?;
    let mode = Mode { everything: services.is_empty(), again: false };
    let done = apply.converge(services, mode).await.map_err(Many::of)?;
    if apply.platform.identity.is_some() {
        logins::write(settings, &Login::all(settings)?)?;
    }
    Ok(built + done)
}

/// Images to build: those of the services; for the whole platform also those no service uses (the demo's), but none of
/// a profile that was not asked for.
fn images(platform: &Platform, services: &[String]) -> Vec<String> {
    let used = |name: &String| platform.services[name].image.value.clone();
    if !services.is_empty() {
        return crate::plan::order::with_dependencies(&platform.services, services)
            .iter()
            .map(used)
            .collect();
    }
    let other_profiles: Vec<&str> = platform
        .config
        .services
        .services
        .iter()
        .filter(|(name, _)| !platform.services.contains_key(name.as_str()))
        .map(|(_, service)| service.image.as_str())
        .collect();
    let wanted: Vec<String> = platform.services.keys().map(used).collect();
    let all = platform.config.services.images.names();
    all.filter(|image| wanted.iter().any(|name| name == image) || !other_profiles.contains(image))
        .map(str::to_owned)
        .collect()
}
