//! Named conditions, and waiting for them with a deadline. The only place of the deployer that polls.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use common::config::Ready;
use common::secret::Secret;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::bootstrap::mysql;

/// Pause between two probes: readiness is noticed at once, and a probe costs next to nothing.
const PAUSE: Duration = Duration::from_millis(100);
/// One probe may take this long.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is waited for.
#[derive(Debug, Clone)]
pub(crate) enum Condition {
    /// The container runs; for services that say nothing about readiness.
    Running,
    Http {
        url: String,
    },
    Tcp {
        address: SocketAddr,
    },
    Mysql {
        server: mysql::Server,
    },
    Amqp {
        url: Secret,
    },
    /// A server consumes the topic.
    Rpc {
        url: Secret,
        topic: String,
    },
    Log {
        text: String,
    },
    /// A program in the container ends well.
    Exec {
        command: Vec<String>,
    },
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Condition::Running => write!(f, "the container runs"),
            Condition::Http { url } => write!(f, "GET {url} answers with success"),
            Condition::Tcp { address } => write!(f, "{address} accepts connections"),
            Condition::Mysql { .. } => write!(f, "MariaDB answers its administrator"),
            Condition::Amqp { .. } => write!(f, "RabbitMQ accepts the services' login"),
            Condition::Rpc { topic, .. } => write!(f, "an RPC server consumes the topic {topic}"),
            Condition::Log { text } => write!(f, "the log says `{text}`"),
            Condition::Exec { command } => write!(f, "`{}` ends well", command.join(" ")),
        }
    }
}

/// What conditions of a platform need beside the service's own entry.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) database_password: Option<Secret>,
    /// Login at the broker, with the address the host reaches it at.
    pub(crate) broker_url: Option<Secret>,
}

/// The condition of a service whose container has `address`.
pub(crate) fn condition(ready: Option<&Ready>, address: Ipv4Addr, access: &Access) -> Condition {
    let Some(ready) = ready else { return Condition::Running };
    let at = |port| SocketAddr::V4(SocketAddrV4::new(address, port));
    if let Some(http) = &ready.http {
        Condition::Http { url: format!("http://{}{}", at(http.port), http.path) }
    } else if let Some(tcp) = &ready.tcp {
        Condition::Tcp { address: at(tcp.port) }
    } else if let Some(text) = &ready.log {
        Condition::Log { text: text.clone() }
    } else if let Some(command) = &ready.exec {
        Condition::Exec { command: command.clone() }
    } else if let (Some(_), Some(password)) = (&ready.mysql, &access.database_password) {
        Condition::Mysql { server: mysql::Server { address, password: password.clone() } }
    } else if let (Some(_), Some(url)) = (&ready.amqp, &access.broker_url) {
        Condition::Amqp { url: url.clone() }
    } else if let (Some(rpc), Some(url)) = (&ready.rpc, &access.broker_url) {
        Condition::Rpc { url: url.clone(), topic: rpc.topic.clone() }
    } else {
        Condition::Running
    }
}

/// The HTTP client of all probes: no proxy stands between the host and its bridge, and a redirect is an answer.
pub(crate) fn client() -> reqwest::Client {
    common::tls::install();
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    builder.build().unwrap_or_default()
}

/// Asks once; the error is the last answer, for people.
pub(crate) async fn probe(http: &reqwest::Client, condition: &Condition) -> Result<(), String> {
    let asked = async {
        match condition {
            // What Docker knows is asked by the caller, who has the container.
            Condition::Running | Condition::Log { .. } | Condition::Exec { .. } => Ok(()),
            Condition::Http { url } => probe_http(http, url).await,
            Condition::Tcp { address } => {
                TcpStream::connect(address).await.map(drop).map_err(|error| error.to_string())
            }
            Condition::Mysql { server } => mysql::ping(server).await.map_err(|error| crate::chain(&error)),
            Condition::Amqp { url } => login(url).await.map(drop),
            Condition::Rpc { url, topic } => consumed(url, topic).await,
        }
    };
    timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err("no answer within 5 s".into()))
}

async fn probe_http(http: &reqwest::Client, url: &str) -> Result<(), String> {
    let answer = http.get(url).send().await.map_err(|error| crate::chain(&error))?;
    let status = answer.status();
    if status.is_success() || status.is_redirection() { Ok(()) } else { Err(format!("it answers {status}")) }
}

async fn login(url: &Secret) -> Result<lapin::Connection, String> {
    let connection = lapin::Connection::connect(url.reveal(), lapin::ConnectionProperties::default());
    connection.await.map_err(|error| crate::chain(&error))
}

/// A passive declare neither makes nor changes the queue, and tells how many consume from it.
async fn consumed(url: &Secret, topic: &str) -> Result<(), String> {
    let connection = login(url).await?;
    let channel = connection.create_channel().await.map_err(|error| crate::chain(&error))?;
    let passive = lapin::options::QueueDeclareOptions { passive: true, ..Default::default() };
    let queue = channel.queue_declare(topic.into(), passive, lapin::types::FieldTable::default()).await;
    let answer = match queue {
        Ok(queue) if queue.consumer_count() > 0 => Ok(()),
        Ok(_) => Err(format!("nobody consumes the queue {topic}")),
        Err(error) => Err(crate::chain(&error)),
    };
    // Closed in order, or the broker logs a warning every time.
    let _ = connection.close(200, "probed".into()).await;
    answer
}

/// Probes until `check` says yes; its last answer when `patience` is over, or at once when it says that waiting is useless.
pub(crate) async fn wait<F>(patience: Duration, mut check: impl FnMut() -> F) -> Result<(), Unmet>
where
    F: Future<Output = Result<(), Unmet>>,
{
    let deadline = Instant::now() + patience;
    loop {
        match check().await {
            Ok(()) => return Ok(()),
            Err(unmet) if unmet.hopeless || Instant::now() >= deadline => return Err(unmet),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// A condition that does not hold.
#[derive(Debug, Clone)]
pub(crate) struct Unmet {
    /// What is waited for.
    pub(crate) condition: String,
    /// The last answer.
    pub(crate) answer: String,
    /// True when no waiting will help.
    pub(crate) hopeless: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_ends_with_the_last_answer_or_at_once_when_hopeless() {
        let mut count = 0;
        let unmet = wait(Duration::from_millis(250), || {
            count += 1;
            let answer = format!("answer {count}");
            async move { Err(Unmet { condition: "x".into(), answer, hopeless: false }) }
        });
        assert_eq!(unmet.await.unwrap_err().answer, format!("answer {count}"));
        assert!(count > 1);
        let dead = || async { Err(Unmet { condition: "x".into(), answer: "dead".into(), hopeless: true }) };
        let hopeless = wait(Duration::from_secs(60), dead);
        assert_eq!(hopeless.await.unwrap_err().answer, "dead");
    }

    #[tokio::test]
    async fn a_port_that_listens_is_ready() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let condition = Condition::Tcp { address: listener.local_addr().unwrap() };
        let http = client();
        probe(&http, &condition).await.unwrap();
        drop(listener);
        assert!(probe(&http, &condition).await.unwrap_err().contains("refused"));
    }
}
