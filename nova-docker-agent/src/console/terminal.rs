//! What is at the other end of a console: the terminal of the instance's own process, or a shell in it.

use common::docker::Terminal;
use common::ids::InstanceUuid;
use futures_util::TryStreamExt;
use tokio::io::{AsyncWriteExt, copy};
use tokio::net::TcpStream;

use crate::virt::{self, Driver, PowerState};

/// Lines of the console log that are shown before a shell.
const SCROLL_BACK: u64 = 20;

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
pub(super) async fn serve(driver: &Driver, uuid: InstanceUuid, mut stream: TcpStream) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let power = driver.power_state(uuid).await?;
    if power != PowerState::Running {
        let state = match power {
            PowerState::Paused | PowerState::Suspended => "is paused",
            PowerState::NoState => "is not on this host",
            _ => "does not run",
        };
        stream
            .write_all(format!("The instance {state}: its console opens when it runs.\r\n").as_bytes())
            .await?;
        return Ok(stream.shutdown().await?);
    }
    let terminal = driver.terminal(uuid).await?;
    if terminal.program.is_some() {
        let log = driver.console_output(uuid, Some(SCROLL_BACK)).await?;
        stream.write_all(log.replace('\n', "\r\n").as_bytes()).await?;
    }
    let program = terminal.program.clone();
    let ended = join(terminal, stream).await;
    if let Some(program) = program {
        driver.hang_up(uuid, &program).await?;
    }
    ended
}

/// Carries bytes both ways until one side ends.
async fn join(mut terminal: Terminal, stream: TcpStream) -> Result<(), Error> {
    let (mut typed, mut shown) = stream.into_split();
    let show = async {
        loop {
            match terminal.output.try_next().await {
                Ok(Some(bytes)) => shown.write_all(&bytes).await?,
                // Docker breaks the connection when the program ends.
                Ok(None) | Err(_) => return Ok(shown.shutdown().await?),
            }
        }
    };
    let type_in = async {
        copy(&mut typed, &mut terminal.input).await?;
        Ok(())
    };
    tokio::select! {
        shown = show => shown,
        typed = type_in => typed,
    }
}
