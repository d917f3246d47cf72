//! Networks and what belongs to them, in Neutron.

use std::time::{Duration, Instant};

use common::openstack::http::Request;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Cloud, Error};

/// A kind of Neutron's resources: the names of a list and of one of them, as they stand in bodies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    many: &'static str,
    one: &'static str,
}

/// Networks.
pub(crate) const NETWORK: Kind = Kind { many: "networks", one: "network" };
/// Subnets.
pub(crate) const SUBNET: Kind = Kind { many: "subnets", one: "subnet" };
/// Ranges that subnets are cut from.
pub(crate) const SUBNET_POOL: Kind = Kind { many: "subnetpools", one: "subnetpool" };
/// Routers.
pub(crate) const ROUTER: Kind = Kind { many: "routers", one: "router" };
/// Security groups.
pub(crate) const SECURITY_GROUP: Kind = Kind { many: "security_groups", one: "security_group" };
/// Rules of security groups.
const SECURITY_GROUP_RULE: Kind = Kind { many: "security_group_rules", one: "security_group_rule" };
/// Ports.
pub(crate) const PORT: Kind = Kind { many: "ports", one: "port" };
/// Floating IPs.
const FLOATING_IP: Kind = Kind { many: "floatingips", one: "floatingip" };

impl Kind {
    /// Paths have dashes where bodies have underscores.
    fn path(self) -> String {
        format!("/v2.0/{}", self.many.replace('_', "-"))
    }
}

impl Cloud {
    /// The id of the resource of the name in `body`, made from `body` when there is none.
    ///
    /// # Errors
    /// When Neutron refuses.
    pub(crate) async fn ensure_network_resource(&self, kind: Kind, body: Value) -> Result<String, Error> {
        let name = body["name"].as_str().unwrap_or_default().to_owned();
        match self.network_ids(kind, &format!("name={name}")).await?.into_iter().next() {
            Some(id) => Ok(id),
            None => self.create_network_resource(kind, body).await,
        }
    }

    /// Connects a subnet to a router; an interface that is there stays.
    ///
    /// # Errors
    /// When Neutron refuses.
    pub(crate) async fn ensure_router_interface(&self, router: &str, subnet: &str) -> Result<(), Error> {
        let query = format!("device_id={router}&fixed_ips=subnet_id%3D{subnet}");
        if self.network_ids(PORT, &query).await?.is_empty() {
            let path = format!("/v2.0/routers/{router}/add_router_interface");
            let request = Request::new(Method::PUT, &path).json(json!({ "subnet_id": subnet }));
            self.network.send(&request).await?;
        }
        Ok(())
    }

    /// Lets traffic into the members of a security group; a rule that is there stays. `ports` is the port of TCP, or none for all
    /// of `protocol`.
    ///
    /// # Errors
    /// When Neutron refuses.
    pub(crate) async fn ensure_ingress(
        &self,
        group: &str,
        protocol: &str,
        port: Option<u16>,
    ) -> Result<(), Error> {
        let rule = json!({ "security_group_id": group, "direction": "ingress", "ethertype": "IPv4",
            "protocol": protocol, "port_range_min": port, "port_range_max": port });
        match self.create_network_resource(SECURITY_GROUP_RULE, rule).await {
            Err(Error::OpenStack(error)) if error.status() == Some(409) => Ok(()),
            other => other.map(drop),
        }
    }

    /// The floating address of a server's first port, made on the network `public` when it has none; `None` when the server has
    /// no port.
    ///
    /// # Errors
    /// When Neutron refuses.
    pub(crate) async fn ensure_floating_ip(
        &self,
        server: &str,
        public: &str,
    ) -> Result<Option<String>, Error> {
        let ports = self.network_ids(PORT, &format!("device_id={server}")).await?;
        let Some(port) = ports.into_iter().next() else { return Ok(None) };
        let path = format!("{}?port_id={port}", FLOATING_IP.path());
        let found: Value = self.network.json(&Request::new(Method::GET, &path)).await?;
        let address = |one: &Value| one["floating_ip_address"].as_str().map(str::to_owned);
        if let Some(address) = address(&found[FLOATING_IP.many][0]) {
            return Ok(Some(address));
        }
        let body = json!({ "floating_network_id": public, "port_id": port });
        Ok(address(&self.created(FLOATING_IP, body).await?))
    }

