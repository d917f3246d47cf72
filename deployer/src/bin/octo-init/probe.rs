//! The health probe: a connection, or one GET, without pulling an HTTP library into every image.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Each step may take this long; Docker's own limit is 5 seconds for the whole probe.
const PATIENCE: Duration = Duration::from_secs(4);

/// What is probed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A port that accepts connections.
    Tcp { address: String },
    /// A GET answered with 200..399.
    Http { address: String, path: String },
}

impl Target {
    /// `kind` is `tcp` (target `HOST:PORT`) or `http` (target `http://HOST:PORT/PATH`).
    pub(crate) fn parse(kind: &str, target: &str) -> Option<Target> {
        match kind {
            "tcp" => Some(Target::Tcp { address: target.to_owned() }),
            "http" => {
                let rest = target.strip_prefix("http://")?;
                let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
                let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
                Some(Target::Http { address, path: path.to_owned() })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp { address } => write!(f, "tcp {address}"),
            Target::Http { address, path } => write!(f, "http://{address}{path}"),
        }
    }
}

/// Asks once. The text is for `docker inspect`.
pub(crate) fn probe(target: &Target) -> io::Result<String> {
    match target {
        Target::Tcp { address } => connect(address).map(|_| format!("{address} accepts connections")),
        Target::Http { address, path } => {
            let mut stream = connect(address)?;
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: octo-init\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(request.as_bytes())?;
            // Read beyond the status, or the server would complain of a client that hung up.
            let mut head = Vec::new();
            stream.take(64 << 10).read_to_end(&mut head)?;
            judge(&String::from_utf8_lossy(&head))
        }
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn judge(head: &str) -> io::Result<String> {
    let line = head.lines().next().unwrap_or_default();
    let status = line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|code| code.parse().ok());
    match status {
        Some(200..=399_u16) => Ok(line.to_owned()),
        _ => Err(io::Error::other(format!("answered `{line}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let http =
            |address: &str, path: &str| Some(Target::Http { address: address.into(), path: path.into() });
        assert_eq!(Target::parse("http", "http://127.0.0.1:5000/v3"), http("127.0.0.1:5000", "/v3"));
        assert_eq!(Target::parse("http", "http://x"), http("x:80", "/"));
        assert_eq!(Target::parse("http", "https://x"), None);
    }

    #[test]
    fn only_success_and_redirects_are_healthy() {
        assert!(judge("HTTP/1.1 200 OK\r\nServer: x").is_ok());
        assert!(judge("HTTP/1.0 300 Multiple Choices\r\n").is_ok());
        assert!(judge("HTTP/1.1 503 Service Unavailable\r\n").is_err());
        assert!(judge("SSH-2.0").is_err());
    }
}
