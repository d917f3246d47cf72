//! `rm`: removes the platform and shows that nothing is left. Asks before it deletes data.

use anyhow::{Result, bail};

use crate::apply::{Apply, Extent};
use crate::engine::Docker;
use crate::exit::Many;
use crate::plan::diff::Observed;
use crate::settings::Settings;

pub(super) async fn run(settings: &Settings, keep_volumes: bool, images: bool) -> Result<()> {
    let docker = Docker::connect().await?;
    let project = settings.project();
    let observed = docker.observe(project).await?;
    let nothing = observed.containers.is_empty() && !observed.network && observed.volumes.is_empty();
    if nothing && !settings.paths.state.exists() && !images {
        settings.printer.say(&format!("the platform {project} does not exist: nothing is left to remove"));
        return Ok(());
    }
    let data = match data(settings, &observed, keep_volumes)? {
        Answer::Data(data) => data,
        Answer::Stop => return Ok(()),
    };
    let _lock = super::lock(settings, "rm")?;
    let apply = Apply::reader(settings, docker)?;
    let extent = Extent { data, images };
    let removed = apply.remove(extent).await;
    let left = apply.left_over(extent).await?;
    removed.map_err(Many::new)?;
    if !left.is_empty() {
        bail!("these could not be removed:\n  {}", left.into_iter().collect::<Vec<_>>().join("\n  "));
    }
    let kept =
        if data { String::new() } else { " but volumes, secrets and logs, which were kept".to_owned() };
    settings.printer.say(&format!(
        "{project}: removed; nothing is left{kept} (containers, networks, links{})",
        checked(extent)
    ));
    Ok(())
}

fn checked(extent: Extent) -> &'static str {
    match (extent.data, extent.images) {
        (true, true) => ", volumes, state, images: all looked for",
        (true, false) => ", volumes, state: all looked for",
        (false, true) => ", images: all looked for",
        (false, false) => ": all looked for",
    }
}

enum Answer {
    /// Go on, with or without the data.
    Data(bool),
    Stop,
}

fn data(settings: &Settings, observed: &Observed, keep: bool) -> Result<Answer> {
    if keep {
        return Ok(Answer::Data(false));
    }
    if settings.yes || (observed.volumes.is_empty() && !settings.paths.secrets().exists()) {
        return Ok(Answer::Data(true));
    }
    let volumes: Vec<&str> = observed.volumes.iter().map(String::as_str).collect();
    settings.printer.say(&format!(
        "The data of {}: volumes {}; secrets and logs.",
        settings.project(),
        volumes.join(", ")
    ));
    match settings.printer.ask("Delete it for good?") {
        Some(true) => Ok(Answer::Data(true)),
        Some(false) => match settings.printer.ask("Remove the containers and keep the data?") {
            Some(true) => Ok(Answer::Data(false)),
            _ => Ok(Answer::Stop),
        },
        None => bail!(
            "rm would delete data and there is no terminal to ask at: give --yes, or --keep-volumes to keep it"
        ),
    }
}
