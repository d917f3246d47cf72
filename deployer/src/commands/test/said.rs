//! The end of what a part of the tests printed: it is said again when all parts are through, for tests say at their end which of
//! them failed, and why.

use std::collections::VecDeque;
use std::fmt::{Display, Formatter};
use std::io::Write;
use std::process::{Command, ExitStatus, Stdio};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Lines that are kept: enough for a failed test or two.
const LINES: usize = 80;

/// The last lines of an output.
#[derive(Debug, Default)]
pub(super) struct Said {
    lines: VecDeque<String>,
    /// The line that has no end yet.
    open: Vec<u8>,
}

impl Said {
    /// Adds what was printed next.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                byte => self.open.push(*byte),
            }
        }
    }

    /// Runs `command` without input; what it prints is passed on and heard.
    ///
    /// # Errors
    /// When it cannot be started or waited for.
    pub(super) async fn by(&mut self, command: Command) -> std::io::Result<ExitStatus> {
        let mut command = tokio::process::Command::from(command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
        loop {
            // Of a stream at its end nothing comes any more, so both have ended when neither branch is left.
            tokio::select! {
                bytes = next(&mut stdout), if stdout.is_some() => self.pass_on(&bytes, std::io::stdout()),
                bytes = next(&mut stderr), if stderr.is_some() => self.pass_on(&bytes, std::io::stderr()),
                else => return child.wait().await,
            }
        }
    }

    fn pass_on(&mut self, bytes: &[u8], mut output: impl Write) {
        self.hear(bytes);
        // Whoever closed our output does not want to read it.
        let _ = output.write_all(bytes).and_then(|()| output.flush());
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.open).trim_end().to_owned();
        self.open.clear();
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

/// What a stream says next; at its end the stream is taken away.
async fn next(stream: &mut Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8192);
    if let Some(open) = stream
        && !matches!(open.read_buf(&mut bytes).await, Ok(1..))
    {
        *stream = None;
    }
    bytes
}

impl From<String> for Said {
    fn from(text: String) -> Self {
        let mut said = Self::default();
        said.hear(text.as_bytes());
        said
    }
}

impl Display for Said {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        f.write_str(&String::from_utf8_lossy(&self.open))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_output_is_kept() {
        let mut said = Said::default();
        for line in 0..1000 {
            said.hear(format!("line {line}\n").as_bytes());
        }
        said.hear(b"and no ");
        said.hear(b"end");
        let text = said.to_string();
        assert!(text.starts_with("line 920\n"), "{text}");
        assert!(text.ends_with("line 999\nand no end"), "{text}");
    }

    #[tokio::test]
    async fn both_outputs_of_a_program_are_heard() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo to stdout; echo to stderr >&2; exit 3"]);
        let mut said = Said::default();
        let status = said.by(command).await.unwrap();
        assert_eq!(status.code(), Some(3));
        let mut lines: Vec<_> = said.lines.iter().map(String::as_str).collect();
        lines.sort_unstable();
        assert_eq!(lines, ["to stderr", "to stdout"]);
    }
}
