//! Network namespaces of a test's own: one that stands for the hypervisor's, and guests that are but a process.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::ids::{InstanceUuid, PortId};
use nix::sched::{CloneFlags, setns, unshare};
use nova_docker_agent::network::plan::{Mac, NicPlan, Route, Switch};
use serde_json::Value;

/// How long a connection may take; so long is waited for one that must not come about.
const PATIENCE: Duration = Duration::from_secs(3);

/// Runs `test` on threads that are in a new network namespace.
pub(crate) fn in_new_namespace(test: impl AsyncFnOnce() + Send) {
    on_a_thread(test, || unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root"));
}

/// Runs `test` on threads that are in the network namespace of a process.
pub(crate) fn in_namespace_of(pid: u32, test: impl AsyncFnOnce() + Send) {
    on_a_thread(test, || enter(pid));
}

fn on_a_thread(test: impl AsyncFnOnce() + Send, enter: impl FnOnce() + Send) {
    let ended = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter();
            common::tls::install();
            // Its threads begin where this one is.
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(test());
            // Work that waits for a peer which is gone must not keep the test.
            runtime.shutdown_timeout(Duration::from_secs(1));
        });
        thread.join()
    });
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

fn enter(pid: u32) {
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net")).unwrap();
    setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
}

/// A process with a network namespace of its own, as a sandbox is one.
pub(crate) struct Guest(Child);

impl Guest {
    pub(crate) fn new() -> Self {
        let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let child =
            Command::new("unshare").args(["--net", "sleep", "1000"]).stdin(Stdio::null()).spawn().unwrap();
        let path = format!("/proc/{}/ns/net", child.id());
        while std::fs::read_link(&path).unwrap() == own {
            std::thread::sleep(Duration::from_millis(1));
        }
        Self(child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// `ip ARGUMENTS` in its namespace; what it prints as JSON.
    pub(crate) fn ip(&self, arguments: &str) -> Value {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.pid().to_string(), "ip", "-json"]);
        output(command.args(arguments.split_whitespace()))
    }

    /// Does `work` on a thread in its namespace.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let work = || {
            enter(self.pid());
            work()
        };
        std::thread::scope(|scope| scope.spawn(work).join().unwrap())
    }

    /// How a TCP connection to `address`, where nothing listens, fails.
    pub(crate) fn dials(&self, address: &str) -> std::io::ErrorKind {
        let address: SocketAddr = address.parse().unwrap();
        self.inside(|| TcpStream::connect_timeout(&address, PATIENCE).unwrap_err().kind())
    }

    /// What a HTTP request to `address` from here is answered, as text with its head; None when nobody answers.
    /// `source`: the address to ask from.
    pub(crate) fn http(&self, source: Option<&str>, address: &str, request: &str) -> Option<String> {
        let address: SocketAddr = address.parse().unwrap();
        let source = source.map(|source| format!("{source}:0").parse().unwrap());
        self.inside(|| exchange(connect(source, address)?, request).ok())
    }
}

fn connect(source: Option<SocketAddr>, address: SocketAddr) -> Option<TcpStream> {
    let Some(source) = source else {
        return TcpStream::connect_timeout(&address, PATIENCE).ok();
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(source).unwrap();
        let connected = tokio::time::timeout(PATIENCE, socket.connect(address)).await.ok()?;
        let stream = connected.ok()?.into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        Some(stream)
    })
}

fn exchange(mut stream: TcpStream, request: &str) -> std::io::Result<String> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "{request}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The namespace ends with its process.
impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `ip ARGUMENTS` in the namespace of this thread.
pub(crate) fn ip(arguments: &str) -> Value {
    output(Command::new("ip").arg("-json").args(arguments.split_whitespace()))
}

fn output(command: &mut Command) -> Value {
    let output = command.output().expect("these tests need iproute2 and util-linux");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

/// Names of the devices in the namespace of this thread.
pub(crate) fn devices() -> Vec<String> {
    names(&ip("link show"))
}

/// The `ifname`s in what `ip` printed.
pub(crate) fn names(links: &Value) -> Vec<String> {
    links.as_array().unwrap().iter().map(|link| link["ifname"].as_str().unwrap().to_owned()).collect()
}

/// A NIC with `10.11.0.<host>` and `fd11::<host>`.
pub(crate) fn nic(host: u8, bridge: &str, switch: Switch) -> NicPlan {
    let port: PortId = uuid::Uuid::new_v4().to_string().parse().unwrap();
    let instance: InstanceUuid = uuid::Uuid::new_v4().to_string().parse().unwrap();
    let via =
        |to: &str, gateway: &str| Route { to: to.parse().unwrap(), via: Some(gateway.parse().unwrap()) };
    NicPlan {
        port,
        instance,
        tap: nova_docker_agent::network::plan::tap_name(port),
        name: "eth0".into(),
        mac: Mac([0xfa, 0x16, 0x3e, 0, 0, host]),
        mtu: 1442,
        addresses: vec![
            format!("10.11.0.{host}/24").parse().unwrap(),
            format!("fd11::{host}/64").parse().unwrap(),
        ],
        routes: vec![
            via("192.168.0.0/16", "10.11.0.254"),
            via("0.0.0.0/0", "10.11.0.1"),
            via("::/0", "fd11::1"),
        ],
        bridge: bridge.into(),
        switch,
    }
}

/// Sends `megabytes` by TCP from one guest to another at `address`; panics if they do not arrive.
pub(crate) fn send_tcp(from: &Guest, to: &Guest, address: &str, megabytes: usize) {
    let address: SocketAddr = address.parse().unwrap();
    let listener = to.inside(|| std::net::TcpListener::bind(address)).unwrap();
    let received = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        std::io::copy(&mut stream, &mut std::io::sink())
    });
    from.inside(|| {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
        for _ in 0..megabytes {
            stream.write_all(&vec![7; 1 << 20]).unwrap();
        }
    });
    assert_eq!(received.join().unwrap().unwrap(), (megabytes << 20) as u64);
}
