//! A Docker engine that has nothing: answers every list with an empty one, and every inspection with "not found".

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

pub(crate) struct Daemon {
    socket: PathBuf,
}

impl Daemon {
    /// Listens on a socket in `dir` until the test process ends.
    pub(crate) fn start(dir: &Path) -> Self {
        let socket = dir.join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || serve(stream));
            }
        });
        Daemon { socket }
    }

    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket.display())
    }
}

/// One connection with any number of requests.
fn serve(stream: UnixStream) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let (mut request, mut length) = (String::new(), 0);
        reader.read_line(&mut request).ok().filter(|read| *read > 0)?;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            if header.trim().is_empty() {
                break;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        reader.read_exact(&mut vec![0; length]).ok()?;
        let (status, body) = answer(&request);
        let size = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n{body}"
        )
        .ok()?;
    }
}

fn answer(request: &str) -> (&'static str, &'static str) {
    let path = request.split_whitespace().nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
    if path.ends_with("/version") {
        ("200 OK", r#"{"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12"}"#)
    } else if path.ends_with("/containers/json")
        || path.ends_with("/networks")
        || path.ends_with("/images/json")
    {
        ("200 OK", "[]")
    } else if path.ends_with("/volumes") {
        ("200 OK", r#"{"Volumes": [], "Warnings": null}"#)
    } else {
        ("404 Not Found", r#"{"message": "there is nothing here"}"#)
    }
}
