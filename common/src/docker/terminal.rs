//! Terminals: a shell in a running container, or the terminal of its own first process.

use std::pin::Pin;
use std::time::Duration;

use backon::{ConstantBuilder, Retryable};
use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, ResizeExecOptions, StartExecOptions, StartExecResults};
use bollard::query_parameters::{AttachContainerOptionsBuilder, ResizeContainerTTYOptionsBuilder};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use tokio::io::AsyncWrite;

use super::{Engine, Error};

/// How the output of a program is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The program has a terminal: as it comes.
    Terminal,
    /// It has none: lines end with a line feed only, and what is typed reaches nobody.
    Plain,
}

/// Both directions of a terminal. Nothing is read ahead: who reads slowly slows down who writes.
pub struct Terminal {
    /// What it shows.
    pub output: BoxStream<'static, Result<Vec<u8>, Error>>,
    /// What is typed.
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
    /// The program that was started for it; none when it is that of the container's own process.
    pub program: Option<String>,
    /// How it is to be shown.
    pub shown: Shown,
}

impl Engine {
    /// Starts `command` in a terminal of its own, as the container's user.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the container does not run or is frozen.
    pub async fn open_terminal(
        &self,
        name: &str,
        command: &[&str],
        (columns, rows): (u16, u16),
    ) -> Result<Terminal, Error> {
        let options = CreateExecOptions {
            cmd: Some(command.to_vec()),
            env: Some(vec!["TERM=xterm"]),
            tty: Some(true),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::default()
        };
        let exec = self.docker().create_exec(name, options).await.map_err(|e| self.error(e))?;
        let options = StartExecOptions { tty: true, ..StartExecOptions::default() };
        let started = self.docker().start_exec(&exec.id, Some(options)).await.map_err(|e| self.error(e))?;
        let StartExecResults::Attached { output, input } = started else {
            return Err(Error::Other("Docker did not attach to the program it started".into()));
        };
        if let Err(error) = self.resize_terminal(name, Some(&exec.id), (columns, rows)).await {
            // A program that has ended already needs no size; what it said is shown.
            tracing::debug!(container = name, %error, "the size of a terminal could not be set");
        }
        let shown = Shown::Terminal;
        Ok(Terminal { output: self.bytes(output), input, program: Some(exec.id), shown })
    }

    /// Sets the size, in columns and rows, of the terminal of a program, or of the container's first process. Docker says that a
    /// program has started a moment before it has a terminal, so this is tried for a second.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the program or the container is gone.
    pub async fn resize_terminal(
        &self,
        name: &str,
        program: Option<&str>,
        (width, height): (u16, u16),
    ) -> Result<(), Error> {
        let resize = async || {
            let resized = match program {
                Some(program) => {
                    self.docker().resize_exec(program, ResizeExecOptions { width, height }).await
                }
                None => {
                    let options =
                        ResizeContainerTTYOptionsBuilder::default().w(width.into()).h(height.into());
                    self.docker().resize_container_tty(name, options.build()).await
                }
            };
            resized.map_err(|e| self.error(e))
        };
        let again = ConstantBuilder::default().with_delay(Duration::from_millis(50)).with_max_times(20);
        resize.retry(again).when(|error: &Error| !error.is_not_found()).await
    }

    /// Attaches to the container's first process, to what it writes from now on. Any number may be attached.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no container.
    pub async fn attach_terminal(&self, name: &str, shown: Shown) -> Result<Terminal, Error> {
        let options = AttachContainerOptionsBuilder::default()
            .stdin(true)
            .stdout(true)
            .stderr(true)
            .stream(true)
            .build();
        let attached = self.docker().attach_container(name, Some(options)).await;
        let attached = attached.map_err(|e| self.error(e))?;
        Ok(Terminal { output: self.bytes(attached.output), input: attached.input, program: None, shown })
    }

    /// Whether the container's first process has a terminal.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no container.
    pub async fn has_terminal(&self, name: &str) -> Result<bool, Error> {
        let found = self.docker().inspect_container(name, None).await.map_err(|e| self.error(e))?;
        Ok(found.config.and_then(|config| config.tty).unwrap_or_default())
    }

    /// The process of a program in a container, as this host numbers it; none when it has ended.
    ///
    /// # Errors
    /// When dockerd does not answer.
    pub async fn program_pid(&self, program: &str) -> Result<Option<i32>, Error> {
        let found = self.docker().inspect_exec(program).await.map_err(|e| self.error(e))?;
        let running = found.running.unwrap_or_default();
        Ok(found.pid.filter(|_| running).and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0))
    }

    fn bytes(
        &self,
        output: impl futures_util::Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send + 'static,
    ) -> BoxStream<'static, Result<Vec<u8>, Error>> {
        let engine = self.clone();
        output.map_ok(|chunk| chunk.into_bytes().to_vec()).map_err(move |e| engine.error(e)).boxed()
    }
}
