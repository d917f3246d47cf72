//! NICs on a real Open vSwitch, in its namespace. They need a container in which ovsdb-server's and ovs-vswitchd's
//! directory `/run/openvswitch` and the program ovs-vsctl are, in the switch's network namespace: a platform has one.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

mod support;

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use common::shutdown::Shutdown;
use nova_docker_agent::network::plan::{NicPlan, Switch};
use nova_docker_agent::network::wiring::{Error, Plugged, Wiring};
use support::netns::{self, Guest, devices, nic, send_tcp};

/// Names the container.
const CONTAINER: &str = "OVS_CONTAINER";

/// A bridge of one test in that switch.
struct Bridge {
    container: String,
    name: String,
    pid: u32,
}

impl Bridge {
    fn new() -> Self {
        let container = std::env::var(CONTAINER).unwrap_or_else(|_| "octo-test-openvswitch".into());
        let inspect =
            Command::new("docker").args(["inspect", "--format", "{{.State.Pid}}", &container]).output();
        let pid = String::from_utf8(inspect.unwrap().stdout).unwrap().trim().parse();
        let pid = pid.unwrap_or_else(|_| {
            panic!("set {CONTAINER} to a running container with Open vSwitch, not {container}")
        });
        let name = format!("brt{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let bridge = Self { container, name, pid };
        bridge.vsctl(&format!(
            "add-br {0} -- set Bridge {0} datapath_type=netdev fail_mode=standalone",
            bridge.name
        ));
        bridge
    }

    fn vsctl(&self, arguments: &str) -> String {
        let mut command = Command::new("docker");
        command.args(["exec", &self.container, "ovs-vsctl", "--timeout=20"]);
        let output = command.args(arguments.split_whitespace()).output().unwrap();
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Its socket, as this machine sees it.
    fn wiring(&self) -> (Wiring, Shutdown) {
        let life = Shutdown::new();
        (Wiring::new(&format!("unix:/proc/{}/root/run/openvswitch/db.sock", self.pid), &life).unwrap(), life)
    }

    fn nic(&self, host: u8) -> NicPlan {
        nic(host, &self.name, Switch::Ovs { netdev: true })
    }

    fn ports(&self) -> String {
        self.vsctl(&format!("list-ports {}", self.name))
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.vsctl(&format!("del-br {}", self.name));
    }
}

#[test]
#[ignore = "needs a container with Open vSwitch: OVS_CONTAINER"]
fn guests_of_one_switch_reach_one_another_and_go_without_a_trace() {
    let bridge = Bridge::new();
    netns::in_namespace_of(bridge.pid, async || {
        let (wiring, _life) = bridge.wiring();
        let (one, two) = (Guest::new(), Guest::new());
        let plans = [bridge.nic(5), bridge.nic(6)];
        let (first, second) =
            tokio::join!(wiring.plug(one.pid(), &plans[0]), wiring.plug(two.pid(), &plans[1]));
        first.and(second).unwrap();
        // Without checksums in software TCP would not get through a switch in user space.
        send_tcp(&one, &two, "10.11.0.6:5001", 20);
        send_tcp(&two, &one, "[fd11::5]:5001", 20);
        let of = |plan: &NicPlan| Plugged { port: plan.port, instance: plan.instance, intact: true };
        let ours = wiring.ports().await.unwrap();
        assert!(plans.iter().all(|plan| ours.contains(&of(plan))), "{ours:?}");
        let ids = bridge.vsctl(&format!("get Interface {} external_ids", plans[0].tap));
        for id in [
            format!("iface-id=\"{}\"", plans[0].port),
            "attached-mac=\"fa:16:3e:00:00:05\"".into(),
            "iface-status=active".into(),
            format!("vm-uuid=\"{}\"", plans[0].instance),
        ] {
            assert!(ids.contains(&id), "{id} is not in {ids}");
        }
        for plan in &plans {
            wiring.unplug(plan.port).await.unwrap();
            wiring.unplug(plan.port).await.unwrap();
            assert!(!devices().contains(&plan.tap));
        }
        assert_eq!(bridge.ports(), "");
        let ours = wiring.ports().await.unwrap();
        assert!(!plans.iter().any(|plan| ours.contains(&of(plan))), "{ours:?}");
    });
}

#[test]
#[ignore = "needs a container with Open vSwitch: OVS_CONTAINER"]
fn a_port_whose_namespace_died_is_plugged_into_the_next_one() {
    let bridge = Bridge::new();
    netns::in_namespace_of(bridge.pid, async || {
        let (wiring, _life) = bridge.wiring();
        let (peer, other, plan) = (Guest::new(), bridge.nic(6), bridge.nic(5));
        wiring.plug(peer.pid(), &other).await.unwrap();
        for _ in 0..3 {
            let guest = Guest::new();
            wiring.plug(guest.pid(), &plan).await.unwrap();
            send_tcp(&guest, &peer, "10.11.0.6:5001", 2);
            // The guest dies, and its device with it: the switch goes on to hold a dead socket under the name.
        }
        while devices().contains(&plan.tap) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let lost = Plugged { port: plan.port, instance: plan.instance, intact: false };
        assert!(wiring.ports().await.unwrap().contains(&lost));
        let guest = Guest::new();
        wiring.plug(guest.pid(), &plan).await.unwrap();
        wiring.plug(guest.pid(), &plan).await.unwrap();
        send_tcp(&peer, &guest, "10.11.0.5:5001", 2);
        wiring.unplug(plan.port).await.unwrap();
        wiring.unplug(other.port).await.unwrap();
    });
}

#[test]
#[ignore = "needs a container with Open vSwitch: OVS_CONTAINER"]
fn a_guest_does_not_reach_what_listens_beside_the_switch() {
    let bridge = Bridge::new();
    netns::in_namespace_of(bridge.pid, async || {
        let (wiring, _life) = bridge.wiring();
        let (guest, plan) = (Guest::new(), bridge.nic(5));
        wiring.plug(guest.pid(), &plan).await.unwrap();
        // An address of the switch's own namespace, and a guest that even knows the tap's MAC address.
        netns::ip("address add 10.12.0.1/32 dev lo");
        let server = TcpListener::bind("10.12.0.1:7777").unwrap();
        let mac = netns::ip(&format!("link show {}", plan.tap))[0]["address"].as_str().unwrap().to_owned();
        guest.ip("route add 10.12.0.1/32 dev eth0");
        let reached = |guest: &Guest| {
            guest.inside(|| {
                std::net::TcpStream::connect_timeout(
                    &"10.12.0.1:7777".parse().unwrap(),
                    Duration::from_secs(1),
                )
                .is_ok()
            })
        };
        assert!(!reached(&guest), "by ARP");
        guest.ip(&format!("neighbour replace 10.12.0.1 lladdr {mac} dev eth0"));
        assert!(!reached(&guest), "by the tap's MAC address");
        let tap = &netns::ip(&format!("address show {}", plan.tap))[0];
        assert_eq!(tap["addr_info"].as_array().unwrap().len(), 0, "{tap}");

        // Without the agent's settings it would be reached, so the checks above can fail.
        for (setting, value) in [("arp_ignore", "0"), ("rp_filter", "0")] {
            std::fs::write(format!("/proc/sys/net/ipv4/conf/{}/{setting}", plan.tap), value).unwrap();
        }
        netns::ip(&format!("route add 10.11.0.5/32 dev {}", plan.tap));
        assert!(reached(&guest));
        drop(server);
        netns::ip("address del 10.12.0.1/32 dev lo");
        wiring.unplug(plan.port).await.unwrap();
    });
}

#[test]
#[ignore = "needs a container with Open vSwitch: OVS_CONTAINER"]
fn what_the_switch_refuses_leaves_nothing() {
    let bridge = Bridge::new();
    netns::in_namespace_of(bridge.pid, async || {
        let (wiring, _life) = bridge.wiring();
        let (guest, plan) = (Guest::new(), NicPlan { bridge: "no-such-bridge".into(), ..bridge.nic(5) });
        let error = wiring.plug(guest.pid(), &plan).await.unwrap_err();
        assert_eq!(error.to_string(), "Open vSwitch has no bridge no-such-bridge");
        assert!(matches!(error, Error::Ovs(_)));
        let mut unreachable = bridge.nic(5);
        unreachable.routes[0].via = Some("10.99.0.1".parse().unwrap());
        wiring.plug(guest.pid(), &unreachable).await.unwrap_err();
        assert_eq!(netns::names(&guest.ip("link show")), ["lo"]);
        assert_eq!(bridge.ports(), "");
        assert!(!devices().contains(&plan.tap) && !devices().contains(&unreachable.tap));
        // Nobody installs flows here.
        assert!(wiring.ready(plan.port).await.is_err());
    });
}

#[test]
#[ignore = "needs a container with Open vSwitch: OVS_CONTAINER"]
fn many_are_plugged_side_by_side_and_each_quickly() {
    let bridge = Bridge::new();
    netns::in_namespace_of(bridge.pid, async || {
        let (wiring, _life) = bridge.wiring();
        let guests: Vec<(Guest, NicPlan)> = (11..=40).map(|host| (Guest::new(), bridge.nic(host))).collect();
        let mut alone: Vec<Duration> = Vec::new();
        for (guest, plan) in guests.iter().take(10) {
            let begun = Instant::now();
            wiring.plug(guest.pid(), plan).await.unwrap();
            alone.push(begun.elapsed());
        }
        alone.sort();
        let begun = Instant::now();
        let all = guests.iter().map(|(guest, plan)| wiring.plug(guest.pid(), plan));
        futures_util::future::try_join_all(all).await.unwrap();
        let together = begun.elapsed();
        println!("plug: median {:?}, longest {:?} of 10; 30 side by side {together:?}", alone[5], alone[9]);
        let begun = Instant::now();
        let all = guests.iter().map(|(_, plan)| wiring.unplug(plan.port));
        futures_util::future::try_join_all(all).await.unwrap();
        println!("30 unplugged side by side {:?}", begun.elapsed());
        assert_eq!(bridge.ports(), "");
        assert!(alone[5] < Duration::from_millis(500), "a plug takes {:?}", alone[5]);
    });
}
