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
pub(super) struct Row {
    pub(super) name: String,
    description: String,
    pub(super) state: &'static str,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Services it needs.
    needs: Vec<String>,
    image: String,
    pub(super) version: String,
    url: Option<String>,
    /// Ports on the host.
    pub(super) published: Vec<u16>,
    uptime: Option<String>,
    memory_bytes: Option<u64>,
}

/// The platform.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    project: String,
    release: String,
    /// URL of the dashboard.
    #[serde(skip_serializing_if = "Option::is_none")]
    dashboard: Option<String>,
    /// URL below which instances have their consoles.
    #[serde(skip_serializing_if = "Option::is_none")]
    consoles: Option<String>,
    pub(super) services: Vec<Row>,
}

pub(super) async fn run(settings: &Settings, json: bool) -> Result<()> {
    let report = look(settings).await?;
    if json {
        settings.printer.data(&serde_json::to_string_pretty(&report)?);
    } else {
        settings.printer.data(&table(&report));
    }
    Ok(())
}

/// Every service that is asked for or there.
pub(super) async fn look(settings: &Settings) -> Result<Report> {
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
    Ok(Report {
        project: settings.project().to_owned(),
        release: apply.platform.release().to_owned(),
        dashboard: apply.platform.site().map(|site| format!("{site}/")),
        consoles: apply.platform.consoles(),
        services,
    })
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
        needs: service.waits_for().map(str::to_owned).collect(),
        image,
        published: container.map(|container| container.published.clone()).unwrap_or_default(),
        url: service.api.as_ref().map_or_else(
            || apply.platform.page_url(name),
            |api| {
                let path = api.catalogue.as_ref().map_or("", |catalogue| catalogue.path.as_str());
                Some(format!("{}{path}", apply.platform.public_url(api)))
            },
        ),
        uptime: running.map(|container| uptime(&container.status)),
        memory_bytes: match running {
            Some(container) => apply.docker.memory(&container.id).await,
            None => None,
        },
    }
}

/// Version of what the service runs; `None` when nothing tells.
async fn version(apply: &Apply<'_>, service: &Service, running: Option<&Container>) -> Option<String> {
    if let Some(version) = versions::planned(&apply.settings.config, service) {
        return Some(version);
    }
    let packages = apply.docker.read_file(&running?.id, versions::DEBIAN).await?;
    versions::debian(&packages, service.package.as_ref()?)
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
        if let Some(waits) = waits(row, &report.services) {
            lines.push(format!("{}: needs {waits}", row.name));
        }
    }
    lines.extend(report.dashboard.iter().map(|url| format!("dashboard: {url}")));
    lines.join("\n")
}

/// What a service that is not ready needs and that is not ready either, with the states: the way to the cause.
fn waits(row: &Row, all: &[Row]) -> Option<String> {
    let unready = |name: &String| {
        let other = all.iter().find(|other| other.name == *name)?;
        (other.state != "ready").then(|| format!("{name} ({})", other.state))
    };
    let waits: Vec<String> = row.needs.iter().filter_map(unready).collect();
    (row.state != "ready" && !waits.is_empty()).then(|| waits.join(", "))
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
            needs: if name == "osctl" { vec!["keystone".into(), "mariadb".into()] } else { Vec::new() },
            published: Vec::new(),
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
            dashboard: Some("https://127.0.0.1/".into()),
            consoles: None,
            services
        }));
    }
}
