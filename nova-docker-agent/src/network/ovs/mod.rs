//! Ports of Open vSwitch, by OVSDB (RFC 7047) over its socket.
//!
//! `connection.rs` is the protocol, `state.rs` what the database tells by itself; here are the transactions. A change is
//! done when ovs-vswitchd says so: it copies `next_cfg` of the configuration that it has carried out into `cur_cfg`.

mod connection;
mod state;

use std::sync::Arc;
use std::time::Duration;

use common::ids::{InstanceUuid, PortId};
use common::shutdown::Shutdown;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::plan::NicPlan;
use super::wiring::Plugged;
use connection::Connection;
use state::State;

pub(super) use connection::Address;

/// How long a socket that nobody listens at is tried: Open vSwitch may be restarting just now.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long ovs-vswitchd may take for one change.
const DEADLINE: Duration = Duration::from_secs(30);

/// Key in `Interface.external_ids` that tells our ports from those of other programs.
const MARK: &str = "nova-docker-agent";

/// Why Open vSwitch did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing listens at its socket.
    #[error("Open vSwitch does not answer at {address} ([ovs] ovsdb_connection)")]
    Unreachable {
        /// `[ovs] ovsdb_connection`
        address: String,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke, or nothing came through it in time.
    #[error("lost the connection to Open vSwitch at {address}: {problem}")]
    Lost {
        /// `[ovs] ovsdb_connection`
        address: String,
        /// How it ended.
        problem: String,
    },
    /// The database refused the transaction.
    #[error("Open vSwitch's database refuses: {0}")]
    Refused(String),
    /// There is no such bridge.
    #[error("Open vSwitch has no bridge {0}")]
    NoBridge(String),
    /// There is no such port.
    #[error("Open vSwitch has no port {0}")]
    NoPort(String),
    /// The database took the change, but the switch does nothing.
    #[error("ovs-vswitchd has not carried out a change of its database in {} s: is it running?", DEADLINE.as_secs())]
    Stuck,
    /// The switch could not open the device.
    #[error("Open vSwitch cannot use the device {device}: {problem}")]
    Device {
        /// Name of the device.
        device: String,
        /// `Interface.error`
        problem: String,
    },
}

/// Open vSwitch of this host. Clones share one connection, which is made when it is needed.
#[derive(Debug, Clone)]
pub(super) struct Ovs {
    address: Arc<Address>,
    life: Shutdown,
    connection: Arc<tokio::sync::Mutex<Option<Connection>>>,
}

impl Ovs {
    pub(super) fn new(address: Address, life: Shutdown) -> Self {
        Self { address: Arc::new(address), life, connection: Arc::default() }
    }

