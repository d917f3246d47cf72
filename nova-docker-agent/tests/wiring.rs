//! NICs and metadata in real network namespaces, which each test makes for itself: they need root and nothing else.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

mod support;

use std::net::TcpListener;

use common::secret::Secret;
use common::shutdown::Shutdown;
use nova_docker_agent::builds::Builds;
use nova_docker_agent::network::metadata::{Identity, MetadataService};
use nova_docker_agent::network::plan::{NicPlan, Switch};
use nova_docker_agent::network::wiring::{Error, Plugged, Wiring};
use serde_json::{Value, json};
use support::netns::{self, Guest, devices, in_new_namespace, names, nic, send_tcp};
use support::peer::{Answer, Peer};

const BRIDGE: &str = "brq0a1b2c3d-4e";

fn wiring() -> Wiring {
    Wiring::new("", &Shutdown::new()).unwrap()
}

fn plugged(plan: &NicPlan) -> Plugged {
    Plugged { port: plan.port, instance: plan.instance, intact: true }
}

/// Each address with its prefix, of one device.
fn addresses(device: &Value) -> Vec<String> {
    let text = |address: &Value| format!("{}/{}", address["local"].as_str().unwrap(), address["prefixlen"]);
    let global = |address: &&Value| address["scope"] == "global";
    device["addr_info"].as_array().unwrap().iter().filter(global).map(text).collect()
}

#[test]
fn a_nic_has_all_that_its_plan_says_and_goes_without_a_trace() {
    in_new_namespace(async || {
        let (wiring, guest, plan) = (wiring(), Guest::new(), nic(5, BRIDGE, Switch::LinuxBridge));
        wiring.plug(guest.pid(), &plan).await.unwrap();

        let device = &guest.ip("-details address show eth0")[0];
        assert_eq!(
            (&device["address"], &device["mtu"], &device["operstate"]),
            (&json!("fa:16:3e:00:00:05"), &json!(1442), &json!("UP"))
        );
        assert_eq!(addresses(device), ["10.11.0.5/24", "fd11::5/64"]);
        let tentative = device["addr_info"]
            .as_array()
            .unwrap()
            .iter()
            .any(|address| address["scope"] == "global" && address["tentative"] == true);
        assert!(!tentative, "an address cannot be used yet: {device}");
        assert_eq!(guest.ip("link show lo")[0]["flags"][1], "UP");
        let via = |route: &str| guest.ip(route)[0]["gateway"].clone();
        assert_eq!(via("route show default"), "10.11.0.1");
        assert_eq!(via("route show 192.168.0.0/16"), "10.11.0.254");
        assert_eq!(via("-6 route show default"), "fd11::1");

        let tap = &netns::ip(&format!("-details link show {}", plan.tap))[0];
        assert_eq!((&tap["master"], &tap["mtu"]), (&json!(BRIDGE), &json!(1442)));
        assert_eq!(wiring.ports().await.unwrap(), [plugged(&plan)]);

        wiring.unplug(plan.port).await.unwrap();
        wiring.unplug(plan.port).await.unwrap();
        assert_eq!(devices(), ["lo", BRIDGE], "the bridge stays, as os-vif leaves it");
        assert_eq!(names(&guest.ip("link show")), ["lo"]);
        assert_eq!(wiring.ports().await.unwrap(), []);
    });
}

#[test]
fn guests_of_one_bridge_reach_one_another() {
    in_new_namespace(async || {
        let (wiring, one, two) = (wiring(), Guest::new(), Guest::new());
        let plans = [nic(5, BRIDGE, Switch::LinuxBridge), nic(6, BRIDGE, Switch::LinuxBridge)];
        // Side by side, so that both find no bridge.
        let (first, second) =
            tokio::join!(wiring.plug(one.pid(), &plans[0]), wiring.plug(two.pid(), &plans[1]));
        first.and(second).unwrap();
        send_tcp(&one, &two, "10.11.0.6:5001", 4);
        send_tcp(&two, &one, "[fd11::5]:5001", 4);
    });
}

