//! What tests of networks share: the things they make and unmake, the guests they boot, and what they see of them on
//! the host.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cloud::{Boot, Cloud, DEADLINE, list, text};
use crate::host::Host;
use crate::platform;

/// How long a change may take until packets show it.
const SOON: Duration = Duration::from_secs(20);

/// Makes things for one test, and unmakes them in the reverse order.
pub struct Lab<'a> {
    /// Who makes them.
    pub cloud: &'a Cloud,
    /// Where the guests are.
    pub host: Host,
    /// The network with floating addresses; empty where there are none.
    pub external: String,
    undo: Vec<(Method, String, Value)>,
    guests: Vec<Guest>,
}

/// A server, and its first port.
#[derive(Clone)]
pub struct Guest {
    /// Its uuid.
    pub id: String,
    /// The port's uuid.
    pub port: String,
    /// The port's first IPv4 address.
    pub address: String,
}

impl<'a> Lab<'a> {
    /// Nothing is made yet.
    ///
    /// # Errors
    /// When Neutron or Docker does not answer.
    pub async fn new(cloud: &'a Cloud) -> Result<Self> {
        let external = cloud.get("network", "/v2.0/networks?router:external=true").await?;
        let external = text(&external["networks"][0]["id"]).to_owned();
        Ok(Self { cloud, host: Host::new()?, external, undo: Vec::new(), guests: Vec::new() })
    }

    /// Makes a resource of Neutron, e.g. a `security_group`.
    ///
    /// # Errors
    /// When Neutron refuses.
    pub async fn make(&mut self, kind: &str, body: Value) -> Result<Value> {
        let end = if kind.ends_with('y') { "ies" } else { "s" };
        let path = format!("/v2.0/{}{end}", kind.trim_end_matches('y').replace('_', "-"));
        // The extension has a place of its own.
        let path = path.replace("/qos-", "/qos/");
        let (one, body) = if kind == "qos_policy" { ("policy", body) } else { (kind, body) };
        let made = self.cloud.post("network", &path, json!({ one: body })).await?[one].clone();
        self.undo.push((Method::DELETE, format!("{path}/{}", text(&made["id"])), Value::Null));
        Ok(made)
    }

