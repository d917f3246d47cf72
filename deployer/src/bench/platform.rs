//! `bench up`: what the platform takes of time, memory and disk.

use std::time::Duration;

use super::{
    Error, process,
    table::{Goal, Row, Table},
};
use crate::engine::Docker;

/// Times of three commands in a row: `up` after `rm`, and `up` again.
pub(crate) struct Times {
    /// `up` with images built, after `rm`.
    pub(crate) up: Duration,
    /// The second `up`.
    pub(crate) again: Duration,
}

/// The table of a platform that is up. `containers` are those of the control plane, `images` the names of its images.
///
/// # Errors
/// When Docker does not answer.
pub(crate) async fn table(
    docker: &Docker,
    times: &Times,
    containers: &[String],
    images: &[String],
) -> Result<Table, Error> {
    let mut table = Table::default();
    let mut row = |figure: &str, ours: String, value: f64, limit: f64| {
        let theirs = String::new();
        table.push(Row { figure: figure.to_owned(), ours, theirs, value, goal: Goal::AtMost(limit) });
    };
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    row("up with images built, after rm", seconds(times.up), times.up.as_secs_f64(), 90.0);
    row("second up, nothing changed", seconds(times.again), times.again.as_secs_f64(), 3.0);
    let pss = memory(docker, containers).await?.pss_mb();
    row("whole control plane, PSS", format!("{pss:.0} MB"), pss, 2560.0);
    let disk = disk(docker, images).await?;
    row("images, shared layers once", format!("{disk:.0} MB"), disk, 1640.0);
    Ok(table)
}

async fn memory(docker: &Docker, containers: &[String]) -> Result<process::Memory, Error> {
    let mut pids = Vec::new();
    for name in containers {
        let found = docker.api().inspect_container(name, None).await?;
        let pid = found.state.and_then(|state| state.pid).and_then(|pid| u32::try_from(pid).ok());
        pids.extend(pid.filter(|pid| *pid > 0).map(process::tree).unwrap_or_default());
    }
    Ok(process::memory(&pids))
}

/// MB of the images' layers, each layer once. Layers are told apart by the digests of all that is below them.
async fn disk(docker: &Docker, images: &[String]) -> Result<f64, Error> {
    let mut layers = std::collections::BTreeMap::new();
    for image in images {
        let history = docker.api().image_history(image).await?;
        let mut above = String::new();
        // From the lowest layer up: the same commands on the same parent made the same layer.
        for layer in history.iter().rev() {
            above = format!("{above}\n{}{}", layer.created, layer.created_by);
            layers.insert(above.clone(), layer.size);
        }
    }
    let bytes: i64 = layers.values().sum();
    // Far below 2^52 bytes.
    #[expect(clippy::cast_precision_loss, reason = "the size of a few images fits")]
    let megabytes = bytes as f64 / f64::from(1 << 20);
    Ok(megabytes)
}
