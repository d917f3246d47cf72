//! `bench network`: TCP between instances, on one network and through a router, against two containers on Docker's own
//! bridge in the same run, and to an instance on a second host where there is one; what one port adds to a boot, beside the
//! time in which Neutron's API was asked during that boot; and how long Neutron takes to call a port ACTIVE that is plugged.

use std::time::{Duration, Instant};

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder};
use jiff::Timestamp;
use serde_json::json;

use super::Error;
use super::front::Front;
use super::peers::{self, Way};
use super::record::Record;
use super::stats::{Samples, ratio};
use super::table::{Goal, Row, Table};
use crate::bootstrap::mysql;
use crate::cloud::networks::{NETWORK, SECURITY_GROUP, SUBNET};
use crate::cloud::{Access, Cloud, NewServer};
use crate::engine::Docker;
use crate::printer::Printer;

/// How often the API is asked.
const POLL: Duration = Duration::from_millis(20);
/// Rest after a server is gone: what is still done for it must not run into the next boot.
const SETTLE: Duration = Duration::from_secs(1);
/// Neutron's name at the load balancer.
const NEUTRON: &str = "neutron";
/// Longest wait for a server.
const LIMIT: Duration = Duration::from_secs(300);
/// Servers, networks and groups of a benchmark are called so.
const NAME: &str = "bench-network";
/// The containers on Docker's bridge.
const BESIDE: [&str; 2] = ["octopenstack-bench-bridge-1", "octopenstack-bench-bridge-2"];
/// The subnet behind the router.
const SUBNET_BEHIND: &str = "192.168.78.0/24";
/// Milliseconds that a port may add to a boot, beside Neutron's own time for it.
const GOAL: f64 = 250.0;

/// What a benchmark is about.
pub(crate) struct Subjects {
    /// Id of the image in Glance.
    pub(crate) image: String,
    /// Id of the flavor.
    pub(crate) flavor: String,
    /// The same image in Docker.
    pub(crate) docker_image: String,
    /// The compute host.
    pub(crate) host: String,
    /// Id of a network that the router knows.
    pub(crate) network: String,
    /// Id of the router.
    pub(crate) router: String,
    /// Name of a key pair.
    pub(crate) key: &'static str,
    /// Nova's database.
    pub(crate) database: mysql::Server,
    /// The load balancer's container.
    pub(crate) front: String,
    /// The other compute host.
    pub(crate) second: Option<Second>,
}

/// A second compute host on this machine.
pub(crate) struct Second {
    /// Its name.
    pub(crate) host: String,
    /// Its Docker engine.
    pub(crate) docker: Docker,
}

/// What was made for the benchmark.
struct Made {
    /// The network behind the router, and its subnet.
    behind: String,
    subnet: String,
    group: String,
}

/// Everything a benchmark works with.
struct Bench<'a> {
    cloud: &'a Cloud,
    docker: &'a Docker,
    printer: &'a Printer,
    subjects: &'a Subjects,
}

/// Times of boots with a port and without.
#[derive(Default)]
struct Boots {
    with: Samples,
    without: Samples,
    /// Of those with a port: when Neutron's API was asked.
    neutron: Samples,
    /// Of those with a port: the rest.
    beyond: Samples,
}

/// Runs everything, takes away what it made, and returns the table.
///
/// # Errors
/// When a server fails, a service does not answer, or the namespaces of the containers cannot be entered.
pub(crate) async fn run(
    cloud: &Cloud,
    docker: &Docker,
    printer: &Printer,
    subjects: &Subjects,
    boots: u32,
) -> Result<Table, Error> {
    let bench = Bench { cloud, docker, printer, subjects };
    bench.sweep().await?;
    let made = bench.make().await?;
    let table = bench.all(&made, boots).await;
    bench.sweep().await?;
    cloud.remove_router_interface(&subjects.router, &made.subnet).await?;
    cloud.delete_network_resource(NETWORK, &made.behind).await?;
    cloud.delete_network_resource(SECURITY_GROUP, &made.group).await?;
    table
}

