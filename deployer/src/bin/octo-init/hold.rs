//! Holds a network namespace for other containers, and puts them back into it.
//!
//! The namespace goes with the process that has it. After a restart of this container the others still run in the old one, cut
//! off; and when Docker itself starts, it starts all containers at once and gives those up for good that want to join one that
//! does not run yet (`cannot join network of a non running container`, moby `daemon/container_operations.go`). Nobody but the
//! owner of the namespace knows that it is there again: it asks Docker to start them.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::say;

/// Docker's socket, where the container finds it.
const SOCKET: &str = "/var/run/docker.sock";
/// Looks after the start, by the pauses before them in seconds: Docker may still be starting the others.
const LOOKS: [u64; 4] = [0, 2, 5, 15];
/// Docker's answer to a restart comes when the container has stopped, which it may take its time for.
const PATIENCE: Duration = Duration::from_secs(120);

/// What Docker tells of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Seen {
    id: String,
    running: bool,
    /// When it was started, in a form that sorts.
    started: String,
    /// Why Docker could not start it.
    error: String,
    /// Id of the container whose network it joins.
    joins: Option<String>,
}

/// What is asked of Docker for a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remedy {
    Start,
    Restart,
}

/// Looks after the `joined` containers of `own`, and sleeps until it is told to end.
pub(crate) fn hold(own: &str, joined: Vec<&str>) -> ExitCode {
    say(&format!("octo-init: holds a network namespace for {} container(s)", joined.len()));
    for pause in LOOKS {
        sleep(Duration::from_secs(pause));
        if let Err(error) = look_after(own, &joined) {
            say(&format!("octo-init: cannot look after them: {error}"));
        }
    }
    loop {
        std::thread::park();
    }
}

fn look_after(own: &str, joined: &[&str]) -> io::Result<()> {
    if joined.is_empty() {
        return Ok(());
    }
    let own = inspect(own)?.ok_or_else(|| io::Error::other(format!("there is no container {own}")))?;
    for name in joined {
        let seen = inspect(name)?;
        let Some(remedy) = seen.and_then(|seen| remedy(&own, &seen)) else { continue };
        let (verb, why) = match remedy {
            Remedy::Start => ("start", "Docker gave it up"),
            Remedy::Restart => ("restart", "it runs in the network of before"),
        };
        say(&format!("octo-init: {verb} {name}: {why}"));
        let (status, body) = ask("POST", &format!("/containers/{name}/{verb}"))?;
        if status >= 400 {
            say(&format!("octo-init: {name}: Docker answers {status}: {}", body.trim()));
        }
    }
    Ok(())
}

/// A container that somebody stopped stays stopped, and one of another owner is another owner's.
fn remedy(own: &Seen, other: &Seen) -> Option<Remedy> {
    if other.joins.as_deref() != Some(own.id.as_str()) {
        return None;
    }
    if other.running {
        return (other.started < own.started).then_some(Remedy::Restart);
    }
    other.error.contains("cannot join network").then_some(Remedy::Start)
}

fn inspect(name: &str) -> io::Result<Option<Seen>> {
    let (status, body) = ask("GET", &format!("/containers/{name}/json"))?;
    match status {
        404 => Ok(None),
        200..=299 => Ok(Some(seen(&serde_json::from_str(&body)?))),
        _ => Err(io::Error::other(format!("Docker answers {status}: {}", body.trim()))),
    }
}

fn seen(inspected: &Value) -> Seen {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let state = &inspected["State"];
    let network = text(&inspected["HostConfig"]["NetworkMode"]);
    Seen {
        id: text(&inspected["Id"]),
        running: state["Running"].as_bool().unwrap_or_default(),
        started: sortable(&text(&state["StartedAt"])),
        error: text(&state["Error"]),
        joins: network.strip_prefix("container:").map(str::to_owned),
    }
}

/// Docker leaves out the zeros at the end of a second's fraction.
fn sortable(time: &str) -> String {
    let time = time.trim_end_matches('Z');
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, ""));
    format!("{seconds}.{fraction:0<9}")
}

/// Status and body of Docker's answer. HTTP/1.0, so that the body ends with the connection.
fn ask(method: &str, path: &str) -> io::Result<(u16, String)> {
    let mut stream = UnixStream::connect(SOCKET)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Length: 0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer.as_str(), ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("Docker's answer is no HTTP"))?;
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(running: bool, started: &str, error: &str) -> Seen {
        Seen {
            id: "other".into(),
            running,
            started: sortable(started),
            error: error.into(),
            joins: Some("own".into()),
        }
    }

    #[test]
    fn containers_cut_off_or_given_up_are_put_back_and_no_others() {
        let own = Seen {
            id: "own".into(),
            running: true,
            started: sortable("2026-11-24T07:00:00.5Z"),
            ..Seen::default()
        };
        let given_up = "cannot join network of a non running container: own";
        for (other, expected) in [
            (other(true, "2026-11-24T06:00:00Z", ""), Some(Remedy::Restart)),
            (other(true, "2026-11-24T07:00:00Z", ""), Some(Remedy::Restart)),
            (other(true, "2026-11-24T07:00:00.51Z", ""), None),
            (other(false, "2026-11-24T06:00:00Z", given_up), Some(Remedy::Start)),
            (other(false, "2026-11-24T06:00:00Z", ""), None),
            (Seen { joins: Some("else".into()), ..other(true, "2026-11-24T06:00:00Z", "") }, None),
            (Seen { joins: None, ..other(true, "2026-11-24T06:00:00Z", "") }, None),
        ] {
            assert_eq!(remedy(&own, &other), expected, "{other:?}");
        }
    }

    #[test]
    fn an_inspected_container_is_read() {
        let inspected = serde_json::json!({ "Id": "7", "HostConfig": { "NetworkMode": "container:8" },
            "State": { "Running": true, "StartedAt": "2026-11-24T07:00:00.12Z", "Error": "" } });
        let started = "2026-11-24T07:00:00.120000000".to_owned();
        let expected =
            Seen { id: "7".into(), running: true, started, error: String::new(), joins: Some("8".into()) };
        assert_eq!(seen(&inspected), expected);
    }
}
