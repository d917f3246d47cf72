//! Reading the output of containers.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::{Stream, StreamExt};

use super::docker::explain;
use super::{Docker, Error};

impl Docker {
    /// The last `count` lines; none when they cannot be had, for this decorates other errors.
    pub(crate) async fn last_lines(&self, name: &str, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let mut stream = Box::pin(self.lines(name, &count.to_string(), false, false));
        while let Some(Ok(line)) = stream.next().await {
            lines.push(line);
        }
        lines
    }

    /// True when the text appears in the output since the container was started at `since` (seconds since 1970).
    pub(crate) async fn has_logged(&self, name: &str, text: &str, since: i32) -> Result<bool, Error> {
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).since(since).build();
        let mut stream = self.api().logs(name, Some(options));
        while let Some(output) = stream.next().await {
            let output = output.map_err(|error| explain(&format!("read the log of {name}"), error))?;
            if String::from_utf8_lossy(&output.into_bytes()).contains(text) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Lines of a container's output. `tail` is a number or `all`; with `timestamps` each line begins with one.
    pub(crate) fn lines(
        &self,
        name: &str,
        tail: &str,
        follow: bool,
        timestamps: bool,
    ) -> impl Stream<Item = Result<String, Error>> + Send + 'static {
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .tail(tail)
            .follow(follow)
            .timestamps(timestamps)
            .build();
        let doing = format!("read the log of {name}");
        // A quiet service sends nothing for hours.
        let docker =
            self.patient(if follow { Duration::from_secs(86_400 * 365) } else { Duration::from_secs(60) });
        let name = name.to_owned();
        let chunks = async_stream(docker, name, options);
        chunks.flat_map(move |chunk| {
            let lines: Vec<Result<String, Error>> = match chunk {
                Ok(output) => {
                    let text = String::from_utf8_lossy(&output.into_bytes()).into_owned();
                    text.lines().map(|line| Ok(line.to_owned())).collect()
                }
                Err(error) => vec![Err(explain(&doing, error))],
            };
            futures_util::stream::iter(lines)
        })
    }
}

/// bollard's streams borrow the connection; this one owns it.
fn async_stream(
    docker: bollard::Docker,
    name: String,
    options: bollard::query_parameters::LogsOptions,
) -> impl Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send + 'static {
    let (sender, receiver) = tokio::sync::mpsc::channel(64);
    tokio::spawn(async move {
        let mut stream = docker.logs(&name, Some(options));
        while let Some(item) = stream.next().await {
            if sender.send(item).await.is_err() {
                return;
            }
        }
    });
    futures_util::stream::unfold(
        receiver,
        |mut receiver| async move { Some((receiver.recv().await?, receiver)) },
    )
}
