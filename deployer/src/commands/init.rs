//! `init`: databases, users, jobs and Keystone's catalogue once more, on a platform that runs.

use anyhow::{Result, bail};

use crate::apply::{Apply, Mode};
use crate::engine::Docker;
use crate::exit::Many;
use crate::settings::Settings;

pub(super) async fn run(settings: &Settings) -> Result<()> {
    let docker = Docker::connect().await?;
    let _lock = super::lock(settings, "init")?;
    if docker.containers(settings.project()).await?.is_empty() {
        bail!("the platform {} does not exist yet; `octopenstack up` makes it", settings.project());
    }
    let apply = Apply::new(settings, docker)?;
    let done = apply.converge(&[], Mode { again: true, everything: true }).await.map_err(Many::of)?;
    super::run::report(settings, done);
    Ok(())
}
