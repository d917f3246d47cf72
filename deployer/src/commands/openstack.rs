//! `openstack …`: the client inside the service `osctl`. Its credentials are a file mounted there, never an argument.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::engine::Docker;
use crate::plan::platform::Platform;
use crate::settings::Settings;

/// The service that carries the client.
const SERVICE: &str = "osctl";

pub(super) async fn run(settings: &Settings, arguments: Vec<String>) -> Result<ExitCode> {
    let platform = Platform::new(&settings.config, &settings.profiles);
    let docker = Docker::connect().await?;
    let container = platform.container(SERVICE);
    match docker.inspect(&container).await? {
        Some(state) if state.running => {}
        Some(_) => bail!("{container} does not run; `octopenstack start` starts it"),
        None => bail!("{container} does not exist; `octopenstack up` makes it"),
    }
    let command = std::iter::once("openstack".to_owned()).chain(arguments).collect();
    let code = docker.exec(&container, command).await?;
    Ok(ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1)))
}