impl Bench<'_> {
    async fn make(&self) -> Result<Made, Error> {
        let behind = self.cloud.ensure_network_resource(NETWORK, json!({ "name": NAME })).await?;
        let subnet = json!({ "name": NAME, "network_id": behind, "ip_version": 4, "cidr": SUBNET_BEHIND });
        let subnet = self.cloud.ensure_network_resource(SUBNET, subnet).await?;
        self.cloud.ensure_router_interface(&self.subjects.router, &subnet).await?;
        let group = self.cloud.ensure_network_resource(SECURITY_GROUP, json!({ "name": NAME })).await?;
        self.cloud.ensure_ingress(&group, "tcp", Some(peers::PORT)).await?;
        Ok(Made { behind, subnet, group })
    }

    async fn all(&self, made: &Made, boots: u32) -> Result<Table, Error> {
        let mut table = Table::default();
        self.ways(made, &mut table).await?;
        self.boots(boots).await?.rows(&mut table);
        table.push(self.plugs(boots).await?);
        Ok(table)
    }

    /// Servers and containers that this run has made, or one before that was cut off.
    async fn sweep(&self) -> Result<(), Error> {
        for server in self.cloud.servers(NAME, None).await? {
            self.cloud.delete(&server.id, POLL, LIMIT).await?;
        }
        for name in BESIDE {
            let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            match self.docker.api().remove_container(name, Some(options)).await {
                Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) | Ok(()) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn ways(&self, made: &Made, table: &mut Table) -> Result<(), Error> {
        self.printer.step("two containers on Docker's bridge, and three instances");
        let (from, _) = self.beside(BESIDE[0]).await?;
        let (to, address) = self.beside(BESIDE[1]).await?;
        let mut servers = Vec::new();
        for network in [&self.subjects.network, &self.subjects.network, &made.behind] {
            servers.push(self.boot(network, &self.subjects.host).await?);
        }
        self.printer.step("TCP for some seconds each");
        let bridge = self.way((BESIDE[0], from), to, &address).await?;
        let first = format!("nova-{}", servers[0]);
        let from = pid(self.docker, &first).await?;
        let mut others =
            vec![("one network", &servers[1], self.docker), ("routed", &servers[2], self.docker)];
        let far = match &self.subjects.second {
            Some(second) => Some((self.boot(&self.subjects.network, &second.host).await?, &second.docker)),
            None => None,
        };
        others.extend(far.iter().map(|(server, docker)| ("two hosts", server, *docker)));
        for (label, server, docker) in others {
            let to = pid(docker, &format!("nova-{server}")).await?;
            let address = self.cloud.fixed_address(server).await?;
            let address = address.ok_or_else(|| Error::NoAddress(server.clone()))?;
            rows(table, label, self.way((&first, from), to, &address).await?, bridge);
        }
        servers.extend(far.map(|(server, _)| server));
        for server in servers {
            self.cloud.delete(&server, POLL, LIMIT).await?;
        }
        Ok(())
    }

    /// Boots with a port and without in turn.
    async fn boots(&self, count: u32) -> Result<Boots, Error> {
        self.printer.step(&format!("{count} boots with a port and {count} without, one at a time"));
        let front = Front::new(self.docker, &self.subjects.front);
        let mut record = Record::open(&self.subjects.database).await?;
        let mut boots = Boots::default();
        for _ in 0..count {
            let (took, when) = self.timed(&mut record, Some(&self.subjects.network)).await?;
            let neutron = front.busy(NEUTRON, when).await?;
            boots.with.push(took);
            boots.neutron.push(neutron);
            boots.beyond.push(took.saturating_sub(neutron));
            boots.without.push(self.timed(&mut record, None).await?.0);
        }
        Ok(boots)
    }

    /// Boots a server and deletes it: how long it took from POST to ACTIVE, and when that was.
    async fn timed(
        &self,
        record: &mut Record,
        network: Option<&String>,
    ) -> Result<(Duration, (Timestamp, Timestamp)), Error> {
        let (start, from) = (Instant::now(), Timestamp::now());
        let asked = self.ask(network, &self.subjects.host).await?;
        record.wait_settled(&asked, LIMIT).await?;
        let (took, when) = (start.elapsed(), (from, Timestamp::now()));
        let server = self.cloud.wait_active(&asked, POLL, LIMIT).await?.id;
        self.cloud.delete(&server, POLL, LIMIT).await?;
        tokio::time::sleep(SETTLE).await;
        Ok((took, when))
    }

    /// Plugs a port into a server that runs, and waits until Neutron calls it ACTIVE, `count` times.
    async fn plugs(&self, count: u32) -> Result<Row, Error> {
        let network = &self.subjects.network;
        let server = self.boot(network, &self.subjects.host).await?;
        let mut samples = Samples::default();
        for _ in 0..count {
            // The answer comes when the switch has the port.
            let port = self.cloud.attach_interface(&server, network).await?;
            let start = Instant::now();
            self.cloud.wait_port_active(&port, POLL, LIMIT).await?;
            samples.push(start.elapsed());
            self.cloud.detach_interface(&server, &port, POLL, LIMIT).await?;
        }
        self.cloud.delete(&server, POLL, LIMIT).await?;
        Ok(Row {
            figure: "plugged to ACTIVE in Neutron; ms".to_owned(),
            ours: format!("{:.0} ms", millis(samples.median())),
            theirs: String::new(),
            value: millis(samples.median()),
            goal: Goal::Unset,
        })
    }

    /// A server that is ACTIVE; its uuid.
    async fn boot(&self, network: &String, host: &str) -> Result<String, Error> {
        let asked = self.ask(Some(network), host).await?;
        Ok(self.cloud.wait_active(&asked, POLL, LIMIT).await?.id)
    }

    /// Asks for a server; its uuid.
    async fn ask(&self, network: Option<&String>, host: &str) -> Result<String, Error> {
        let access = network.map(|network| Access { network, security_group: NAME, key: self.subjects.key });
        let (image, flavor) = (&self.subjects.image, &self.subjects.flavor);
        let host = Some(host);
        let asked = self.cloud.boot(&NewServer { name: NAME, image, flavor, host, count: 1, access }).await?;
        Ok(asked.id)
    }

    /// Starts a container on Docker's own bridge; the process it runs, and its address.
    async fn beside(&self, name: &str) -> Result<(i64, String), Error> {
        let body = ContainerCreateBody {
            image: Some(self.subjects.docker_image.clone()),
            host_config: Some(HostConfig {
                network_mode: Some("bridge".to_owned()),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        self.docker.api().create_container(Some(options), body).await?;
        self.docker.api().start_container(name, None).await?;
        let found = self.docker.api().inspect_container(name, None).await?;
        let networks = found.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        let address = networks.into_values().find_map(|network| network.ip_address);
        Ok((pid(self.docker, name).await?, address.ok_or_else(|| Error::NoAddress(name.to_owned()))?))
    }

    async fn way(&self, (name, from): (&str, i64), to: i64, address: &str) -> Result<Way, Error> {
        let (from_name, to_name) = (name.to_owned(), address.to_owned());
        let failed = |source| Error::Peers { from: from_name, to: to_name, source };
        let address = address.to_owned();
        let measured = tokio::task::spawn_blocking(move || peers::measure(from, to, &address)).await;
        measured.unwrap_or_else(|panic| Err(std::io::Error::other(panic))).map_err(failed)
    }
}

impl Boots {
    fn rows(&self, table: &mut Table) {
        let [with, without, neutron, beyond] =
            [&self.with, &self.without, &self.neutron, &self.beyond].map(|samples| millis(samples.median()));
        table.push(Row {
            figure: "share of a port in a boot; %".to_owned(),
            ours: format!("{:.0} ms", with - without),
            theirs: format!("{with:.0} ms"),
            value: ratio(with - without, with) * 100.0,
            goal: Goal::Unset,
        });
        table.push(Row {
            figure: "POST to ACTIVE: with a port less Neutron's time, without; ms more".to_owned(),
            ours: format!("{with:.0} - {neutron:.0} ms"),
            theirs: format!("{without:.0} ms"),
            value: beyond - without,
            goal: Goal::AtMost(GOAL),
        });
    }
}

/// The process of a container, as this machine numbers it, whichever engine has it.
async fn pid(docker: &Docker, name: &str) -> Result<i64, Error> {
    let found = docker.api().inspect_container(name, None).await?;
    let pid = found.state.and_then(|state| state.pid).filter(|pid| *pid > 0);
    pid.ok_or_else(|| Error::NotRunning(name.to_owned()))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn rows(table: &mut Table, label: &str, ours: Way, theirs: Way) {
    let speed = |way: Way| format!("{:.0} Mbit/s", way.bits / 1e6);
    let time = |way: Way| format!("{:.3} ms", way.round_trip.as_secs_f64() * 1000.0);
    table.push(Row {
        figure: format!("TCP, {label}, against Docker's bridge"),
        ours: speed(ours),
        theirs: speed(theirs),
        value: ratio(ours.bits, theirs.bits),
        goal: Goal::Unset,
    });
    table.push(Row {
        figure: format!("round trip, {label}, against Docker's bridge"),
        ours: time(ours),
        theirs: time(theirs),
        value: ratio(ours.round_trip.as_secs_f64(), theirs.round_trip.as_secs_f64()),
        goal: Goal::Unset,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_costs_what_is_left_without_neutrons_own_time() {
        let mut boots = Boots::default();
        boots.with.push(Duration::from_millis(1500));
        boots.without.push(Duration::from_millis(600));
        boots.neutron.push(Duration::from_millis(700));
        boots.beyond.push(Duration::from_millis(800));
        let mut table = Table::default();
        boots.rows(&mut table);
        let text = table.to_string();
        assert!(text.contains("1500 - 700 ms  600 ms   200.00  <= 250  met"), "{text}");
        assert!(text.contains("900 ms         1500 ms  60.00"), "{text}");
    }

    #[test]
    fn a_way_is_told_as_a_ratio() {
        let mut table = Table::default();
        let way = |bits, micros| Way { bits, round_trip: Duration::from_micros(micros) };
        rows(&mut table, "routed", way(5e8, 400), way(1e10, 100));
        let text = table.to_string();
        assert!(text.contains("500 Mbit/s  10000 Mbit/s  0.05"), "{text}");
        assert!(text.contains("0.400 ms    0.100 ms      4.00"), "{text}");
    }
}
