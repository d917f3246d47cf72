//! As much of a WebSocket (RFC 6455) as a console needs: short binary messages out, any messages in.

use reqwest::header::{
    CONNECTION, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use reqwest::{Client, StatusCode, Upgraded};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Error;

/// The nonce of the handshake: any 16 bytes do.
const KEY: &str = "b2N0b3BlbnN0YWNrYmVuYw==";
/// First byte of a whole binary message, and of an answer to a ping.
const BINARY: u8 = 0x82;
const PONG: u8 = 0x8a;
/// Kinds of messages.
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
/// The longest message that the short form of the header can tell.
const SHORT: usize = 125;

/// An open one.
pub(super) struct WebSocket {
    stream: Upgraded,
}

impl WebSocket {
    /// Opens `url` (`wss://…`), as a page of `origin` would.
    ///
    /// # Errors
    /// When nobody answers, or with something else than a console.
    pub(super) async fn open(client: &Client, url: &str, origin: &str) -> Result<Self, Error> {
        let failed = |source| Error::Site { url: origin.to_owned(), source };
        let request = client
            .get(url.replacen("ws", "http", 1))
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, KEY)
            .header(SEC_WEBSOCKET_PROTOCOL, "binary")
            .header(ORIGIN, origin);
        let answer = request.send().await.map_err(failed)?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::NoConsole(answer.status()));
        }
        Ok(Self { stream: answer.upgrade().await.map_err(failed)? })
    }

    /// Sends a message of at most 125 bytes.
    pub(super) async fn send(&mut self, message: &[u8]) -> std::io::Result<()> {
        self.put(BINARY, message).await
    }

    async fn put(&mut self, kind: u8, message: &[u8]) -> std::io::Result<()> {
        let message = &message[..message.len().min(SHORT)];
        // The mask that every client must name is of zeros, so the message goes as it is.
        let length = u8::try_from(message.len()).unwrap_or_default();
        let head = [kind, 0x80 | length, 0, 0, 0, 0];
        self.stream.write_all(&[&head, message].concat()).await?;
        self.stream.flush().await
    }

    /// The next message.
    ///
    /// # Errors
    /// When the other side has closed.
    pub(super) async fn receive(&mut self) -> std::io::Result<Vec<u8>> {
        loop {
            let kind = self.stream.read_u8().await? & 0x0f;
            let length = match self.stream.read_u8().await? & 0x7f {
                126 => u64::from(self.stream.read_u16().await?),
                127 => self.stream.read_u64().await?,
                short => u64::from(short),
            };
            let mut message = Vec::new();
            (&mut self.stream).take(length).read_to_end(&mut message).await?;
            match kind {
                CLOSE => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                PING => self.put(PONG, &message).await?,
                _ => return Ok(message),
            }
        }
    }
}
