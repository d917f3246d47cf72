//! Sandboxes on a real Docker engine, with a NIC, and with a container that joins them. They need root.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::docker::{ContainerSpec, Engine, LogLines};
use common::ids::InstanceUuid;
use common::shutdown::Shutdown;
use futures_util::stream;
use nova_docker_agent::config::Config;
use nova_docker_agent::network::plan::Switch;
use nova_docker_agent::network::wiring::Wiring;
use nova_docker_agent::virt::{Driver, InstanceSpec, Sandbox, Sandboxes, sandbox_name};
use support::archive::Image;
use support::netns::{in_new_namespace, nic};
use support::{DOCKER, Directory, config};

/// One test's host.
struct Host {
    engine: Engine,
    config: Arc<Config>,
    sandboxes: Sandboxes,
    instance: InstanceSpec,
    /// Removed at the end.
    containers: Vec<String>,
    image: &'static str,
    _directory: Directory,
}

impl Host {
    async fn new(image: &'static str) -> Self {
        let engine = Engine::connect(DOCKER).await.unwrap();
        let directory = Directory::new();
        let host = format!("test-{}", uuid::Uuid::new_v4().simple());
        let config = config(&directory, &host, "http://127.0.0.1:9/identity", "");
        let instance = support::instance();
        let uuid = instance.uuid;
        let sandboxes = Sandboxes::new(engine.clone(), Arc::clone(&config));
        let containers = vec![format!("nova-{uuid}"), sandbox_name(uuid)];
        Self { engine, config, sandboxes, instance, containers, image, _directory: directory }
    }

    fn uuid(&self) -> InstanceUuid {
        self.instance.uuid
    }

    async fn ensure(&self) -> Sandbox {
        self.sandboxes.ensure(&self.instance).await.unwrap()
    }

    /// A container that joins the sandbox and runs a shell script to its end; what it prints.
    async fn run(&self, script: &str) -> String {
        let archive = Image {
            command: serde_json::json!(["/bin/sh", "-c", script]),
            tag: self.image,
            ..Image::default()
        };
        self.engine.load_image(stream::iter([Ok(archive.save().into())])).await.unwrap();
        let name = format!("nova-{}", self.uuid());
        let spec = ContainerSpec {
            name: name.clone(),
            image: self.image.into(),
            network: format!("container:{}", sandbox_name(self.uuid())),
            ..ContainerSpec::default()
        };
        self.engine.remove_container(&name).await.unwrap();
        self.engine.create_container(&spec).await.unwrap();
        self.engine.start_container(&name).await.unwrap();
        for _ in 0..100 {
            let output = self.engine.container_logs(&name, LogLines::All, 100_000).await.unwrap();
            let output = String::from_utf8(output).unwrap();
            if output.ends_with("END\n") {
                return output;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the container says nothing");
    }
}

/// Removes what the test made, also when it failed.
impl Drop for Host {
    fn drop(&mut self) {
        let (containers, image) = (std::mem::take(&mut self.containers), self.image);
        let cleaner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let engine = Engine::connect(DOCKER).await.unwrap();
                for name in containers {
                    let _ = engine.remove_container(&name).await;
                }
                let _ = engine.remove_image(image).await;
            });
        });
        let _ = cleaner.join();
    }
}

#[test]
fn a_container_finds_its_nic_and_its_name_when_it_starts_and_after_each_restart() {
    in_new_namespace(async || {
        let host = Host::new("nova-docker-agent-test-sandbox:names").await;
        let sandbox = host.ensure().await;
        assert!(sandbox.fresh);
        let (wiring, plan) =
            (Wiring::new("", &Shutdown::new()).unwrap(), nic(5, "brq0", Switch::LinuxBridge));
        wiring.plug(sandbox.pid, &plan).await.unwrap();
        let script = "read name < /etc/hostname; read own < /proc/sys/kernel/hostname; echo name=$name=$own
            read mac < /sys/class/net/eth0/address; echo mac=$mac
            read v6 < /proc/net/if_inet6; while read line; do echo v6 $line; done < /proc/net/if_inet6
            echo END; sleep 1000";
        let told = host.run(script).await;
        for line in
            ["name=my-server=my-server", "mac=fa:16:3e:00:00:05", "v6 fd110000000000000000000000000005"]
        {
            assert!(told.contains(line), "{line:?} is not in {told}");
        }
        host.engine.restart_container(&format!("nova-{}", host.uuid()), 0).await.unwrap();
        let again = host.run(script).await;
        assert!(again.contains("mac=fa:16:3e:00:00:05"), "{again}");
        assert_eq!(host.ensure().await, Sandbox { fresh: false, ..sandbox });
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_is_found_revived_and_removed() {
    let host = Host::new("nova-docker-agent-test-sandbox:life").await;
    let uuid = host.uuid();
    assert_eq!(host.sandboxes.find(uuid).await.unwrap(), None);
    let first = host.ensure().await;
    let begun = Instant::now();
    host.sandboxes.remove(uuid).await.unwrap();
    let removed = begun.elapsed();
    let begun = Instant::now();
    let sandbox = host.ensure().await;
    println!("a sandbox is there after {:?}, and gone after {removed:?}", begun.elapsed());
    assert_ne!(first.pid, sandbox.pid);

    // An agent that was started again knows it from Docker; it is no instance.
    let restarted = Sandboxes::new(host.engine.clone(), Arc::clone(&host.config));
    assert_eq!(restarted.find(uuid).await.unwrap(), Some(Sandbox { fresh: false, ..sandbox }));
    assert_eq!(restarted.list().await.unwrap(), [uuid]);
    let driver = Driver::new(host.engine.clone(), Arc::clone(&host.config));
    assert_eq!(driver.instances().await.unwrap(), []);

    // Killed, as by Docker's or the host's end.
    host.engine.kill_container(&sandbox_name(uuid), "SIGKILL").await.unwrap();
    while host.sandboxes.find(uuid).await.unwrap().is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(restarted.list().await.unwrap(), [uuid]);
    let revived = host.ensure().await;
    assert!(revived.fresh && revived.pid != sandbox.pid);

    host.sandboxes.remove(uuid).await.unwrap();
    host.sandboxes.remove(uuid).await.unwrap();
    assert_eq!(restarted.list().await.unwrap(), []);
}
