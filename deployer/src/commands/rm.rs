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
    let apply = Apply::reader_of_all(settings, docker)?;
    let instances = apply.instances().await?;
    let nothing = observed.containers.is_empty() && observed.network.is_none() && observed.volumes.is_empty();
    if nothing && instances.is_empty() && !settings.paths.state.exists() && !images {
        settings.printer.say(&format!("the platform {project} does not exist: nothing is left to remove"));
        return Ok(());
    }
    let Some(data) = data(settings, &observed, &instances, keep_volumes)? else { return Ok(()) };
    let _lock = super::lock(settings, "rm")?;
    let extent = Extent { data, images };
    let removed = apply.remove(extent).await;
    let left = apply.left_over(extent).await?;
    removed.map_err(Many::of)?;
    if !left.is_empty() {
        bail!("these could not be removed:\n  {}", left.into_iter().collect::<Vec<_>>().join("\n  "));
    }
    settings.printer.say(&format!("{project}: removed; nothing is left{}", looked_for(extent)));
    Ok(())
}

fn looked_for(extent: Extent) -> String {
    let mut kinds = vec!["containers", "networks", "links", "routes"];
    if extent.data {
        kinds.extend(["volumes", "instances", "state"]);
    }
    if extent.images {
        kinds.push("images");
    }
    let kept = if extent.data { "" } else { "; volumes, secrets, logs and instances were kept" };
    format!(" (looked for {}{kept})", kinds.join(", "))
}

/// Whether the data goes too; `None` when nothing shall be done.
fn data(settings: &Settings, observed: &Observed, instances: &[String], keep: bool) -> Result<Option<bool>> {
    if keep {
        return Ok(Some(false));
    }
    let none = observed.volumes.is_empty() && instances.is_empty() && !settings.paths.secrets().exists();
    if settings.yes || none {
        return Ok(Some(true));
    }
    settings.printer.say(&inventory(settings.project(), observed, instances));
    match settings.printer.ask("Delete it for good?") {
        Some(true) => Ok(Some(true)),
        Some(false) => {
            let containers = settings.printer.ask("Remove the control plane's containers and keep the data?");
            Ok(containers.filter(|yes| *yes).map(|_| false))
        }
        None => {
            bail!(
                "rm would delete data and there is no terminal to ask at: give --yes, or --keep-volumes to keep it"
            )
        }
    }
}

/// What would be lost.
fn inventory(project: &str, observed: &Observed, instances: &[String]) -> String {
    let volumes: Vec<&str> = observed.volumes.iter().map(String::as_str).collect();
    let mut text = format!("The data of {project}: volumes {}; secrets; logs", volumes.join(", "));
    if !instances.is_empty() {
        text += &format!("; {} instance(s): {}", instances.len(), instances.join(", "));
    }
    text
}
