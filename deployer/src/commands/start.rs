//! `start`: stopped services in the order of their dependencies, each waited for.

use anyhow::Result;

use crate::apply::Apply;
use crate::engine::Docker;
use crate::exit::Many;
use crate::settings::Settings;

pub(super) async fn run(settings: &Settings, services: &[String]) -> Result<()> {
    let docker = Docker::connect().await?;
    let _lock = super::lock(settings, "start")?;
    let started = Apply::reader(settings, docker)?.start(services).await.map_err(Many::of)?;
    match started {
        0 => settings.printer.say("everything runs already"),
        count => settings.printer.say(&format!("{count} service(s) started")),
    }
    Ok(())
}
