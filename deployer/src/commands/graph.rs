//! `graph`: the platform as a picture (SVG), from what runs, or with `--planned` from `services.yaml` alone.

use std::path::Path;

use anyhow::{Context, Result};

use crate::graph::{self, Seen};
use crate::plan::platform::Platform;
use crate::settings::Settings;
use crate::versions;

pub(super) async fn run(settings: &Settings, file: &Path, planned: bool) -> Result<()> {
    let svg = if planned { of_files(settings) } else { of_what_runs(settings).await? };
    if file == Path::new("-") {
        settings.printer.data(svg.trim_end());
        return Ok(());
    }
    std::fs::write(file, svg).with_context(|| format!("cannot write {}", file.display()))?;
    settings.printer.say(&format!("the picture of {} is in {}", settings.project(), file.display()));
    Ok(())
}

fn of_files(settings: &Settings) -> String {
    let platform = Platform::new(&settings.config, &settings.profiles);
    let seen = platform.names.iter().map(|name| {
        let version = versions::planned(&platform.config, &platform.services[name]);
        (name.clone(), Seen { version, ..Seen::default() })
    });
    let seen = seen.collect();
    graph::draw(&platform, &seen)
}

async fn of_what_runs(settings: &Settings) -> Result<String> {
    let report = super::status::look(settings).await?;
    // What runs may be of any profile.
    let profiles: Vec<String> =
        settings.config.services.services.iter().filter_map(|(_, service)| service.profile.clone()).collect();
    let platform = Platform::new(&settings.config, &profiles);
    let seen = report.services.into_iter().map(|row| {
        let seen =
            Seen { state: Some(row.state), version: Some(row.version), published: Some(row.published) };
        (row.name, seen)
    });
    let seen = seen.collect();
    Ok(graph::draw(&platform, &seen))
}
