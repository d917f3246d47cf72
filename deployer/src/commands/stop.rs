//! `stop`: dependants first; containers and data stay.

use anyhow::Result;

use crate::apply::Apply;
use crate::engine::Docker;
use crate::exit::Many;
use crate::settings::Settings;

pub(super) async fn run(settings: &Settings, services: &[String]) -> Result<()> {
    let docker = Docker::connect().await?;
    let _lock = super::lock(settings, "stop")?;
    let stopped = Apply::reader_of_all(settings, docker)?.stop(services).await.map_err(Many::of)?;
    match stopped {
        0 => settings.printer.say("nothing runs"),
        count => settings.printer.say(&format!("{count} service(s) stopped")),
    }
    Ok(())
}