    /// A network with one subnet of `cidr`; `more` goes into the network. Returns their uuids. Of a /24 Neutron gives out the
    /// addresses from 2 to 99, at random: the others are for tests that name an address.
    ///
    /// # Errors
    /// When Neutron refuses.
    pub async fn network(&mut self, name: &str, cidr: &str, more: Value) -> Result<(String, String)> {
        let mut body = json!({ "name": name });
        if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
            body.extend(more.clone());
        }
        let network = text(&self.make("network", body).await?["id"]).to_owned();
        let mut subnet = json!({"network_id": network, "ip_version": 4, "cidr": cidr, "name": name});
        if let Some(prefix) = cidr.strip_suffix("0/24") {
            subnet["allocation_pools"] =
                json!([{"start": format!("{prefix}2"), "end": format!("{prefix}99")}]);
        }
        let subnet = text(&self.make("subnet", subnet).await?["id"]).to_owned();
        Ok((network, subnet))
    }

    /// A router to the outside with these subnets.
    ///
    /// # Errors
    /// When Neutron refuses.
    pub async fn router(&mut self, name: &str, subnets: &[&str]) -> Result<String> {
        let body = json!({"name": name, "external_gateway_info": {"network_id": self.external}});
        let router = text(&self.make("router", body).await?["id"]).to_owned();
        for subnet in subnets {
            let body = json!({ "subnet_id": subnet });
            let path = format!("/v2.0/routers/{router}/add_router_interface");
            self.cloud.put_body("network", &path, body.clone()).await?;
            self.undo.push((Method::PUT, path.replace("/add_", "/remove_"), body));
        }
        Ok(router)
    }

    /// A security group that lets in what `rules` say.
    ///
    /// # Errors
    /// When Neutron refuses.
    pub async fn group(&mut self, name: &str, rules: &[Value]) -> Result<String> {
        let group = text(&self.make("security_group", json!({ "name": name })).await?["id"]).to_owned();
        for rule in rules {
            allow(self.cloud, &group, rule).await?;
        }
        Ok(group)
    }

    /// A floating address for a port, or for none. Returns uuid and address.
    ///
    /// # Errors
    /// When Neutron refuses.
    pub async fn floating(&mut self, port: Option<&str>) -> Result<(String, String)> {
        let body = json!({"floating_network_id": self.external, "port_id": port});
        let made = self.make("floatingip", body).await?;
        Ok((text(&made["id"]).to_owned(), text(&made["floating_ip_address"]).to_owned()))
    }

    /// Boots side by side, and waits until all are ACTIVE.
    ///
    /// # Errors
    /// When a boot fails.
    pub async fn guests<const N: usize>(&mut self, boots: [Boot<'_>; N]) -> Result<[Guest; N]> {
        let mut ids = Vec::new();
        for boot in &boots {
            ids.push(self.cloud.boot(boot).await?);
        }
        let mut guests = Vec::new();
        for id in ids {
            self.cloud.wait_for(&id, "ACTIVE").await?;
            let ports = ports(self.cloud, &id).await?;
            let port = ports.first().with_context(|| format!("server {id} has no port"))?;
            let addresses = list(&port["fixed_ips"]);
            let mut addresses = addresses.iter().map(|each| text(&each["ip_address"]));
            let address = addresses.find(|each| each.contains('.')).unwrap_or_default().to_owned();
            guests.push(Guest { port: text(&port["id"]).to_owned(), address, id });
        }
        self.guests.extend(guests.iter().cloned());
        guests.try_into().map_err(|_| anyhow::anyhow!("not all were booted"))
    }

    /// Changes a resource, e.g. `port`.
    ///
    /// # Errors
    /// When Neutron refuses.
    pub async fn change(&self, kind: &str, id: &str, body: Value) -> Result<Value> {
        let path = format!("/v2.0/{kind}s/{id}");
        Ok(self.cloud.put_body("network", &path, json!({ kind: body })).await?[kind].clone())
    }

    /// Deletes the guests, looks whether they left something, and unmakes the rest.
    ///
    /// # Errors
    /// When something is left, or is still in use.
    pub async fn remove(self) -> Result<()> {
        for guest in &self.guests {
            delete(self.cloud, "compute", &format!("/servers/{}", guest.id)).await?;
        }
        for guest in &self.guests {
            self.cloud.wait_deleted(&guest.id).await?;
            nothing_is_left(self.cloud, &self.host, &guest.id, &guest.port).await?;
        }
        for (method, path, body) in self.undo.into_iter().rev() {
            let body = (!body.is_null()).then_some(body);
            let (status, answer) = self.cloud.request(method.clone(), "network", &path, body).await?;
            ensure!(status.is_success() || status.as_u16() == 404, "{method} {path}: {status} {answer}");
        }
        Ok(())
    }
}

impl Guest {
    /// What its container is called.
    pub fn container(&self) -> String {
        container(&self.id)
    }

    /// A program in it ends well.
    ///
    /// # Errors
    /// When Docker cannot run it.
    pub async fn runs(&self, host: &Host, command: &[&str]) -> Result<bool> {
        Ok(host.try_exec(&self.container(), command).await?.0 == Some(0))
    }

    /// One ping with the arguments of busybox's is answered.
    ///
    /// # Errors
    /// When Docker cannot run it.
    pub async fn pings(&self, host: &Host, arguments: &str) -> Result<bool> {
        let words: Vec<&str> = "ping -c 1 -W 1".split(' ').chain(arguments.split(' ')).collect();
        self.runs(host, &words).await
    }

    /// A TCP connection to a service is made, which ends it when we do.
    ///
    /// # Errors
    /// When Docker cannot run it.
    pub async fn connects(&self, host: &Host, address: &str, port: u16) -> Result<bool> {
        let dial = format!("timeout 5 nc -w 2 {address} {port} < /dev/null");
        self.runs(host, &["sh", "-c", &dial]).await
    }

    /// Runs `ip` of the host in its network namespace, with the rights that a guest has not.
    ///
    /// # Errors
    /// When it fails.
    pub async fn ip(&self, host: &Host, arguments: &[&str]) -> Result<()> {
        let container = host.inspect(&self.container()).await?;
        let pid = container.state.and_then(|state| state.pid).context("the guest does not run")?;
        let mut command = Command::new("nsenter");
        command.args(["-t", &pid.to_string(), "-n", "ip"]).args(arguments);
        ensure!(command.status().context("cannot run nsenter")?.success(), "ip {arguments:?} failed");
        Ok(())
    }
}