#[test]
fn a_silent_guest_neither_answers_nor_loses_its_addresses() {
    in_new_namespace(async || {
        let (wiring, one, two) = (wiring(), Guest::new(), Guest::new());
        let (first, second) = (nic(5, BRIDGE, Switch::LinuxBridge), nic(6, BRIDGE, Switch::LinuxBridge));
        wiring.plug(one.pid(), &first).await.unwrap();
        wiring.plug(two.pid(), &second).await.unwrap();
        send_tcp(&one, &two, "10.11.0.6:5001", 1);
        let before = two.ip("address show eth0");
        // Both may be said again.
        for _ in 0..2 {
            wiring.silence(two.pid(), true).await.unwrap();
        }
        // The kernel would refuse it at once.
        assert_eq!(one.dials("10.11.0.6:5002"), std::io::ErrorKind::TimedOut);
        assert_eq!(addresses(&two.ip("address show eth0")[0]), addresses(&before[0]));
        for _ in 0..2 {
            wiring.silence(two.pid(), false).await.unwrap();
        }
        assert_eq!(one.dials("10.11.0.6:5002"), std::io::ErrorKind::ConnectionRefused);
        send_tcp(&one, &two, "10.11.0.6:5003", 1);
        send_tcp(&two, &one, "[fd11::5]:5001", 1);

        wiring.silence(two.pid(), true).await.unwrap();
        wiring.plug(two.pid(), &second).await.unwrap();
        send_tcp(&one, &two, "10.11.0.6:5004", 1);
    });
}

#[test]
fn plugging_again_renews_and_a_new_namespace_gets_the_port_of_the_dead_one() {
    in_new_namespace(async || {
        let (wiring, plan) = (wiring(), nic(5, BRIDGE, Switch::LinuxBridge));
        let (peer, other) = (Guest::new(), nic(6, BRIDGE, Switch::LinuxBridge));
        wiring.plug(peer.pid(), &other).await.unwrap();
        let guest = Guest::new();
        wiring.plug(guest.pid(), &plan).await.unwrap();
        wiring.plug(guest.pid(), &plan).await.unwrap();
        assert_eq!(names(&guest.ip("link show")), ["lo", "eth0"]);
        drop(guest);
        let guest = Guest::new();
        wiring.plug(guest.pid(), &plan).await.unwrap();
        send_tcp(&guest, &peer, "10.11.0.6:5001", 1);
        assert_eq!(wiring.ports().await.unwrap().len(), 2);
    });
}

#[test]
fn a_second_nic_takes_the_next_free_name() {
    in_new_namespace(async || {
        let (wiring, guest) = (wiring(), Guest::new());
        let (first, second) = (nic(5, BRIDGE, Switch::LinuxBridge), nic(6, BRIDGE, Switch::LinuxBridge));
        wiring.plug(guest.pid(), &first).await.unwrap();
        wiring.plug(guest.pid(), &second).await.unwrap();
        assert_eq!(names(&guest.ip("link show")), ["lo", "eth0", "eth1"]);
        wiring.unplug(first.port).await.unwrap();
        wiring.plug(guest.pid(), &first).await.unwrap();
        assert_eq!(guest.ip("link show eth0")[0]["address"], "fa:16:3e:00:00:05");
        // Docker turns IPv6 off for namespaces without a network.
        let off = Guest::new();
        off.inside(|| std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").unwrap());
        off.inside(|| std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap());
        wiring.plug(off.pid(), &second).await.unwrap();
        assert_eq!(addresses(&off.ip("address show eth0")[0]), ["10.11.0.6/24", "fd11::6/64"]);
    });
}

#[test]
fn what_fails_leaves_nothing() {
    in_new_namespace(async || {
        let (wiring, guest, good) = (wiring(), Guest::new(), nic(5, BRIDGE, Switch::LinuxBridge));
        let fails = async |pid: u32, plan: NicPlan, words: &str| {
            let error = wiring.plug(pid, &plan).await.unwrap_err();
            let told = common::error_chain::Chain(&error).to_string();
            assert!(told.contains(words), "{told}");
            assert!(!devices().contains(&plan.tap), "{words}: {:?}", devices());
            assert_eq!(names(&guest.ip("link show")), ["lo"], "{words}");
        };
        let gone = Guest::new().pid();
        fails(gone, good.clone(), "the network namespace /proc/").await;
        fails(guest.pid(), NicPlan { mtu: 20, ..good.clone() }, "make the devices").await;
        // IPv6 needs 1280 bytes.
        fails(guest.pid(), NicPlan { mtu: 1000, ..good.clone() }, "turn on IPv6 for eth0").await;
        let mut unreachable = good.clone();
        unreachable.routes[0].via = Some("10.99.0.1".parse().unwrap());
        fails(guest.pid(), unreachable, "set the route to 192.168.0.0/16 via 10.99.0.1").await;
        fails(
            guest.pid(),
            NicPlan { bridge: "a-name-that-is-far-too-long".into(), ..good.clone() },
            "make the bridge",
        )
        .await;

        let of_ovs = NicPlan { switch: Switch::Ovs { netdev: true }, ..good };
        assert!(matches!(wiring.plug(guest.pid(), &of_ovs).await, Err(Error::NoOvs(_))));
        let nobody = Wiring::new("unix:/nonexistent/db.sock", &Shutdown::new()).unwrap();
        let error = nobody.plug(guest.pid(), &of_ovs).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "Open vSwitch does not answer at unix:/nonexistent/db.sock ([ovs] ovsdb_connection)"
        );
    });
}

