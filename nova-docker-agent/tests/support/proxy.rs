//! A way to dockerd or to a broker that a test can close and open again.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::{AbortHandle, JoinSet};

/// Passes TCP connections on.
pub(crate) struct Proxy {
    port: u16,
    to: String,
    /// What a client must say for the way to be closed before it is passed on.
    trap: Trap,
    task: AbortHandle,
}

type Trap = Arc<Mutex<Option<&'static str>>>;

impl Proxy {
    /// Open to `to`: `unix:///path` or `host:port`.
    pub(crate) async fn open(to: &str) -> Self {
        let mut proxy = Self::closed(to).await;
        proxy.reopen().await;
        proxy
    }

    /// A port on which nobody listens until [`Proxy::reopen`].
    pub(crate) async fn closed(to: &str) -> Self {
        let port = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port();
        let task = tokio::spawn(std::future::ready(())).abort_handle();
        Self { port, to: to.to_owned(), trap: Trap::default(), task }
    }

    pub(crate) fn url(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// As if the other side went away.
    pub(crate) async fn close(&self) {
        self.task.abort();
        while !self.task.is_finished() {
            tokio::task::yield_now().await;
        }
    }

    /// As if it went away at the moment in which somebody asks for this.
    pub(crate) fn close_at(&self, words: &'static str) {
        *self.trap.lock().unwrap() = Some(words);
    }

    /// As if it came back.
    pub(crate) async fn reopen(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        let (to, trap) = (self.to.clone(), self.trap.clone());
        // Dropping the set with the task cuts all connections.
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    client = listener.accept() => {
                        let Ok((client, _)) = client else { return };
                        connections.spawn(pass_on(client, to.clone(), trap.clone()));
                    }
                    Some(Ok(trapped)) = connections.join_next() => if trapped { return },
                }
            }
        });
        self.task = task.abort_handle();
    }
}

/// True when what the client said closes the way.
async fn pass_on(client: TcpStream, to: String, trap: Trap) -> bool {
    if let Some(path) = to.strip_prefix("unix://") {
        match UnixStream::connect(path).await {
            Ok(server) => both_ways(client, server, trap).await,
            Err(_) => false,
        }
    } else {
        match TcpStream::connect(&to).await {
            Ok(server) => both_ways(client, server, trap).await,
            Err(_) => false,
        }
    }
}

async fn both_ways(client: TcpStream, server: impl AsyncRead + AsyncWrite, trap: Trap) -> bool {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let forward = async {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
            let said = String::from_utf8_lossy(&buffer[..count]);
            if trap.lock().unwrap().take_if(|words| said.contains(*words)).is_some() {
                return true;
            }
            if to_server.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
        let _ = to_server.shutdown().await;
        std::future::pending().await
    };
    tokio::select! {
        trapped = forward => trapped,
        _ = copy(&mut from_server, &mut to_client) => false,
    }
}
