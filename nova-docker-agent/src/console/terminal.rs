//! What is at the other end of a console: the terminal of the instance's own process, or a shell in it.

use std::convert::Infallible;
use std::time::Duration;

use common::docker::{Shown, Terminal};
use common::ids::InstanceUuid;
use futures_util::TryStreamExt;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::size::{Listener, QUESTION, Size};
use super::viewers::Viewers;
use crate::virt::{self, Driver, PowerState};

/// Lines of the console log that are shown first.
const SCROLL_BACK: u64 = 100;

/// How long the viewer's terminal may take to tell its size.
const ANSWER: Duration = Duration::from_secs(10);

/// How long a byte that may begin that answer is held back: the rest of an answer comes with it.
const PAUSE: Duration = Duration::from_millis(100);

/// What ended a console before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The hypervisor.
    #[error(transparent)]
    Virt(#[from] virt::Error),
    /// The other side went away.
    #[error("the connection broke")]
    Connection(#[from] std::io::Error),
}

/// Serves one console to its end.
pub(super) async fn serve(
    driver: &Driver,
    viewers: &Viewers,
    uuid: InstanceUuid,
    mut stream: TcpStream,
) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let power = driver.power_state(uuid).await?;
    if power != PowerState::Running {
        let sentence = format!("{}: its console opens when it runs.\r\n", state(power));
        stream.write_all(sentence.as_bytes()).await?;
        return Ok(stream.shutdown().await?);
    }
    // In this order nothing is missed: what is written in between comes twice.
    let terminal = driver.terminal(uuid).await?;
    let (shown, program) = (terminal.shown, terminal.program.clone());
    let greeted = greet(driver, uuid, (shown, &mut stream)).await;
    let viewer = viewers.enter(uuid);
    let (told, mut sizes) = mpsc::unbounded_channel();
    let resize = async {
        while let Some(size) = sizes.recv().await {
            // A program of this viewer alone has his size; the instance's own that which all viewers can show.
            let size = if program.is_some() { size } else { viewer.has(size) };
            if let Err(error) = driver.resize_terminal(uuid, program.as_deref(), size).await {
                tracing::debug!(instance_uuid = %uuid, %error, "the size of a terminal could not be set");
            }
        }
        std::future::pending::<Infallible>().await
    };
    let ended = match greeted {
        Ok(()) => tokio::select! {
            ended = join(terminal, &mut stream, told) => ended,
            never = resize => match never {},
        },
        Err(error) => Err(error),
    };
    let ended = match ended {
        Ok(Ended::ByProgram) => farewell(driver, uuid, &mut stream).await,
        other => other.map(drop),
    };
    drop(stream);
    if let Some(program) = &program {
        driver.hang_up(uuid, program).await?;
    } else if let Some(size) = viewer.leave()
        && shown != Shown::Plain
    {
        driver.resize_terminal(uuid, None, size).await?;
    }
    ended
}

/// Says why the console ends, when it is not the shell that has ended.
async fn farewell(driver: &Driver, uuid: InstanceUuid, stream: &mut TcpStream) -> Result<(), Error> {
    let power = driver.power_state(uuid).await?;
    if power != PowerState::Running {
        stream.write_all(format!("\r\n{}.\r\n", state(power)).as_bytes()).await?;
    }
    Ok(stream.shutdown().await?)
}

/// What a viewer is told of an instance that does not run.
fn state(power: PowerState) -> &'static str {
    match power {
        PowerState::Paused | PowerState::Suspended => "The instance is paused",
        PowerState::NoState => "The instance is not on this host",
        _ => "The instance does not run",
    }
}

/// Asks for the size, and shows the end of the log.
async fn greet(
    driver: &Driver,
    uuid: InstanceUuid,
    (shown, stream): (Shown, &mut TcpStream),
) -> Result<(), Error> {
    if shown != Shown::Plain {
        stream.write_all(QUESTION).await?;
    }
    let log = driver.console_output(uuid, Some(SCROLL_BACK)).await?;
    stream.write_all(&lines(log.as_bytes())).await?;
    if shown == Shown::Plain {
        let sentence = "(There is no shell in this instance: this is what its process writes.)\r\n";
        stream.write_all(sentence.as_bytes()).await?;
    }
    Ok(())
}

/// Line ends as a terminal wants them.
fn lines(bytes: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(bytes.len() + bytes.len() / 16);
    let mut last = 0;
    for &byte in bytes {
        if byte == b'\n' && last != b'\r' {
            lines.push(b'\r');
        }
        lines.push(byte);
        last = byte;
    }
    lines
}

/// Who ended a console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    ByViewer,
    ByProgram,
}