#[test]
fn the_agent_s_own_namespace_is_no_guest() {
    in_new_namespace(async || {
        let child = std::process::Command::new("sleep").arg("1000").spawn();
        let mut child = child.unwrap();
        let plan = nic(5, BRIDGE, Switch::LinuxBridge);
        let error = wiring().plug(child.id(), &plan).await.unwrap_err();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(
            common::error_chain::Chain(&error).to_string().ends_with("it is the agent's own"),
            "{error:?}"
        );
        assert_eq!(devices(), ["lo"]);
    });
}

/// Asks for `path` as HTTP 1.0 does.
fn get(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.0\r\nHost: 169.254.169.254\r\nX-Instance-ID: another\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n"
    )
}

const METADATA: &str = "169.254.169.254:80";

/// nova-metadata as far as a proxy can tell: who is asked about, and whether the signature is right for that.
fn nova_metadata() -> Peer {
    netns::ip("link set lo up");
    Peer::start(|_| {
        |request| {
            let header = |name: &str| request.header(name).unwrap_or("none").to_owned();
            Answer::Json(
                200,
                json!({
                    "line": request.line(), "query": request.query, "instance": header("X-Instance-ID"), "tenant": header("X-Tenant-ID"),
                    "address": header("X-Forwarded-For"), "signature": header("X-Instance-ID-Signature"), "body": request.body,
                }),
            )
        }
    })
}

fn identity(address: Option<&str>) -> Identity {
    Identity {
        instance: uuid::Uuid::new_v4().to_string().parse().unwrap(),
        project_id: "a-project".into(),
        address: address.map(|address| address.parse().unwrap()),
    }
}

