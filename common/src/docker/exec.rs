//! Programs inside a running container.

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecResults};
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;

use super::{Engine, Error};

/// As much of what a program says as is kept, in bytes.
const MAX_OUTPUT: usize = 16 * 1024;

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// Its exit code; what cannot be executed at all has 126 or 127, as in a shell.
    pub code: i64,
    /// What it wrote to standard output and error, the beginning of it.
    pub output: String,
}

impl Executed {
    /// The program is not in the container.
    pub fn is_missing(&self) -> bool {
        matches!(self.code, 126 | 127)
    }
}

impl Engine {
    /// Runs `command` as `user` in a running container, with `input` on its standard input, and waits for its end. What
    /// is secret belongs into `input`: the host shows arguments and environment to everybody.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the container does not run or is frozen.
    pub async fn execute(
        &self,
        name: &str,
        user: &str,
        command: &[&str],
        input: &[u8],
    ) -> Result<Executed, Error> {
        let options = CreateExecOptions {
            cmd: Some(command.to_vec()),
            user: Some(user),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::default()
        };
        let exec = self.docker().create_exec(name, options).await.map_err(|e| self.error(e))?;
        let started = self.docker().start_exec(&exec.id, None).await;
        let mut said = Vec::new();
        match started.map_err(|e| self.error(e)) {
            Ok(StartExecResults::Attached { mut output, input: mut stdin }) => {
                // A program that ends without reading all of it says so by its exit code.
                let _ = stdin.write_all(input).await;
                let _ = stdin.shutdown().await;
                while let Some(chunk) = output.next().await {
                    keep(&mut said, chunk.map_err(|e| self.error(e))?);
                }
            }
            Ok(StartExecResults::Detached) => {}
            // Docker tells of a missing program in the answer, or in the output: the exit code is the same.
            Err(Error::Other(message) | Error::Conflict(message)) => said = message.into_bytes(),
            Err(error) => return Err(error),
        }
        let ended = self.docker().inspect_exec(&exec.id).await.map_err(|e| self.error(e))?;
        let output = String::from_utf8_lossy(&said).into_owned();
        match ended.exit_code {
            Some(code) => Ok(Executed { code, output }),
            None => Err(Error::Other(output)),
        }
    }
}

fn keep(said: &mut Vec<u8>, chunk: LogOutput) {
    let room = MAX_OUTPUT.saturating_sub(said.len());
    let chunk = chunk.into_bytes();
    said.extend_from_slice(&chunk[..chunk.len().min(room)]);
}