    /// Takes a subnet off a router; one that is not on it is fine.
    ///
    /// # Errors
    /// When Neutron refuses.
    pub(crate) async fn remove_router_interface(&self, router: &str, subnet: &str) -> Result<(), Error> {
        let path = format!("/v2.0/routers/{router}/remove_router_interface");
        let request = Request::new(Method::PUT, &path).json(json!({ "subnet_id": subnet }));
        unless_gone(self.network.send(&request).await)
    }

    /// Deletes a resource; one that is gone is fine.
    ///
    /// # Errors
    /// When Neutron refuses.
    pub(crate) async fn delete_network_resource(&self, kind: Kind, id: &str) -> Result<(), Error> {
        let path = format!("{}/{id}", kind.path());
        unless_gone(self.network.send(&Request::new(Method::DELETE, &path)).await)
    }

    /// Waits until Neutron calls a port ACTIVE, looking every `poll`.
    ///
    /// # Errors
    /// [`Error::Deadline`] when it does not in time.
    pub(crate) async fn wait_port_active(
        &self,
        port: &str,
        poll: Duration,
        limit: Duration,
    ) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            let path = format!("{}/{port}?fields=status", PORT.path());
            let found: Value = self.network.json(&Request::new(Method::GET, &path)).await?;
            let status = found[PORT.one]["status"].as_str().unwrap_or_default().to_owned();
            if status == "ACTIVE" {
                return Ok(());
            }
            if start.elapsed() > limit {
                let (name, task) = (format!("with port {port}"), "none".to_owned());
                return Err(Error::Deadline {
                    name,
                    status,
                    task,
                    wanted: "ACTIVE",
                    seconds: limit.as_secs(),
                });
            }
            tokio::time::sleep(poll).await;
        }
    }

    /// The first address of a server's first port; `None` when it has none.
    ///
    /// # Errors
    /// When Neutron does not answer.
    pub(crate) async fn fixed_address(&self, server: &str) -> Result<Option<String>, Error> {
        let path = format!("{}?device_id={server}", PORT.path());
        let found: Value = self.network.json(&Request::new(Method::GET, &path)).await?;
        let address = &found[PORT.many][0]["fixed_ips"][0]["ip_address"];
        Ok(address.as_str().map(str::to_owned))
    }

    async fn create_network_resource(&self, kind: Kind, body: Value) -> Result<String, Error> {
        Ok(self.created(kind, body).await?["id"].as_str().unwrap_or_default().to_owned())
    }

    async fn created(&self, kind: Kind, body: Value) -> Result<Value, Error> {
        let path = kind.path();
        let request = Request::new(Method::POST, &path).json(json!({ kind.one: body }));
        let mut answer: Value = self.network.json(&request).await?;
        Ok(answer[kind.one].take())
    }

    async fn network_ids(&self, kind: Kind, query: &str) -> Result<Vec<String>, Error> {
        let path = format!("{}?fields=id&{query}", kind.path());
        let found: Value = self.network.json(&Request::new(Method::GET, &path)).await?;
        let ids = found[kind.many].as_array().into_iter().flatten();
        Ok(ids.filter_map(|each| each["id"].as_str().map(str::to_owned)).collect())
    }
}

fn unless_gone<T>(answer: Result<T, common::openstack::Error>) -> Result<(), Error> {
    match answer {
        Err(error) if error.status() != Some(404) => Err(error.into()),
        _ => Ok(()),
    }
}
