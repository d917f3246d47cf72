//! Running a program in a running container: with the caller's terminal, or to hear its answer.

use std::io::{IsTerminal, Read, Write};

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::query_parameters::ResizeExecOptionsBuilder;
use futures_util::StreamExt;
use nix::sys::termios::{self, SetArg, Termios};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::docker::explain;
use super::{Docker, Error};

impl Docker {
    /// Runs `command` in container `name`; standard input, outputs and exit code are passed through.
    pub(crate) async fn exec(&self, name: &str, command: Vec<String>) -> Result<i64, Error> {
        let doing = format!("run {} in container {name}", command.first().map_or("nothing", String::as_str));
        let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let options = CreateExecOptions {
            cmd: Some(command),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(terminal),
            env: terminal
                .then(|| vec![format!("TERM={}", std::env::var("TERM").unwrap_or_else(|_| "xterm".into()))]),
            ..CreateExecOptions::default()
        };
        let exec = self.api().create_exec(name, options).await.map_err(|error| explain(&doing, error))?;
        let start = StartExecOptions { detach: false, tty: terminal, output_capacity: None };
        let started =
            self.api().start_exec(&exec.id, Some(start)).await.map_err(|error| explain(&doing, error))?;
        if let StartExecResults::Attached { mut output, mut input } = started {
            let _raw = terminal.then(Raw::enter);
            if let Some((columns, rows)) = terminal.then(size).flatten() {
                let options = ResizeExecOptionsBuilder::default().w(columns).h(rows).build();
                // A wrong width only looks bad.
                let _ = self.api().resize_exec(&exec.id, options).await;
            }
            let mut typed = stdin();
            let feed = tokio::spawn(async move {
                while let Some(bytes) = typed.recv().await {
                    if input.write_all(&bytes).await.is_err() || input.flush().await.is_err() {
                        return;
                    }
                }
                // The end of our input is the end of the program's.
                let _ = input.shutdown().await;
            });
            while let Some(chunk) = output.next().await {
                pass_on(chunk.map_err(|error| explain(&doing, error))?);
            }
            feed.abort();
        }
        let ended = self.api().inspect_exec(&exec.id).await.map_err(|error| explain(&doing, error))?;
        Ok(ended.exit_code.unwrap_or(1))
    }
}

impl Docker {
    /// Runs `command` in container `name` without input; its outputs are passed on, and to `seen`. Returns its exit code.
    pub(crate) async fn follow(
        &self,
        name: &str,
        command: Vec<String>,
        mut seen: impl FnMut(&[u8]),
    ) -> Result<i64, Error> {
        let doing = format!("run {} in container {name}", command.first().map_or("nothing", String::as_str));
        let options = CreateExecOptions {
            cmd: Some(command),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::default()
        };
        let exec = self.api().create_exec(name, options).await.map_err(|error| explain(&doing, error))?;
        let started = self.api().start_exec(&exec.id, None).await.map_err(|error| explain(&doing, error))?;
        if let StartExecResults::Attached { mut output, .. } = started {
            while let Some(chunk) = output.next().await {
                let chunk = chunk.map_err(|error| explain(&doing, error))?;
                seen(chunk.as_ref());
                pass_on(chunk);
            }
        }
        let ended = self.api().inspect_exec(&exec.id).await.map_err(|error| explain(&doing, error))?;
        Ok(ended.exit_code.unwrap_or(1))
    }

    /// Runs `command` in container `name`; the inner error is what it said when it did not end with code 0.
    pub(crate) async fn ask(&self, name: &str, command: &[String]) -> Result<Result<(), String>, Error> {
        let doing = format!("run {} in container {name}", command.first().map_or("nothing", String::as_str));
        let options = CreateExecOptions {
            cmd: Some(command.to_vec()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::default()
        };
        let exec = self.api().create_exec(name, options).await.map_err(|error| explain(&doing, error))?;
        let started = self.api().start_exec(&exec.id, None).await.map_err(|error| explain(&doing, error))?;
        let mut said = String::new();
        if let StartExecResults::Attached { mut output, .. } = started {
            while let Some(chunk) = output.next().await {
                let chunk = chunk.map_err(|error| explain(&doing, error))?.into_bytes();
                said.push_str(&String::from_utf8_lossy(&chunk));
            }
        }
        let ended = self.api().inspect_exec(&exec.id).await.map_err(|error| explain(&doing, error))?;
        Ok(match ended.exit_code {
            Some(0) => Ok(()),
            _ if !said.trim().is_empty() => Err(said.trim().to_owned()),
            code => Err(format!("it ended with code {}", code.unwrap_or(1))),
        })
    }
}

/// Our standard input, read by a thread of its own: such a read cannot be given up, and nobody waits for the thread.
fn stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 8192];
        while let Ok(count @ 1..) = std::io::stdin().read(&mut buffer) {
            if sender.blocking_send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

fn pass_on(chunk: LogOutput) {
    // A closed pipe on our side ends the program's output, not the program.
    let _ = match chunk {
        LogOutput::StdErr { message } => {
            let mut stderr = std::io::stderr();
            stderr.write_all(&message).and_then(|()| stderr.flush())
        }
        LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message } => {
            let mut stdout = std::io::stdout();
            stdout.write_all(&message).and_then(|()| stdout.flush())
        }
    };
}

/// Columns and rows of the terminal, as the kernel knows them.
fn size() -> Option<(i32, i32)> {
    let (columns, rows) = terminal_size::terminal_size()?;
    Some((i32::from(columns.0), i32::from(rows.0)))
}

/// The terminal hands every key to the program until this is dropped.
struct Raw(Option<Termios>);

impl Raw {
    fn enter() -> Self {
        let stdin = std::io::stdin();
        let before = termios::tcgetattr(&stdin).ok();
        if let Some(mut raw) = before.clone() {
            termios::cfmakeraw(&mut raw);
            let _ = termios::tcsetattr(&stdin, SetArg::TCSANOW, &raw);
        }
        Raw(before)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, before);
        }
    }
}