    /// The connection that is there, or a new one.
    async fn connection(&self) -> Result<Connection, Error> {
        let mut kept = self.connection.lock().await;
        if let Some(connection) = kept.as_ref().filter(|connection| !connection.state().borrow().closed) {
            return Ok(connection.clone());
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Connection::open(&self.address, &self.life).await {
                Ok(connection) => return Ok(kept.insert(connection).clone()),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Whether there is a connection, or one can be made.
    pub(super) async fn check(&self) -> Result<(), Error> {
        self.connection().await.map(drop)
    }

    /// Adds the tap of `plan` to its bridge, and returns when the switch has opened it.
    pub(super) async fn add_port(&self, plan: &NicPlan) -> Result<(), Error> {
        let external_ids = json!([
            "map",
            [
                ["iface-id", plan.port.to_string()],
                ["iface-status", "active"],
                ["attached-mac", plan.mac.to_string()],
                ["vm-uuid", plan.instance.to_string()],
                [MARK, "true"],
            ]
        ]);
        let (bridge, tap) = (&plan.bridge, &plan.tap);
        let is_there = json!({"op": "wait", "timeout": 0, "table": "Bridge", "where": [["name", "==", bridge]],
                              "columns": ["name"], "until": "==", "rows": [{"name": bridge}]});
        let connection = self.connection().await?;
        let changed = self.change(
            &connection,
            vec![
                is_there,
                json!({"op": "insert", "table": "Interface", "uuid-name": "nic",
                   "row": {"name": tap, "external_ids": external_ids}}),
                json!({"op": "insert", "table": "Port", "uuid-name": "port",
                   "row": {"name": tap, "interfaces": ["named-uuid", "nic"]}}),
                json!({"op": "mutate", "table": "Bridge", "where": [["name", "==", bridge]],
                   "mutations": [["ports", "insert", ["named-uuid", "port"]]]}),
            ],
        );
        match changed.await {
            Err(Error::Refused(why)) if why.starts_with("timed out") => Err(Error::NoBridge(bridge.clone())),
            Err(error) => Err(error),
            Ok(()) => {
                match connection.state().borrow().interface(tap).map(|interface| interface.error.clone()) {
                    Some(problem) if !problem.is_empty() => {
                        Err(Error::Device { device: tap.clone(), problem })
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Removes a port, and returns when the switch has closed its device: a device that is made again under a name
    /// which the switch still holds stays dead. False when there was no such port.
    pub(super) async fn delete_port(&self, name: &str) -> Result<bool, Error> {
        let connection = self.connection().await?;
        let select =
            json!({"op": "select", "table": "Port", "where": [["name", "==", name]], "columns": ["_uuid"]});
        let found = connection.transact(vec![select]).await?;
        let Some(port) = found.first().and_then(|result| result.pointer("/rows/0/_uuid")) else {
            return Ok(false);
        };
        let delete = json!({"op": "mutate", "table": "Bridge", "where": [["ports", "includes", port]],
                            "mutations": [["ports", "delete", port]]});
        self.change(&connection, vec![delete]).await?;
        Ok(true)
    }

    /// Carries out `operations` and waits for ovs-vswitchd.
    async fn change(&self, connection: &Connection, mut operations: Vec<Value>) -> Result<(), Error> {
        operations.push(json!({"op": "mutate", "table": "Open_vSwitch", "where": [],
                               "mutations": [["next_cfg", "+=", 1]]}));
        operations
            .push(json!({"op": "select", "table": "Open_vSwitch", "where": [], "columns": ["next_cfg"]}));
        let results = connection.transact(operations).await?;
        let next =
            results.last().and_then(|result| result.pointer("/rows/0/next_cfg")).and_then(Value::as_i64);
        let next = next.ok_or_else(|| Error::Refused("it has no configuration to change".into()))?;
        match timeout(DEADLINE, self.wait(connection, |state| (state.cur_cfg >= next).then_some(()))).await {
            Ok(done) => done,
            Err(_) => Err(Error::Stuck),
        }
    }

    /// Waits until the database tells something.
    async fn wait<T>(&self, connection: &Connection, told: impl Fn(&State) -> Option<T>) -> Result<T, Error> {
        let mut state = connection.state();
        let lost = || Error::Lost { address: self.address.to_string(), problem: "it was closed".into() };
        loop {
            {
                let state = state.borrow_and_update();
                if let Some(told) = told(&state) {
                    return Ok(told);
                }
                if state.closed {
                    return Err(lost());
                }
            }
            state.changed().await.map_err(|_| lost())?;
        }
    }

    /// Resolves when OVN has installed the flows of a port.
    pub(super) async fn installed(&self, name: &str) -> Result<(), Error> {
        let connection = self.connection().await?;
        let told = |state: &State| match state.interface(name) {
            None => Some(Err(Error::NoPort(name.to_owned()))),
            Some(interface) => (interface.id("ovn-installed") == Some("true")).then_some(Ok(())),
        };
        self.wait(&connection, told).await?
    }

    /// Our ports.
    pub(super) async fn ports(&self) -> Result<Vec<Plugged>, Error> {
        let connection = self.connection().await?;
        let state = connection.state();
        let ours = |interface: &state::Interface| {
            interface.id(MARK)?;
            let port: PortId = interface.id("iface-id")?.parse().ok()?;
            let instance: InstanceUuid = interface.id("vm-uuid")?.parse().ok()?;
            Some(Plugged { port, instance, intact: interface.error.is_empty() })
        };
        let ports = state.borrow().interfaces().filter_map(ours).collect();
        Ok(ports)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn a_switch_that_comes_back_is_found_again() {
        let path = std::env::temp_dir().join(format!("ovsdb-{}", common::ids::new_hex()));
        let ovs = Ovs::new(Address::Unix(path.clone()), Shutdown::new());
        let listen = path.clone();
        let (seen, mut connections) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            // Not there at first.
            tokio::time::sleep(Duration::from_millis(150)).await;
            let listener = UnixListener::bind(listen).unwrap();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut bytes = vec![0; 4096];
                let count = stream.read(&mut bytes).await.unwrap();
                let monitor: Value = serde_json::from_slice(&bytes[..count]).unwrap();
                let ids = json!([
                    "map",
                    [
                        ["nova-docker-agent", "true"],
                        ["vm-uuid", "2d206834-23ab-4b5d-a236-4608f438a9e2"],
                        ["iface-id", "9a4e1a1b-1c2d-4e5f-8a9b-0c1d2e3f4a5b"]
                    ]
                ]);
                let row =
                    json!({"new": {"name": "tap9a4e1a1b-1c", "external_ids": ids, "error": ["set", []]}});
                let answer =
                    json!({"id": monitor["id"], "error": null, "result": {"Interface": {"row": row}}});
                stream.write_all(answer.to_string().as_bytes()).await.unwrap();
                seen.send(stream).unwrap();
            }
        });
        assert_eq!(ovs.ports().await.unwrap().len(), 1);
        let kept = ovs.connection().await.unwrap();
        drop(connections.recv().await.unwrap());
        kept.state().wait_for(|state| state.closed).await.unwrap();
        assert_eq!(ovs.ports().await.unwrap().len(), 1);
        assert!(connections.recv().await.is_some(), "a second connection was made");
        std::fs::remove_file(path).unwrap();
    }
}
