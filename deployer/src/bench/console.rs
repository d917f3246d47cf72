//! `bench console`: from a key to its echo through load balancer, nova-serialproxy and agent, against a shell that Docker starts
//! in the same container, in turn; and how long pages of the dashboard take.

use std::time::{Duration, Instant};

use common::docker::{Engine, Terminal};
use common::secret::Secret;
use futures_util::StreamExt;
use reqwest::Client;
use reqwest::redirect::Policy;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::stats::Samples;
use super::table::{Goal, Row, Table};
use super::websocket::WebSocket;
use super::{Error, pages};
use crate::cloud::{Cloud, NewServer};
use crate::printer::Printer;

/// How often the API is asked.
const POLL: Duration = Duration::from_millis(50);
/// Longest wait for a server.
const LIMIT: Duration = Duration::from_secs(120);
/// Longest wait for an echo.
const PATIENCE: Duration = Duration::from_secs(10);
/// A shell that says nothing for so long has said all.
const QUIET: Duration = Duration::from_millis(50);
/// As [`QUIET`], at its start.
const GREETING: Duration = Duration::from_secs(2);
/// The server of the benchmark.
const NAME: &str = "bench-console";
/// Of the terminal beside, in columns and rows.
const SIZE: (u16, u16) = (80, 24);
/// The key, and what takes it back.
const KEY: u8 = b'x';
const BACK: &[u8] = b"\x7f";
/// Milliseconds that the agent, with the proxies, may add to Docker's own time.
const GOAL: f64 = 50.0;

/// What a benchmark is about.
pub(crate) struct Subjects {
    /// Id of the image in Glance.
    pub(crate) image: String,
    /// Id of the flavor.
    pub(crate) flavor: String,
    /// The compute host.
    pub(crate) host: String,
    /// URL of the dashboard.
    pub(crate) site: String,
    /// Who logs in to it.
    pub(crate) user: String,
    /// With this password.
    pub(crate) password: Secret,
}

/// Runs everything, takes away what it made, and returns the table.
///
/// # Errors
/// When the server fails, its console gives no echo, or the dashboard no page.
pub(crate) async fn run(
    cloud: &Cloud,
    engine: &Engine,
    printer: &Printer,
    subjects: &Subjects,
    keys: u32,
) -> Result<Table, Error> {
    let site = &subjects.site;
    // The platform signs its certificate itself.
    let client = Client::builder().tls_danger_accept_invalid_certs(true).redirect(Policy::none()).no_proxy();
    let client = client.build().map_err(|source| Error::Site { url: site.clone(), source })?;
    let mut table = Table::default();
    for server in cloud.servers(NAME, None).await? {
        cloud.delete(&server.id, POLL, LIMIT).await?;
    }
    let (image, flavor, host) = (&subjects.image, &subjects.flavor, Some(subjects.host.as_str()));
    let new = NewServer { name: NAME, image, flavor, host, count: 1, access: None };
    let asked = cloud.boot(&new).await?;
    let server = cloud.wait_active(&asked.id, POLL, LIMIT).await?.id;
    printer.step(&format!("{keys} keys by the console and by docker exec, in turn"));
    let echoes = async {
        let url = cloud.serial_console(&server).await?;
        let console = Shell::Console(WebSocket::open(&client, &url, site).await?);
        let beside = engine.open_terminal(&format!("nova-{server}"), &["/bin/sh"], SIZE).await?;
        let beside = Shell::Exec(beside);
        echoes(console, beside, keys).await
    };
    let echoes = echoes.await;
    cloud.delete(&server, POLL, LIMIT).await?;
    let (ours, theirs) = echoes?;
    rows(&mut table, &ours, &theirs);
    printer.step("pages of the dashboard");
    pages::measure(&client, site, (&subjects.user, subjects.password.reveal()), &mut table).await?;
    Ok(table)
}

/// A shell in the container, by the one way or the other.
enum Shell {
    Console(WebSocket),
    Exec(Terminal),
}

impl Shell {
    async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Console(socket) => socket.send(bytes).await,
            Self::Exec(terminal) => {
                terminal.input.write_all(bytes).await?;
                terminal.input.flush().await
            }
        }
    }

    async fn receive(&mut self) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Console(socket) => socket.receive().await,
            Self::Exec(terminal) => match terminal.output.next().await {
                Some(output) => output.map_err(std::io::Error::other),
                None => Err(std::io::ErrorKind::UnexpectedEof.into()),
            },
        }
    }

    /// Reads until nothing comes for `pause`.
    async fn settle(&mut self, pause: Duration) -> Result<(), Error> {
        while let Ok(more) = timeout(pause, self.receive()).await {
            more.map_err(Error::Echo)?;
        }
        Ok(())
    }

    /// Types a key, and takes it back; the time until it was shown.
    async fn echo(&mut self) -> Result<Duration, Error> {
        let start = Instant::now();
        self.send(&[KEY]).await.map_err(Error::Echo)?;
        let shown = async {
            while !self.receive().await?.contains(&KEY) {}
            Ok(start.elapsed())
        };
        let late = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
        let shown =
            timeout(PATIENCE, shown).await.map_err(late).and_then(|shown| shown).map_err(Error::Echo)?;
        self.send(BACK).await.map_err(Error::Echo)?;
        self.settle(QUIET).await?;
        Ok(shown)
    }
}

/// In turn, so that both meet the same machine.
async fn echoes(mut ours: Shell, mut theirs: Shell, keys: u32) -> Result<(Samples, Samples), Error> {
    let (mut ours_took, mut theirs_took) = (Samples::default(), Samples::default());
    for shell in [&mut ours, &mut theirs] {
        shell.settle(GREETING).await?;
    }
    for _ in 0..keys {
        ours_took.push(ours.echo().await?);
        theirs_took.push(theirs.echo().await?);
    }
    // The console's shell is hung up by the agent; nobody does that to the other.
    theirs.send(b"exit\r").await.map_err(Error::Echo)?;
    Ok((ours_took, theirs_took))
}

fn rows(table: &mut Table, ours: &Samples, theirs: &Samples) {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    let figures = [("median", ours.median(), theirs.median()), ("p90", ours.p90(), theirs.p90())];
    for (which, ours, theirs) in figures {
        let (ours, theirs) = (milliseconds(ours), milliseconds(theirs));
        table.push(Row {
            figure: format!("key to echo, {which}: by the console, by docker exec; ms more"),
            ours: format!("{ours:.1} ms"),
            theirs: format!("{theirs:.1} ms"),
            value: ours - theirs,
            goal: Goal::AtMost(GOAL),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_console_adds_is_held_against_the_goal() {
        let (mut ours, mut theirs) = (Samples::default(), Samples::default());
        ours.push(Duration::from_millis(70));
        theirs.push(Duration::from_millis(10));
        let mut table = Table::default();
        rows(&mut table, &ours, &theirs);
        assert!(table.to_string().contains("70.0 ms  10.0 ms  60.00  <= 50  MISSED"), "{table}");
    }
}
