//! `status`: every service with its state, image, version, URL, uptime and memory.

use anyhow::Result;
use common::config::Service;
use serde::Serialize;

use crate::apply::Apply;
use crate::engine::Docker;
use crate::plan::diff::{Container, State};
use crate::settings::Settings;
use crate::versions;

/// One row.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    description: String,
    state: &'static str,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    image: String,
    version: String,
    url: Option<String>,
    uptime: Option<String>,
    memory_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Report {
    project: String,
    release: String,
    services: Vec<Row>,
}

pub(super) async fn run(settings: &Settings, json: bool) -> Result<()> {
    let docker = Docker::connect().await?;
    let apply = Apply::reader_of_all(settings, docker)?;
    let observed = apply.docker.observe(settings.project()).await?;
    apply.learn(&observed);
    let asked = |name: &&String| {
        let profile = apply.platform.services[*name].profile.as_ref();
        let there = observed.containers.contains_key(&apply.platform.container(name));
        there || profile.is_none_or(|profile| settings.profiles.contains(profile))
    };
    let rows = apply.platform.names.iter().filter(asked).map(|name| {
        let container = observed.containers.get(&apply.platform.container(name));
        row(&apply, name, container)
    });
    let services = futures_util::future::join_all(rows).await;
    let report = Report {
        project: settings.project().to_owned(),
        release: apply.platform.release().to_owned(),
        services,
    };
    if json {
        settings.printer.data(&serde_json::to_string_pretty(&report)?);
    } else {
        settings.printer.data(&table(&report));
    }
    Ok(())
}

async fn row(apply: &Apply<'_>, name: &str, container: Option<&Container>) -> Row {
    let service = &apply.platform.services[name];
    let image = apply.platform.image(&service.image);
    let running = container.filter(|container| container.state == State::Running);
    let (state, reason) = match container {
        None => ("absent", None),
        Some(container) => state(apply, name, container).await,
    };
    Row {
        name: name.to_owned(),
        description: service.description.clone(),
        state,
        reason,
        version: version(apply, service, running)
            .await
            .unwrap_or_else(|| apply.platform.release().to_owned()),
        image,
        url: service.api.as_ref().map(|api| {
            let path = api.catalogue.as_ref().map_or("", |catalogue| catalogue.path.as_str());
            format!("{}{path}", apply.platform.public_url(api))
        }),
        uptime: running.map(|container| uptime(&container.status)),
        memory_bytes: match running {
            Some(container) => apply.docker.memory(&container.id).await,
            None => None,
        },
    }
}

/// Version of what the service runs; `None` when nothing tells.
async fn version(apply: &Apply<'_>, service: &Service, running: Option<&Container>) -> Option<String> {
    let config = &apply.settings.config;
    let image = config.services.images.get(&service.image)?;
    let package = match &service.package {
        Some(package) => package,
        // A program of this repository has this program's version.
        None => return versions::ours(image, service).map(str::to_owned),
    };
    if let Some(version) = versions::locked(&config.templates, image, package) {
        return Some(version);
    }
    let packages = apply.docker.read_file(&running?.id, versions::DEBIAN).await?;
    versions::debian(&packages, package)
}

async fn state(apply: &Apply<'_>, name: &str, container: &Container) -> (&'static str, Option<String>) {
    match container.state {
        State::Running => match apply.ready_now(name).await {
            Ok(()) if container.status.contains("(unhealthy)") => {
                ("unhealthy", Some("Docker's health check fails".into()))
            }
            Ok(()) => ("ready", None),
            Err(reason) => ("running", Some(reason)),
        },
        State::Restarting => ("restarting", Some(container.status.clone())),
        State::Paused => ("paused", None),
        State::Succeeded | State::Failed => ("exited", Some(container.status.clone())),
        State::Created => ("created", Some("it was never started".into())),
    }
}

/// Docker's `Up 3 minutes (healthy)` without what the state says already.
fn uptime(status: &str) -> String {
    let text = status.strip_prefix("Up ").unwrap_or(status);
    text.split(" (").next().unwrap_or(text).to_owned()
}

fn table(report: &Report) -> String {
    let header = ["SERVICE", "STATE", "VERSION", "URL", "UPTIME", "MEMORY", "IMAGE"].map(str::to_owned);
    let mut rows = vec![header];
    for row in &report.services {
        let dash = || "-".to_owned();
        rows.push([
            row.name.clone(),
            row.state.to_owned(),
            row.version.clone(),
            row.url.clone().unwrap_or_else(dash),
            row.uptime.clone().unwrap_or_else(dash),
            row.memory_bytes.map_or_else(dash, |bytes| format!("{} MB", bytes >> 20)),
            row.image.clone(),
        ]);
    }
    let mut lines = vec![format!("{} (OpenStack {})", report.project, report.release)];
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        lines.push(cells.join("  ").trim_end().to_owned());
    }
    for row in &report.services {
        if let Some(reason) = &row.reason {
            lines.push(format!("{}: {reason}", row.name));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str, state: &'static str, url: Option<&str>, memory_bytes: Option<u64>) -> Row {
        Row {
            name: name.into(),
            description: String::new(),
            state,
            reason: (state == "exited").then(|| "Exited (1) 2 minutes ago".into()),
            image: format!("octopenstack/{name}:2026.2"),
            version: "2026.2".into(),
            url: url.map(str::to_owned),
            uptime: memory_bytes.map(|_| uptime("Up 3 minutes (healthy)")),
            memory_bytes,
        }
    }

    #[test]
    fn the_table_is_aligned_and_says_why() {
        let services = vec![
            sample("keystone", "ready", Some("http://127.0.0.1:5000/v3"), Some(150 << 20)),
            sample("mariadb", "exited", None, None),
            sample("osctl", "absent", None, None),
        ];
        insta::assert_snapshot!(table(&Report {
            project: "octo".into(),
            release: "2026.2".into(),
            services
        }));
    }
}
