//! `bench boot`: the agent against nova-compute with its fake driver, and against plain Docker, in one run.
//!
//! Both compute services are on one platform and are used in turn, so what disturbs the machine disturbs both.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use super::{
    Error, Side, Sides,
    record::Record,
    stats::{Samples, ratio},
    table::{Goal, Row, Table},
};
use crate::cloud::NewServer;

/// How often the API is asked where its time is not what is measured.
const POLL: Duration = Duration::from_millis(20);

/// Rest after a server is gone: what its compute service still does must not run into the other's boot.
const SETTLE: Duration = Duration::from_secs(1);

/// Boots whose conductor calls are counted.
const COUNTED: u32 = 3;

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(300);

/// Names of the servers a benchmark makes.
const PREFIX: &str = "bench";

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Boots one at a time, on an empty host.
    pub(crate) sequential: u32,
    /// Boots at once; they stay while the full host is measured.
    pub(crate) concurrent: u32,
    /// Boots one at a time, on the full host.
    pub(crate) on_full_host: u32,
}

/// What was measured of one compute service.
#[derive(Debug, Default)]
struct Figures {
    boot: Samples,
    delete: Samples,
    boot_on_full_host: Samples,
    conductor_calls: usize,
    boots_per_second: f64,
    deletes_per_second: f64,
    rss_after_start: f64,
    rss_after_boots: f64,
}

/// Runs everything and returns the table.
///
/// # Errors
/// When a server fails, or a service does not answer.
pub(crate) async fn run(sides: &Sides<'_>, size: Size) -> Result<Table, Error> {
    let mut ours = Figures { rss_after_start: sides.rss(&sides.ours).await?, ..Figures::default() };
    let mut theirs = Figures { rss_after_start: sides.rss(&sides.theirs).await?, ..Figures::default() };
    for side in [&sides.ours, &sides.theirs] {
        one(sides, side, &mut Figures::default()).await?;
    }

    sides.printer.step(&format!("{} boots of each side in turn, one at a time", size.sequential));
    let before = sides.agent_boots().await?;
    let mut docker_run = Samples::default();
    for _ in 0..size.sequential {
        one(sides, &sides.ours, &mut ours).await?;
        docker_run.push(sides.docker_run().await?);
        one(sides, &sides.theirs, &mut theirs).await?;
    }
    let inside = sides.agent_boots().await?.mean_since(before).ok_or(Error::NotMeasured)?;

    for (side, figures) in [(&sides.theirs, &mut theirs), (&sides.ours, &mut ours)] {
        crowd(sides, side, size, figures).await?;
    }

    sides.printer.step(&format!("{COUNTED} boots of each side, their conductor calls counted"));
    sides
        .traced(async |firehose| {
            for (side, figures) in [(&sides.ours, &mut ours), (&sides.theirs, &mut theirs)] {
                for _ in 0..COUNTED {
                    let request_id = one(sides, side, &mut Figures::default()).await?;
                    figures.conductor_calls += firehose.calls(&request_id).await;
                }
            }
            Ok(())
        })
        .await?;
    Ok(table(&ours, &theirs, inside, &docker_run, size))
}

/// Boots one server and deletes it; the request id of the boot.
async fn one(sides: &Sides<'_>, side: &Side, figures: &mut Figures) -> Result<String, Error> {
    let mut record = Record::open(&sides.database).await?;
    let start = Instant::now();
    let asked = sides.cloud.boot(&new_server(sides, side, 1)).await?;
    record.wait_settled(&asked.id, LIMIT).await?;
    figures.boot.push(start.elapsed());
    sides.cloud.wait_active(&asked.id, POLL, LIMIT).await?;
    // The last calls of a boot are made after it is ACTIVE.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let start = Instant::now();
    sides.cloud.delete(&asked.id, POLL, LIMIT).await?;
    figures.delete.push(start.elapsed());
    tokio::time::sleep(SETTLE).await;
    Ok(asked.request_id)
}

