//! A way to dockerd that a test can close and open again.

use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::{AbortHandle, JoinSet};

/// Passes TCP connections on to dockerd's socket.
pub(crate) struct Proxy {
    port: u16,
    task: AbortHandle,
}

impl Proxy {
    pub(crate) async fn open() -> Self {
        Self::open_at(0).await
    }

    async fn open_at(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // Dropping the set with the task cuts all connections.
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(pass_on(client));
            }
        });
        Self { port, task: task.abort_handle() }
    }

    pub(crate) fn url(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    /// As if dockerd went away.
    pub(crate) async fn close(&self) {
        self.task.abort();
        while !self.task.is_finished() {
            tokio::task::yield_now().await;
        }
    }

    /// As if it came back.
    pub(crate) async fn reopen(&mut self) {
        *self = Self::open_at(self.port).await;
    }
}

async fn pass_on(mut client: TcpStream) {
    let path = super::DOCKER.trim_start_matches("unix://");
    if let Ok(mut docker) = UnixStream::connect(path).await {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut docker).await;
    }
}
