//! `run`: creates and starts what is missing or changed.

use anyhow::Result;

use crate::apply::{Apply, Mode};
use crate::cli::Converge;
use crate::engine::Docker;
use crate::exit::Many;
use crate::settings::Settings;

pub(super) async fn run(settings: &Settings, converge: &Converge) -> Result<()> {
    let docker = Docker::connect().await?;
    if converge.plan {
        return plan(settings, docker, converge).await;
    }
    let _lock = super::lock(settings, "run")?;
    let apply = Apply::new(settings, docker)?;
    let services = &converge.selection.services;
    let mode = Mode { everything: services.is_empty(), again: false };
    let done = apply.converge(services, mode).await.map_err(Many::of)?;
    report(settings, done);
    Ok(())
}

/// The plan goes to standard output: it is what was asked for.
pub(super) async fn plan(settings: &Settings, docker: Docker, converge: &Converge) -> Result<()> {
    let apply = Apply::reader(settings, docker)?;
    let steps = apply.plan(&converge.selection.services).await?;
    if steps.is_empty() {
        settings.printer.data("nothing to do");
    }
    for step in steps {
        settings.printer.data(&step.to_string());
    }
    Ok(())
}

pub(super) fn report(settings: &Settings, done: usize) {
    let project = settings.project();
    let seconds = settings.printer.elapsed().as_secs_f64();
    if done == 0 {
        settings.printer.say(&format!("{project}: nothing to do ({seconds:.1} s)"));
    } else {
        settings.printer.say(&format!("{project}: ready after {done} action(s) in {seconds:.1} s"));
    }
}