/// Boots many at once, measures single boots beside them, and deletes all.
async fn crowd(sides: &Sides<'_>, side: &Side, size: Size, figures: &mut Figures) -> Result<(), Error> {
    sides.printer.step(&format!("{}: {} at once", side.label, size.concurrent));
    let mut record = Record::open(&sides.database).await?;
    let start = Instant::now();
    sides.cloud.boot(&new_server(sides, side, size.concurrent)).await?;
    record.wait_count(PREFIX, Some("active"), size.concurrent, LIMIT).await?;
    figures.boots_per_second = f64::from(size.concurrent) / start.elapsed().as_secs_f64();
    figures.rss_after_boots = sides.rss(side).await?;

    sides.printer.step(&format!("{}: {} more, one at a time", side.label, size.on_full_host));
    for _ in 0..size.on_full_host {
        let start = Instant::now();
        let asked = sides.cloud.boot(&NewServer { name: "single", ..new_server(sides, side, 1) }).await?;
        record.wait_settled(&asked.id, LIMIT).await?;
        figures.boot_on_full_host.push(start.elapsed());
        sides.cloud.wait_active(&asked.id, POLL, LIMIT).await?;
        sides.cloud.delete(&asked.id, POLL, LIMIT).await?;
    }

    let servers = sides.cloud.servers(PREFIX, None).await?;
    let start = Instant::now();
    try_join_all(servers.iter().map(|server| sides.cloud.delete_request(&server.id))).await?;
    record.wait_count(PREFIX, None, 0, LIMIT).await?;
    figures.deletes_per_second = f64::from(size.concurrent) / start.elapsed().as_secs_f64();
    Ok(())
}

fn new_server<'a>(sides: &'a Sides<'_>, side: &'a Side, count: u32) -> NewServer<'a> {
    NewServer {
        name: PREFIX,
        image: &sides.image,
        flavor: &sides.flavor,
        host: Some(&side.host),
        count,
        access: None,
    }
}

fn table(ours: &Figures, theirs: &Figures, inside: Duration, docker_run: &Samples, size: Size) -> Table {
    let mut table = Table::default();
    let times = |figure: &str, ours: Duration, theirs: Duration, limit: f64| Row {
        figure: figure.to_owned(),
        ours: milliseconds(ours),
        theirs: milliseconds(theirs),
        value: ratio(ours.as_secs_f64(), theirs.as_secs_f64()),
        goal: Goal::AtMost(limit),
    };
    let number = |figure: &str, ours: String, theirs: String, value: f64, goal: Goal| Row {
        figure: figure.to_owned(),
        ours,
        theirs,
        value,
        goal,
    };
    table.push(times("RPC to ACTIVE saved, against docker run", inside, docker_run.median(), 1.3));
    table.push(times("POST to ACTIVE, median", ours.boot.median(), theirs.boot.median(), 0.8));
    table.push(times("POST to ACTIVE, 90 of 100", ours.boot.p90(), theirs.boot.p90(), 0.8));
    let many = size.concurrent;
    let full = format!("POST to ACTIVE beside {many}, median");
    table.push(times(&full, ours.boot_on_full_host.median(), theirs.boot_on_full_host.median(), 0.8));
    let flat = ratio(ours.boot_on_full_host.median().as_secs_f64(), ours.boot.median().as_secs_f64());
    let theirs_flat =
        ratio(theirs.boot_on_full_host.median().as_secs_f64(), theirs.boot.median().as_secs_f64());
    let flatness = format!("beside {many} / on an empty host");
    table.push(number(
        &flatness,
        format!("{flat:.2}"),
        format!("{theirs_flat:.2}"),
        flat,
        Goal::AtMost(1.25),
    ));
    table.push(times("DELETE to gone, median", ours.delete.median(), theirs.delete.median(), 1.0));
    let per_second = |ours: f64| format!("{ours:.2}/s");
    table.push(number(
        &format!("{many} at once, boots"),
        per_second(ours.boots_per_second),
        per_second(theirs.boots_per_second),
        ratio(ours.boots_per_second, theirs.boots_per_second),
        Goal::AtLeast(3.0),
    ));
    table.push(number(
        &format!("{many} at once, deletes"),
        per_second(ours.deletes_per_second),
        per_second(theirs.deletes_per_second),
        ratio(ours.deletes_per_second, theirs.deletes_per_second),
        Goal::AtLeast(1.0),
    ));
    let calls = |figures: &Figures| {
        u32::try_from(figures.conductor_calls).map_or(f64::INFINITY, f64::from) / f64::from(COUNTED)
    };
    table.push(number(
        "conductor calls per boot",
        format!("{:.1}", calls(ours)),
        format!("{:.1}", calls(theirs)),
        calls(ours),
        Goal::AtMost(6.0),
    ));
    let megabytes = |mb: f64| format!("{mb:.1} MB");
    let memory = |figure: &str, ours: f64, theirs: f64, limit: f64| {
        number(figure, megabytes(ours), megabytes(theirs), ours, Goal::AtMost(limit))
    };
    table.push(memory("RSS after start, MB", ours.rss_after_start, theirs.rss_after_start, 20.0));
    table.push(memory(&format!("RSS with {many}, MB"), ours.rss_after_boots, theirs.rss_after_boots, 25.0));
    table
}

fn milliseconds(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}