/// Carries bytes both ways until one side ends. `sizes` gets what the viewer's terminal tells of its size.
async fn join(
    mut terminal: Terminal,
    stream: &mut TcpStream,
    sizes: mpsc::UnboundedSender<Size>,
) -> Result<Ended, Error> {
    let (mut typed, mut seen) = stream.split();
    let show = async {
        loop {
            match terminal.output.try_next().await {
                Ok(Some(bytes)) if terminal.shown == Shown::Plain => seen.write_all(&lines(&bytes)).await?,
                Ok(Some(bytes)) => seen.write_all(&bytes).await?,
                // Docker breaks the connection when the program ends.
                Ok(None) | Err(_) => return Ok(Ended::ByProgram),
            }
        }
    };
    let mut listener = Listener::default();
    let late = Instant::now() + ANSWER;
    let type_in = async {
        let mut buffer = vec![0; 8 * 1024];
        loop {
            let bytes = tokio::select! {
                count = typed.read(&mut buffer) => match count? {
                    0 => return Ok(Ended::ByViewer),
                    count => {
                        let (bytes, size) = listener.hear(&buffer[..count]);
                        // A console that is ending needs no size.
                        let _ = size.map(|size| sizes.send(size));
                        bytes
                    }
                },
                () = sleep(PAUSE), if listener.holds() => listener.release(),
                () = sleep_until(late), if listener.waits() => listener.stop(),
            };
            put(&mut terminal.input, &bytes).await?;
        }
    };
    tokio::select! {
        shown = show => shown,
        typed = type_in => typed,
    }
}

async fn put(input: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    input.write_all(bytes).await?;
    input.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;
    use futures_util::stream;
    use tokio::io::DuplexStream;
    use tokio::net::TcpListener;

    /// A console, its viewer, and the program's standard input.
    async fn console(
        output: Vec<&'static str>,
        shown: Shown,
    ) -> (TcpStream, TcpStream, Terminal, DuplexStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let viewer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (input, program) = tokio::io::duplex(1024);
        let output = stream::iter(output.into_iter().map(|text| Ok(text.as_bytes().to_vec())));
        // The program does not end by itself.
        let output = output.chain(stream::pending()).boxed();
        let terminal = Terminal { output, input: Box::pin(input), program: None, shown };
        (listener.accept().await.unwrap().0, viewer, terminal, program)
    }

    async fn read(from: &mut (impl AsyncReadExt + Unpin), count: usize) -> String {
        let mut bytes = vec![0; count];
        tokio::time::timeout(Duration::from_secs(5), from.read_exact(&mut bytes)).await.unwrap().unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[tokio::test]
    async fn the_size_is_set_and_what_is_typed_around_the_answer_arrives() {
        let (mut served, mut viewer, terminal, mut program) = console(vec!["$ "], Shown::Terminal).await;
        let (told, mut sizes) = mpsc::unbounded_channel();
        let serving = tokio::spawn(async move { join(terminal, &mut served, told).await });
        assert_eq!(read(&mut viewer, 2).await, "$ ");
        viewer.write_all(b"l\x1b[50;").await.unwrap();
        assert_eq!(read(&mut program, 1).await, "l");
        viewer.write_all(b"200Rs\r").await.unwrap();
        assert_eq!(read(&mut program, 2).await, "s\r");
        assert_eq!(sizes.recv().await, Some((200, 50)));
        drop(viewer);
        assert_eq!(serving.await.unwrap().unwrap(), Ended::ByViewer);
    }

    #[tokio::test]
    async fn a_terminal_that_says_nothing_loses_no_key() {
        let (mut served, mut viewer, terminal, mut program) = console(vec![], Shown::Terminal).await;
        let (told, mut sizes) = mpsc::unbounded_channel();
        tokio::spawn(async move { join(terminal, &mut served, told).await });
        // An escape alone is a key.
        viewer.write_all(b"\x1b").await.unwrap();
        assert_eq!(read(&mut program, 1).await, "\x1b");
        viewer.write_all(b"\x1b[A:q").await.unwrap();
        assert_eq!(read(&mut program, 5).await, "\x1b[A:q");
        assert!(sizes.try_recv().is_err());
    }

    #[tokio::test]
    async fn what_is_no_terminal_is_shown_line_by_line() {
        let (mut served, mut viewer, terminal, _program) = console(vec!["one\ntwo\n"], Shown::Plain).await;
        tokio::spawn(async move { join(terminal, &mut served, mpsc::unbounded_channel().0).await });
        assert_eq!(read(&mut viewer, 10).await, "one\r\ntwo\r\n");
    }

    #[test]
    fn line_ends_are_made_whole_once() {
        assert_eq!(lines(b"a\nb\r\n\n"), b"a\r\nb\r\n\r\n");
    }
}
