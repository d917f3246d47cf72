//! `logs`: the output of the services, merged, each line with its service in front.

use anyhow::Result;
use futures_util::stream::{self, StreamExt};

use crate::apply::Apply;
use crate::engine::Docker;
use crate::settings::Settings;

pub(super) async fn run(settings: &Settings, services: &[String], follow: bool, tail: &str) -> Result<()> {
    let docker = Docker::connect().await?;
    let apply = Apply::reader_of_all(settings, docker.clone())?;
    let selected = apply.selected(services)?;
    let containers = docker.containers(settings.project()).await?;
    let wanted: Vec<(String, String)> = containers
        .into_iter()
        .filter(|(_, container)| {
            !container.job && (selected.is_empty() || selected.contains(&container.service))
        })
        .map(|(name, container)| (name, container.service))
        .collect();
    let width = wanted.iter().map(|(_, service)| service.len()).max().unwrap_or(0);
    let streams = wanted.into_iter().map(|(name, service)| {
        docker
            .lines(&name, tail, follow, true)
            .map(move |line| line.map(|line| (line, service.clone())))
            .boxed()
    });
    let mut merged = stream::select_all(streams);
    let mut lines = Vec::new();
    while let Some(line) = merged.next().await {
        let (line, service) = line?;
        let (time, text) = line.split_once(' ').unwrap_or((line.as_str(), ""));
        if follow {
            settings.printer.data(&format!("{service:width$} | {text}"));
        } else {
            lines.push((time.to_owned(), format!("{service:width$} | {text}")));
        }
    }
    // Docker's time stamps sort as text. The order of one service's own lines is kept.
    lines.sort_by(|a, b| a.0.cmp(&b.0));
    for (_, line) in lines {
        settings.printer.data(&line);
    }
    Ok(())
}
