//! Whether the first server can be reached as a user reaches it: its web server, and SSH with the key.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

/// Pause between two tries: the server boots, and its address has just been announced.
const PAUSE: Duration = Duration::from_millis(500);

/// Waits until the web server of `address` answers with success.
pub(crate) async fn web(address: &str, limit: Duration) -> Result<()> {
    let client = crate::health::client();
    let url = format!("http://{address}/");
    until(&format!("GET {url}"), limit, || async {
        let request = client.get(&url).timeout(Duration::from_secs(3)).send();
        let answer = request.await.and_then(reqwest::Response::error_for_status);
        answer.map(drop).map_err(|error| crate::chain(&error))
    })
    .await
}

/// Waits until `ssh` with the key runs a command on `address`.
pub(crate) async fn ssh(address: &str, key: &Path, limit: Duration) -> Result<()> {
    let user = format!("demo@{address}");
    until(&format!("ssh {user}"), limit, || async {
        let mut command = Command::new("ssh");
        // The host key was made a moment ago: there is nothing to compare it with.
        command.arg("-i").arg(key).args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=3"]);
        command.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
        command.args(["-o", "LogLevel=ERROR", &user, "true"]).kill_on_drop(true);
        match command.output().await {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(format!("the program ssh cannot be run: {error}")),
        }
    })
    .await
}

async fn until<F>(what: &str, limit: Duration, mut attempt: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = Result<(), String>>,
{
    let start = Instant::now();
    loop {
        match attempt().await {
            Ok(()) => return Ok(()),
            Err(answer) if start.elapsed() > limit => {
                bail!("{what} does not work after {} s: {answer}", limit.as_secs())
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}
