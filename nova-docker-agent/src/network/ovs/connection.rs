//! JSON-RPC with an OVSDB server: requests and their answers, its echo requests, its updates.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::shutdown::Shutdown;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::Error;
use super::state::{State, monitored};

/// The database.
const DATABASE: &str = "Open_vSwitch";

/// How long the server may take for an answer: it does nothing but look into its memory.
const ANSWER: Duration = Duration::from_secs(10);

/// The largest message: a dump of the interfaces of a very large host stays far below.
const MAX_MESSAGE: usize = 64 << 20;

/// Where an OVSDB server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::network) enum Address {
    Unix(PathBuf),
    /// `HOST:PORT`
    Tcp(String),
}

impl FromStr for Address {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_once(':') {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(("tcp", peer)) => match peer.rsplit_once(':') {
                Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                    Ok(Self::Tcp(peer.into()))
                }
                _ => Err(()),
            },
            _ => Err(()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(peer) => write!(f, "tcp:{peer}"),
        }
    }
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Result<Value, Error>>>>>;

/// A connection that is up, or was.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    address: Arc<str>,
    outgoing: mpsc::UnboundedSender<Value>,
    waiting: Waiting,
    state: watch::Receiver<State>,
    last_id: Arc<AtomicU64>,
}

impl Connection {
    /// Connects and begins to monitor.
    pub(super) async fn open(address: &Address, life: &Shutdown) -> Result<Self, Error> {
        let unreachable = |source| Error::Unreachable { address: address.to_string(), source };
        let (sender, state) = watch::channel(State::default());
        let (outgoing, to_send) = mpsc::unbounded_channel();
        let waiting = Waiting::default();
        let peer = Peer { outgoing: outgoing.clone(), waiting: Arc::clone(&waiting), state: sender };
        let life_of_it = life.clone();
        match address {
            Address::Unix(path) => {
                let (read, write) = UnixStream::connect(path).await.map_err(unreachable)?.into_split();
                life.spawn_service(async move { peer.run(read, write, to_send, life_of_it).await });
            }
            Address::Tcp(address) => {
                let (read, write) = TcpStream::connect(address).await.map_err(unreachable)?.into_split();
                life.spawn_service(async move { peer.run(read, write, to_send, life_of_it).await });
            }
        }
        let connection =
            Self { address: address.to_string().into(), outgoing, waiting, state, last_id: Arc::default() };
        // The reader takes the answer in as it takes in updates, so that none of them is older than the answer.
        connection.call("monitor", json!([DATABASE, Value::Null, monitored()])).await?;
        Ok(connection)
    }

    /// What the database tells; [`State::closed`] once the connection is down.
    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Carries out `operations`, all or none. One result for each.
    pub(super) async fn transact(&self, operations: Vec<Value>) -> Result<Vec<Value>, Error> {
        let mut parameters = vec![json!(DATABASE)];
        parameters.extend(operations);
        let answer = self.call("transact", Value::Array(parameters)).await?;
        let Value::Array(results) = answer else {
            return Err(Error::Refused(format!("it answers {answer}")));
        };
        // Each operation may fail by itself, and one more result tells of the whole.
        match results.iter().find(|result| result.get("error").is_some_and(|error| !error.is_null())) {
            Some(failed) => Err(Error::Refused(sentence(failed))),
            None => Ok(results),
        }
    }

    async fn call(&self, method: &str, parameters: Value) -> Result<Value, Error> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        lock(&self.waiting).insert(id, sender);
        let lost = |problem: &str| Error::Lost { address: self.address.to_string(), problem: problem.into() };
        // The state says closed before the waiting are told, so nobody is left behind between the two.
        if self.outgoing.send(json!({"method": method, "params": parameters, "id": id})).is_err()
            || self.state.borrow().closed
        {
            lock(&self.waiting).remove(&id);
            return Err(lost("it was closed"));
        }
        match timeout(ANSWER, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(lost("it was closed")),
            Err(_) => {
                lock(&self.waiting).remove(&id);
                Err(lost("no answer in time"))
            }
        }
    }
}

/// The other side: what arrives from it and what goes to it.
struct Peer {
    outgoing: mpsc::UnboundedSender<Value>,
    waiting: Waiting,
    state: watch::Sender<State>,
}

impl Peer {
    /// Runs until the connection or the agent ends.
    async fn run(
        self,
        read: impl AsyncRead + Unpin,
        write: impl AsyncWrite + Unpin,
        to_send: mpsc::UnboundedReceiver<Value>,
        life: Shutdown,
    ) {
        tokio::select! {
            ended = self.receive(read) => {
                if let Err(error) = ended {
                    tracing::warn!(%error, "the connection to Open vSwitch ended");
                }
            }
            _ = send(write, to_send) => {}
            () = life.closed() => {}
        }
        self.state.send_modify(|state| state.closed = true);
        lock(&self.waiting).clear();
    }

    async fn receive(&self, mut read: impl AsyncRead + Unpin) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(16 * 1024);
        loop {
            if read.read_buf(&mut buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            // Messages follow one another without a separator.
            let mut messages = serde_json::Deserializer::from_slice(&buffer).into_iter::<Value>();
            for message in messages.by_ref() {
                match message {
                    Ok(message) => self.take(message),
                    Err(error) if error.is_eof() && buffer.len() < MAX_MESSAGE => break,
                    Err(error) => return Err(error.into()),
                }
            }
            let taken = messages.byte_offset();
            buffer.drain(..taken);
        }
    }

