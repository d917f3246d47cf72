//! A Docker engine without containers: answers every list with an empty one, and every inspection with "not found". It
//! keeps the names of images it was asked to build, as long as there is room for them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use reqwest::Url;

pub(crate) struct Daemon {
    socket: PathBuf,
    images: Shared,
}

/// Labels (JSON) of the images by name, and the names for which there is no room.
#[derive(Default)]
struct Images {
    labels: BTreeMap<String, String>,
    too_large: Vec<&'static str>,
}

type Shared = Arc<Mutex<Images>>;

impl Daemon {
    /// Listens on a socket in `dir` until the test process ends.
    pub(crate) fn start(dir: &Path) -> Self {
        let socket = dir.join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let images = Shared::default();
        let shared = images.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let images = shared.clone();
                std::thread::spawn(move || serve(stream, &images));
            }
        });
        Daemon { socket, images }
    }

    /// The Debian root is there, so that other images can be built.
    pub(crate) fn put_root(&self) {
        self.images.lock().unwrap().labels.insert("octopenstack/debian:trixie".into(), "{}".into());
    }

    /// The disk has no room for these images.
    pub(crate) fn fill_disk(&self, too_large: &[&'static str]) {
        self.images.lock().unwrap().too_large = too_large.to_vec();
    }

    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket.display())
    }
}

/// One connection with any number of requests.
fn serve(stream: UnixStream, images: &Shared) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let (mut request, mut length, mut chunked) = (String::new(), 0, false);
        reader.read_line(&mut request).ok().filter(|read| *read > 0)?;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            if header.trim().is_empty() {
                break;
            }
            chunked |= header.to_ascii_lowercase().starts_with("transfer-encoding: chunked");
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        if chunked {
            skip_chunks(&mut reader)?;
        }
        reader.read_exact(&mut vec![0; length]).ok()?;
        let (status, body) = answer(&request, &mut images.lock().unwrap());
        let size = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n{body}"
        )
        .ok()?;
    }
}

/// A body whose length is not known before.
fn skip_chunks(reader: &mut impl BufRead) -> Option<()> {
    loop {
        let mut size = String::new();
        reader.read_line(&mut size).ok()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        reader.read_exact(&mut vec![0; size + 2]).ok()?;
        if size == 0 {
            return Some(());
        }
    }
}

fn answer(request: &str, images: &mut Images) -> (&'static str, String) {
    let target = request.split_whitespace().nth(1).unwrap_or_default();
    let url = Url::parse(&format!("http://docker{target}")).unwrap();
    let path = url.path();
    let name = path.split_once("/images/").and_then(|(_, rest)| rest.strip_suffix("/json"));
    if path.ends_with("/version") {
        ("200 OK", r#"{"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12"}"#.into())
    } else if path.ends_with("/containers/json")
        || path.ends_with("/networks")
        || path.ends_with("/images/json")
    {
        ("200 OK", "[]".into())
    } else if path.ends_with("/volumes") {
        ("200 OK", r#"{"Volumes": [], "Warnings": null}"#.into())
    } else if path.ends_with("/images/prune") {
        ("200 OK", r#"{"ImagesDeleted": null, "SpaceReclaimed": 0}"#.into())
    } else if path.ends_with("/build") {
        ("200 OK", build(&url, images))
    } else if let Some((name, labels)) = name.and_then(|name| images.labels.get_key_value(name)) {
        ("200 OK", format!(r#"{{"Id": "sha256:of {name}", "Config": {{"Labels": {labels}}}}}"#))
    } else {
        ("404 Not Found", r#"{"message": "there is nothing here"}"#.into())
    }
}

/// What the builder says, a line of JSON for each step.
fn build(url: &Url, images: &mut Images) -> String {
    let value = |wanted: &str| {
        url.query_pairs()
            .find(|(key, _)| key == wanted)
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    };
    let tag = value("t");
    let step = r#"{"stream": "Step 1/1 : RUN make\n"}"#;
    if images.too_large.iter().any(|name| tag.contains(name)) {
        let full = "write /var/lib/docker/overlay2/0123/diff/x: no space left on device";
        return format!(
            "{step}\r\n{{\"errorDetail\": {{\"message\": \"{full}\"}}, \"error\": \"{full}\"}}\r\n"
        );
    }
    images.labels.insert(tag, value("labels"));
    format!("{step}\r\n")
}