/// Adds a rule for what comes in to a group: IPv4 unless the rule says other.
///
/// # Errors
/// When Neutron refuses.
pub async fn allow(cloud: &Cloud, group: &str, rule: &Value) -> Result<String> {
    let mut body = json!({"security_group_id": group, "direction": "ingress", "ethertype": "IPv4"});
    if let (Some(body), Some(rule)) = (body.as_object_mut(), rule.as_object()) {
        body.extend(rule.clone());
    }
    let made =
        cloud.post("network", "/v2.0/security-group-rules", json!({ "security_group_rule": body })).await?;
    Ok(text(&made["security_group_rule"]["id"]).to_owned())
}

/// The rule for one TCP port.
pub fn tcp(port: u16) -> Value {
    json!({"protocol": "tcp", "port_range_min": port, "port_range_max": port})
}

/// Deletes, or finds that it is gone.
///
/// # Errors
/// When the service refuses.
pub async fn delete(cloud: &Cloud, service: &str, path: &str) -> Result<()> {
    let (status, answer) = cloud.request(Method::DELETE, service, path, None).await?;
    ensure!(status.is_success() || status.as_u16() == 404, "DELETE {path}: {status} {answer}");
    Ok(())
}

/// The ports of a server.
///
/// # Errors
/// When Neutron does not answer.
pub async fn ports(cloud: &Cloud, server: &str) -> Result<Vec<Value>> {
    Ok(list(&cloud.get("network", &format!("/v2.0/ports?device_id={server}")).await?["ports"]))
}

/// What a server's container is called.
pub fn container(server: &str) -> String {
    format!("nova-{server}")
}

/// Interfaces in Open vSwitch that belong to a server.
///
/// # Errors
/// When the switch does not answer.
pub async fn in_the_switch(host: &Host, server: &str) -> Result<String> {
    let find = format!("external_ids:vm-uuid={server}");
    let arguments = ["ovs-vsctl", "--bare", "--columns=name", "find", "Interface", &find];
    Ok(host.exec(&platform::container("openvswitch")?, &arguments).await?.trim().to_owned())
}

/// Nothing of a server is left: port, row of the switch, device, sandbox.
///
/// # Errors
/// When something is.
pub async fn nothing_is_left(cloud: &Cloud, host: &Host, server: &str, port: &str) -> Result<()> {
    let ports = ports(cloud, server).await?;
    ensure!(ports.is_empty(), "{ports:?}");
    let plugged = in_the_switch(host, server).await?;
    ensure!(plugged.is_empty(), "{plugged}");
    let devices = host.exec(&platform::container("openvswitch")?, &["ls", "/sys/class/net"]).await?;
    ensure!(!devices.contains(&format!("tap{}", &port[..11])), "{devices}");
    let containers = host.containers(&format!("nova.instance_uuid={server}")).await?;
    ensure!(containers.is_empty(), "{containers:?}");
    Ok(())
}

/// The first bytes that a TCP service says: an SSH server greets by itself.
///
/// # Errors
/// On the deadline.
pub async fn greeting(address: &str, port: u16) -> Result<String> {
    let start = Instant::now();
    loop {
        match greets(address, port).await? {
            Ok(said) => return Ok(said),
            Err(error) if start.elapsed() > DEADLINE => {
                return Err(error).context(format!("no answer of {address}"));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// One try of [`greeting`]: the inner error is the network's.
///
/// # Errors
/// When the address is none.
pub async fn greets(address: &str, port: u16) -> Result<std::io::Result<String>> {
    let address: SocketAddr = format!("{address}:{port}").parse()?;
    let greet = move || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut bytes = [0; 64];
        let count = stream.read(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes[..count]).into_owned())
    };
    Ok(tokio::task::spawn_blocking(greet).await?)
}

/// Waits until it holds.
///
/// # Errors
/// When it cannot be found out, or not soon.
pub async fn becomes<F>(what: &str, mut holds: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = Result<bool>>,
{
    let start = Instant::now();
    while !holds().await.with_context(|| what.to_owned())? {
        ensure!(start.elapsed() < SOON, "not so after {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