    fn take(&self, mut message: Value) {
        match message.get("method").and_then(Value::as_str) {
            Some("echo") => {
                let answer = json!({"id": message["id"], "result": message["params"], "error": null});
                // A connection that is closing needs no answer.
                let _ = self.outgoing.send(answer);
            }
            Some("update") => self.state.send_modify(|state| state.update(&message["params"][1])),
            Some(_) => {}
            None => {
                let Some(sender) = message["id"].as_u64().and_then(|id| lock(&self.waiting).remove(&id))
                else {
                    return;
                };
                let error = message["error"].take();
                let answer = message["result"].take();
                // Only the answer to `monitor` is an object.
                if answer.is_object() {
                    self.state.send_modify(|state| state.update(&answer));
                }
                let answer = if error.is_null() { Ok(answer) } else { Err(Error::Refused(sentence(&error))) };
                // Nobody waits any more: too late.
                let _ = sender.send(answer);
            }
        }
    }
}

async fn send(
    mut write: impl AsyncWrite + Unpin,
    mut messages: mpsc::UnboundedReceiver<Value>,
) -> io::Result<()> {
    while let Some(message) = messages.recv().await {
        write.write_all(message.to_string().as_bytes()).await?;
    }
    Ok(())
}

/// `{"error": "constraint violation", "details": "…"}` in one line.
fn sentence(error: &Value) -> String {
    let text = |key: &str| error.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    match (text("error"), text("details")) {
        (Some(error), Some(details)) => format!("{error}: {details}"),
        (Some(error), None) => error.to_owned(),
        _ => error.to_string(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while it was held cannot have left a map half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_ovsdb_servers() {
        for good in ["unix:/run/openvswitch/db.sock", "tcp:127.0.0.1:6640", "tcp:[::1]:6640"] {
            assert_eq!(good.parse::<Address>().unwrap().to_string(), good);
        }
        for bad in
            ["", "unix:", "unix:run/db.sock", "tcp:127.0.0.1", "tcp::6640", "ssl:h:6640", "/run/db.sock"]
        {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    /// A connection whose other end the test holds.
    async fn connected(
        serve: impl AsyncFnOnce(UnixStream) + 'static,
    ) -> (Result<Connection, Error>, Shutdown) {
        let path = std::env::temp_dir().join(format!("ovsdb-{}", common::ids::new_hex()));
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let life = Shutdown::new();
        let address = Address::Unix(path.clone());
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            serve(stream).await;
        };
        let (opened, ()) = tokio::join!(Connection::open(&address, &life), server);
        std::fs::remove_file(path).unwrap();
        (opened, life)
    }

    async fn read(stream: &mut UnixStream) -> Value {
        let mut bytes = vec![0; 64 * 1024];
        let count = stream.read(&mut bytes).await.unwrap();
        serde_json::from_slice(&bytes[..count]).unwrap()
    }

    #[tokio::test]
    async fn messages_come_in_any_cut_and_echoes_are_answered() {
        let (opened, _life) = connected(async |mut stream: UnixStream| {
            let monitor = read(&mut stream).await;
            assert_eq!(monitor["method"], "monitor");
            let answer = json!({"id": monitor["id"], "error": null, "result": {"Open_vSwitch": {"r": {"new": {"cur_cfg": 3}}}}});
            let text = format!("{}{answer}", json!({"method": "echo", "params": ["x"], "id": "echo"}));
            for part in text.as_bytes().chunks(7) {
                stream.write_all(part).await.unwrap();
                tokio::task::yield_now().await;
            }
            assert_eq!(read(&mut stream).await, json!({"id": "echo", "result": ["x"], "error": null}));
        })
        .await;
        let connection = opened.unwrap();
        assert_eq!(connection.state().borrow().cur_cfg, 3);
        // The test's end is closed now.
        let error = connection.transact(vec![]).await.unwrap_err();
        assert!(matches!(error, Error::Lost { .. }), "{error:?}");
        assert!(connection.state().borrow().closed);
    }

    #[tokio::test]
    async fn an_operation_that_failed_fails_the_transaction() {
        let (opened, life) = connected(async |mut stream: UnixStream| {
            let monitor = read(&mut stream).await;
            let answer = json!({"id": monitor["id"], "error": null, "result": {}});
            stream.write_all(answer.to_string().as_bytes()).await.unwrap();
            tokio::spawn(async move {
                let transaction = read(&mut stream).await;
                let results = json!([{}, {"error": "constraint violation", "details": "no"}, null]);
                let answer = json!({"id": transaction["id"], "error": null, "result": results});
                stream.write_all(answer.to_string().as_bytes()).await.unwrap();
                read(&mut stream).await;
            });
        })
        .await;
        let error = opened.unwrap().transact(vec![json!({})]).await.unwrap_err();
        assert_eq!(error.to_string(), "Open vSwitch's database refuses: constraint violation: no");
        drop(life);
    }
}