/// Computed without the agent: `hmac` of the uuid in hexadecimal.
fn signature(secret: &str, instance: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(instance.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn body(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn metadata_are_asked_for_whoever_asks() {
    in_new_namespace(async || {
        let (nova, life, secret) = (nova_metadata(), Shutdown::new(), Secret::new("sekret"));
        let service = MetadataService::start((&nova.url, &secret), &Builds::new(0), &life).await.unwrap();
        let (one, two) = (Guest::new(), Guest::new());
        // Two tenants whose networks overlap.
        let (first, second) = (identity(Some("10.0.0.5")), identity(Some("10.0.0.5")));
        service.attach(one.pid(), &first).await.unwrap();
        service.attach(two.pid(), &second).await.unwrap();
        for (guest, identity) in [(&one, &first), (&two, &second)] {
            let told =
                body(&guest.http(None, METADATA, &get("/openstack/latest/meta_data.json?x=1")).unwrap());
            let uuid = identity.instance.to_string();
            let expected = json!({
                "line": "GET /openstack/latest/meta_data.json", "query": "x=1", "instance": uuid, "tenant": "a-project",
                "address": "10.0.0.5", "signature": signature("sekret", &uuid), "body": null,
            });
            assert_eq!(told, expected);
        }

        // The guest's own port 80 stays its own.
        let own = one.inside(|| TcpListener::bind("0.0.0.0:80")).unwrap();
        assert!(one.http(None, METADATA, &get("/")).is_some());
        drop(own);

        let post = "POST /openstack/2013-10-17/password HTTP/1.0\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\n123";
        assert_eq!(body(&one.http(None, METADATA, post).unwrap())["body"], 123);
        let delete = one.http(None, METADATA, "DELETE / HTTP/1.0\r\n\r\n").unwrap();
        assert!(delete.starts_with("HTTP/1.0 405"), "{delete}");

        // An agent that was started again makes all of it anew.
        let renewed = MetadataService::start((&nova.url, &secret), &Builds::new(0), &life).await.unwrap();
        drop(service);
        renewed.attach(one.pid(), &first).await.unwrap();
        renewed.attach(one.pid(), &first).await.unwrap();
        assert!(one.http(None, METADATA, &get("/")).is_some());
        renewed.detach(first.instance).await;
        renewed.detach(first.instance).await;
        assert_eq!(one.http(None, METADATA, &get("/")), None);
        assert_eq!(names(&one.ip("link show")), ["lo"]);
        life.drain(std::time::Duration::ZERO).await;
    });
}

#[test]
fn no_guest_can_ask_as_another_or_reach_it() {
    in_new_namespace(async || {
        let (nova, life) = (nova_metadata(), Shutdown::new());
        let service = MetadataService::start((&nova.url, &Secret::new("sekret")), &Builds::new(0), &life)
            .await
            .unwrap();
        let (one, two) = (Guest::new(), Guest::new());
        let (first, second) = (identity(None), identity(None));
        service.attach(one.pid(), &first).await.unwrap();
        service.attach(two.pid(), &second).await.unwrap();
        let address = |guest: &Guest| {
            guest.ip("address show metadata")[0]["addr_info"][0]["local"].as_str().unwrap().to_owned()
        };
        let (ones, twos) = (address(&one), address(&two));
        let told = body(&one.http(None, METADATA, &get("/")).unwrap());
        assert_eq!(
            told["address"],
            ones.as_str(),
            "an instance without a port is told by its link-local address"
        );

        // More than a guest can do: it has no right to set addresses and routes.
        one.ip(&format!("address add {twos}/32 dev lo"));
        assert_eq!(one.http(Some(&twos), METADATA, &get("/")), None);
        one.ip(&format!("address del {twos}/32 dev lo"));
        one.ip(&format!("route add {twos}/32 dev metadata"));
        let server = two.inside(|| TcpListener::bind("0.0.0.0:8080")).unwrap();
        assert_eq!(one.http(None, &format!("{twos}:8080"), &get("/")), None);
        drop(server);
        let asked: Vec<_> =
            nova.take().iter().map(|request| request.header("X-Instance-ID").unwrap().to_owned()).collect();
        assert_eq!(asked, [first.instance.to_string()]);
        life.drain(std::time::Duration::ZERO).await;
    });
}

#[test]
fn a_question_waits_while_a_build_waits_for_its_turn() {
    in_new_namespace(async || {
        let (nova, life, builds) = (nova_metadata(), Shutdown::new(), Builds::new(1));
        let service =
            MetadataService::start((&nova.url, &Secret::new("sekret")), &builds, &life).await.unwrap();
        let guest = Guest::new();
        service.attach(guest.pid(), &identity(None)).await.unwrap();
        let turn = builds.turn().await;
        std::thread::scope(|threads| {
            let asked = threads.spawn(|| guest.http(None, METADATA, &get("/")));
            // Nothing tells when a question that must not come has come.
            std::thread::sleep(std::time::Duration::from_millis(300));
            assert!(nova.take().is_empty(), "the question went before the build");
            drop(turn);
            assert!(asked.join().unwrap().is_some());
        });
        life.drain(std::time::Duration::ZERO).await;
    });
}

#[test]
fn a_nova_metadata_that_is_away_is_told() {
    in_new_namespace(async || {
        netns::ip("link set lo up");
        let (guest, life) = (Guest::new(), Shutdown::new());
        let service =
            MetadataService::start(("http://127.0.0.1:9", &Secret::new("s")), &Builds::new(0), &life)
                .await
                .unwrap();
        service.attach(guest.pid(), &identity(None)).await.unwrap();
        let answer = guest.http(None, METADATA, &get("/")).unwrap();
        assert!(answer.starts_with("HTTP/1.0 503"), "{answer}");
        assert!(answer.ends_with("The metadata service does not answer. Try again later.\n"), "{answer}");
        let error = MetadataService::start(("nova:8775", &Secret::new("s")), &Builds::new(0), &life)
            .await
            .unwrap_err();
        assert!(error.to_string().starts_with("nova:8775 is no URL of nova-metadata"), "{error}");
        life.drain(std::time::Duration::ZERO).await;
    });
}
