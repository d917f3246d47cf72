//! Interactive consoles: who may come, and what is left of a token that nobody used.

use std::net::TcpListener;

use common::messaging::RemoteError;
use nova_docker_agent::config::Config;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::periodic::running;
use crate::{Cloud, HOST, UUID};

/// Consoles at one port, for a second each; what has ended is looked for once a second.
fn at_one_port(config: &mut Config) {
    let free = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    config.serial_console.enabled = true;
    config.serial_console.proxyclient_address = "127.0.0.1".parse().unwrap();
    config.serial_console.port_range = free..=free;
    config.console_token_ttl = 1;
    config.instance_delete_interval = 1;
}

/// As that, for longer than any test.
fn for_long(config: &mut Config) {
    at_one_port(config);
    config.console_token_ttl = 600;
}

impl Cloud {
    async fn console(&self) -> Result<Value, RemoteError> {
        let args = json!({"instance": self.nova.instance(UUID), "console_type": "serial"});
        self.nova.call(HOST, "get_serial_console", args).await
    }

    /// What the proxy asks that was given a token.
    async fn may_enter(&self, port: &Value) -> bool {
        let args =
            json!({"instance": self.nova.instance(UUID), "port": port.to_string(), "console_type": "serial"});
        self.nova.call(HOST, "validate_console_port", args).await.unwrap() == json!(true)
    }

    async fn with_consoles(adjust: fn(&mut Config)) -> Self {
        let cloud = running(adjust).await;
        cloud.boot(|_| {}).await;
        cloud.until("vm_state", "active").await;
        cloud.until_event_ends().await;
        cloud
    }

    fn tokens(&self) -> usize {
        self.nova.with(|db| db.tokens.len())
    }
}

async fn listens(port: &Value) -> bool {
    TcpStream::connect(("127.0.0.1", u16::try_from(port.as_u64().unwrap()).unwrap())).await.is_ok()
}

/// Covers: get_serial_console, validate_console_port
#[tokio::test]
async fn a_token_that_nobody_uses_ends_in_nova_s_database_and_its_port_is_free_again() {
    let cloud = Cloud::with_consoles(at_one_port).await;
    let first = cloud.console().await.unwrap();
    assert_eq!((cloud.tokens(), first["token"].is_string()), (1, true));
    let refused = cloud.console().await.unwrap_err();
    assert_eq!(
        (refused.class.as_str(), cloud.tokens()),
        ("SerialPortNumberLimitExceeded", 1),
        "the port is taken"
    );
    cloud.nova.until("the token is gone", |db| db.tokens.is_empty()).await;
    assert!(!cloud.may_enter(&first["port"]).await && !listens(&first["port"]).await, "the token has ended");
    let second = cloud.console().await.expect("the port is free again");
    assert_eq!((&second["port"], cloud.tokens()), (&first["port"], 1));
    assert!(cloud.may_enter(&second["port"]).await && listens(&second["port"]).await);
}

/// Covers: terminate_instance
#[tokio::test]
async fn the_tokens_of_a_deleted_instance_go_with_it() {
    let cloud = Cloud::with_consoles(for_long).await;
    cloud.console().await.unwrap();
    cloud.ask("terminate_instance", "deleting", json!({"bdms": null})).await;
    cloud.nova.until("the row is gone", |db| db.instances.is_empty()).await;
    assert_eq!(cloud.tokens(), 0);
}
