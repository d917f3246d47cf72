//! One file per verb. A command reads settings, takes the lock when it changes something, acts, and says what it did.

mod bench;
mod build;
mod completion;
mod demo;
mod graph;
mod init;
mod logs;
mod openrc;
mod openstack;
mod render;
mod rm;
mod run;
mod second_host;
mod start;
mod status;
mod stop;
mod test;
mod up;
mod validate;

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::{Cli, Command};
use crate::lock::{self, Lock};
use crate::printer::Printer;
use crate::settings::Settings;

/// Carries out what the command line says.
pub(crate) async fn run(cli: Cli) -> Result<ExitCode> {
    // A shell asks at its start, whatever is in the files.
    if let Command::Completion { shell } = cli.command {
        completion::run(shell, &Printer::new(false));
        return Ok(ExitCode::SUCCESS);
    }
    let settings = Settings::resolve(cli.global)?;
    if makes_something(&cli.command) {
        // Every template is rendered before Docker is asked and before the minutes of a build are spent.
        validate::templates(&settings)?;
    }
    match cli.command {
        Command::Build { images, no_cache } => build::run(&settings, &images, no_cache).await?,
        Command::Run(converge) => run::run(&settings, &converge).await?,
        Command::Init => init::run(&settings).await?,
        Command::Up(converge) => up::run(&settings, &converge).await?,
        Command::Stop(selection) => stop::run(&settings, &selection.services).await?,
        Command::Start(selection) => start::run(&settings, &selection.services).await?,
        Command::Rm { keep_volumes, images } => rm::run(&settings, keep_volumes, images).await?,
        Command::Status { json } => status::run(&settings, json).await?,
        Command::Graph { file, planned } => graph::run(&settings, &file, planned).await?,
        Command::Logs { selection, follow, tail } => {
            logs::run(&settings, &selection.services, follow, &tail).await?
        }
        Command::Openrc { user } => openrc::openrc(&settings, user.as_deref())?,
        Command::Clouds => openrc::clouds(&settings)?,
        Command::Openstack { arguments } => return openstack::run(&settings, arguments).await,
        // Answered above.
        Command::Completion { .. } => {}
        Command::Validate => validate::run(&settings)?,
        Command::Render { dir } => render::run(&settings, &dir)?,
        Command::Demo => demo::run(&settings).await?,
        Command::Test(test) => return test::run(&settings, &test).await,
        Command::Bench(bench) => return bench::run(&settings, bench).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// Verbs whose work is made from the templates.
fn makes_something(command: &Command) -> bool {
    matches!(
        command,
        Command::Build { .. } | Command::Run(_) | Command::Init | Command::Up(_) | Command::Demo
    )
}

/// The project's lock, held until the command ends.
fn lock(settings: &Settings, verb: &str) -> Result<Lock, lock::Error> {
    lock::take(&settings.paths.state.join("lock"), &format!("project {}", settings.project()), verb)
}
