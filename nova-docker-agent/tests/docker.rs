//! The driver and the image store against a real Docker engine. They fail where there is none.
//!
//! Everything they make carries the host name of one test, and is removed at its end.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

#[path = "docker/guests.rs"]
mod guests;
mod support;

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::docker::Engine;
use common::ids::InstanceUuid;
use common::openstack::glance::{Glance, OnBehalf};
use common::openstack::{EndpointFilter, Session};
use common::secret::Secret;
use futures_util::StreamExt;
use futures_util::future::join_all;
use nova_docker_agent::config::Config;
use nova_docker_agent::image::{self, ImageHandle, ImageRequest, ImageStore};
use nova_docker_agent::virt::{
    self, Driver, Event, InstanceSpec, LifecycleEvent, PasswordError, PowerState, container_name,
};
use serde_json::json;
use support::archive::{self, Image};
use support::peer::{Answer, Peer, Received};
use support::proxy::Proxy;
use support::{DOCKER, Directory, cloud, config};

/// Prints a line each tenth of a second, and ends when told.
const SCRIPT: &str =
    "trap 'echo bye; exit 0' TERM; echo hello; sleep 0.2; echo problem >&2; while :; do sleep 0.1; done";

/// One test's host: an agent's driver and images, and the glance that it asks.
struct Host {
    engine: Engine,
    driver: Driver,
    images: ImageStore,
    config: Arc<Config>,
    glance: Glance,
    peer: Peer,
    catalogue: Arc<Mutex<HashMap<String, Record>>>,
    made: Mutex<Vec<InstanceUuid>>,
    _directory: Directory,
}

/// An image in glance.
#[derive(Clone)]
struct Record {
    record: serde_json::Value,
    data: Vec<u8>,
    broken: bool,
}

async fn engine() -> Engine {
    Engine::connect(DOCKER).await.unwrap_or_else(|error| {
        panic!("these tests need a running Docker engine at {DOCKER}: {}", common::error_chain::Chain(&error))
    })
}

impl Host {
    async fn new(more: &str) -> Self {
        common::tls::install();
        let engine = engine().await;
        let catalogue: Arc<Mutex<HashMap<String, Record>>> = Arc::default();
        let served = catalogue.clone();
        let peer = cloud::start(Arc::default(), move |request| serve(&served.lock().unwrap(), request));
        let directory = Directory::new();
        let host = format!("test-{}", uuid::Uuid::new_v4().simple());
        let config = config(&directory, &host, &format!("{}/identity", peer.url), more);
        let session = Session::new(config.auth.clone()).unwrap();
        let endpoint =
            EndpointFilter { valid_interfaces: vec!["internal".into()], ..EndpointFilter::default() };
        let glance = Glance::new(&session, endpoint);
        let images = ImageStore::new(engine.clone(), glance.clone(), &config).unwrap();
        let driver = Driver::new(engine.clone(), config.clone());
        Self {
            engine,
            driver,
            images,
            config,
            glance,
            peer,
            catalogue,
            made: Mutex::default(),
            _directory: directory,
        }
    }

    /// Puts an image into glance.
    fn upload(&self, data: Vec<u8>) -> ImageRequest {
        let id = uuid::Uuid::new_v4().to_string();
        let hash = archive::sha512(&data);
        let checksum = hash[..32].to_owned();
        let record = json!({
            "id": id, "status": "active", "container_format": "docker", "disk_format": "raw",
            "size": data.len(), "checksum": checksum, "os_hash_algo": "sha512", "os_hash_value": hash,
        });
        self.catalogue.lock().unwrap().insert(id.clone(), Record { record, data, broken: false });
        ImageRequest {
            id,
            checksum: Some(checksum),
            size: None,
            container_format: "docker".into(),
            disk_format: "raw".into(),
        }
    }

    /// Changes what glance says of an image.
    fn change(&self, id: &str, change: impl FnOnce(&mut Record)) {
        change(self.catalogue.lock().unwrap().get_mut(id).unwrap());
    }

    async fn ensure(&self, image: &ImageRequest) -> Result<ImageHandle, image::Error> {
        self.images.ensure(image, OnBehalf::default()).await
    }

    fn downloads(&self) -> usize {
        self.peer.take_lines().iter().filter(|line| line.ends_with("/file")).count()
    }

    fn instance(&self) -> InstanceSpec {
        let instance = InstanceSpec { hostname: "testhost".into(), ..support::instance() };
        self.made.lock().unwrap().push(instance.uuid);
        instance
    }
}

/// Removes what the test made, also when it failed.
impl Drop for Host {
    fn drop(&mut self) {
        let engine = self.engine.clone();
        let containers: Vec<String> =
            self.made.lock().unwrap().iter().map(|uuid| format!("nova-{uuid}")).collect();
        let ids: Vec<String> = self.catalogue.lock().unwrap().keys().cloned().collect();
        let handles: Vec<ImageHandle> = ids.iter().filter_map(|id| self.images.cached(id)).collect();
        // A runtime of its own, for the test's cannot wait in a destructor.
        let cleaner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let engine = Engine::connect(engine.url()).await.unwrap();
                for name in containers {
                    let _ = engine.remove_container(&name).await;
                }
                for handle in handles {
                    let tags = engine.inspect_image(&handle.docker_id).await.map(|image| image.tags);
                    for tag in tags.unwrap_or_default().iter().filter(|tag| tag.contains(&handle.image_id)) {
                        let _ = engine.remove_image(tag).await;
                    }
                }
            });
        });
        let _ = cleaner.join();
    }
}

fn serve(catalogue: &HashMap<String, Record>, request: &Received) -> Answer {
    let path = request.path.trim_start_matches("/v2/images/");
    let (id, file) = path.split_once('/').map_or((path, false), |(id, _)| (id, true));
    match catalogue.get(id) {
        None => Answer::Json(404, json!("No image found")),
        Some(image) if !file => Answer::Json(200, image.record.clone()),
        Some(image) if image.broken => Answer::Broken(image.data[..1000].to_vec()),
        Some(image) => Answer::Bytes(image.data.clone()),
    }
}

async fn wait_for(what: &str, mut check: impl AsyncFnMut() -> bool) {
    for _ in 0..100 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("waited in vain for {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_fetched_once_for_a_crowd_and_never_again() {
    let host = Host::new("").await;
    let image = host.upload(archive::shell(SCRIPT));
    let crowd = join_all((0..5).map(|_| host.ensure(&image))).await;
    let handle = crowd.into_iter().collect::<Result<Vec<_>, _>>().unwrap().pop().unwrap();
    assert!(handle.has_command && handle.docker_id.starts_with("sha256:"));
    assert_eq!(host.downloads(), 1);

    host.ensure(&image).await.unwrap();
    assert_eq!(host.peer.take_lines(), [""; 0], "the second boot asks nobody");

    let after_restart = ImageStore::new(host.engine.clone(), host.glance.clone(), &host.config).unwrap();
    assert_eq!(after_restart.cached(&image.id), None);
    assert_eq!(after_restart.ensure(&image, OnBehalf::default()).await.unwrap(), handle);
    assert_eq!(host.downloads(), 0, "a new agent finds the image in Docker");

    let stolen = host.engine.inspect_image(Image::default().tag).await;
    assert!(stolen.is_err_and(|error| error.is_not_found()), "the archive's own tag was obeyed");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_and_broken_images_are_refused_with_a_sentence_and_leave_nothing() {
    let host = Host::new("").await;
    let good = archive::shell(SCRIPT);
    let mut tampered = good.clone();
    tampered[5000] ^= 1;
    for (data, sentence) in [
        (tampered, "the digest of its layer"),
        (b"no archive at all".repeat(100), "no intact tar archive"),
        (vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0], "compressed with gzip"),
        (Image { architecture: "s390x", ..Image::default() }.save(), "s390x processors"),
        (vec![], "no manifest.json"),
    ] {
        let image = host.upload(data);
        let error = host.ensure(&image).await.unwrap_err();
        assert!(matches!(error, image::Error::Unacceptable { .. }), "{error:?}");
        assert!(error.to_string().contains(sentence), "{error}");
        assert_eq!(host.images.cached(&image.id), None);
    }
    let staged = std::fs::read_dir(host.config.state_path.join("images")).unwrap().count();
    assert_eq!(staged, 0, "archives were left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn glance_s_faults_are_told() {
    let host = Host::new("image_max_size_gb = 1").await;
    let good = archive::shell(SCRIPT);
    let ensure = async |change: fn(&mut Record)| {
        let image = host.upload(good.clone());
        host.change(&image.id, change);
        host.ensure(&image).await.unwrap_err()
    };
    let error = ensure(|image| image.record["os_hash_value"] = json!("00")).await;
    assert!(matches!(error, image::Error::Damaged { .. }), "{error:?}");
    let error = ensure(|image| image.record["size"] = json!(5)).await;
    assert!(error.to_string().contains("its size is"), "{error}");
    let error = ensure(|image| image.record["size"] = json!(900_u64 << 30)).await;
    assert!(
        error.to_string().contains("it is 900.0 GiB long, but this host takes 1.0 GiB at most"),
        "{error}"
    );
    let error = ensure(|image| image.record["status"] = json!("deactivated")).await;
    assert!(matches!(error, image::Error::NotActive { .. }), "{error:?}");
    let error = ensure(|image| image.record["disk_format"] = json!("qcow2")).await;
    assert!(error.to_string().contains("its format is docker/qcow2"), "{error}");
    let error = ensure(|image| image.broken = true).await;
    assert!(matches!(error, image::Error::Glance { .. }), "{error:?}");
    let absent = ImageRequest { id: uuid::Uuid::new_v4().to_string(), ..host.upload(vec![]) };
    assert!(matches!(host.ensure(&absent).await, Err(image::Error::NotFound { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_larger_than_the_disk_is_not_begun() {
    let host = Host::new("image_max_size_gb = 99999").await;
    let image = host.upload(archive::shell(SCRIPT));
    host.change(&image.id, |image| image.record["size"] = json!(50_000_u64 << 30));
    let error = host.ensure(&image).await.unwrap_err();
    assert!(matches!(error, image::Error::NoSpace { .. }), "{error:?}");
    assert!(error.to_string().contains("needs 48.8 TiB, but only"), "{error}");
    assert_eq!(host.downloads(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_heard_also_after_dockerd_was_away() {
    let host = Host::new("").await;
    let image = host.ensure(&host.upload(archive::shell(SCRIPT))).await.unwrap();
    let mut proxy = Proxy::open(DOCKER).await;
    let remote = Driver::new(Engine::connect(&proxy.url()).await.unwrap(), host.config.clone());
    let mut events = std::pin::pin!(remote.lifecycle());
    let instance = host.instance();
    let uuid = instance.uuid;
    host.driver.spawn(&instance, &image).await.unwrap();
    // Asked only now: what happened since `lifecycle` is repeated.
    assert_eq!(events.next().await, Some(LifecycleEvent::Instance { uuid, event: Event::Started }));

    proxy.close().await;
    let error = remote.power_state(uuid).await.unwrap_err();
    assert!(matches!(error, virt::Error::DockerUnavailable(_)), "{error:?}");
    let error = remote.spawn(&host.instance(), &image).await.unwrap_err();
    assert!(matches!(error, virt::Error::DockerUnavailable(_)), "{error:?}");
    host.driver.power_off(uuid, 10).await.unwrap();
    proxy.reopen().await;
    let heard =
        tokio::time::timeout(Duration::from_secs(15), async { (events.next().await, events.next().await) });
    let stopped = LifecycleEvent::Instance { uuid, event: Event::Stopped };
    assert_eq!(heard.await.unwrap(), (Some(LifecycleEvent::Resync), Some(stopped)));
    assert_eq!(remote.power_state(uuid).await.unwrap(), PowerState::Shutdown);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_s_facts_are_real() {
    let facts = virt::facts(&engine().await, "host1").await.unwrap();
    assert!(facts.vcpus > 0 && facts.memory_mb > 100 && facts.local_gb > 0, "{facts:?}");
    assert!(facts.disk_available_least <= facts.local_gb, "{facts:?}");
    assert!(facts.hypervisor_version >= 19_000_000, "{facts:?}");
    assert_eq!((facts.hypervisor_type, facts.hypervisor_hostname.as_str()), ("docker", "host1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_engine_is_named() {
    for url in ["unix:///nonexistent/docker.sock", "tcp://127.0.0.1:1"] {
        let error = Engine::connect(url).await.unwrap_err();
        assert_eq!(error.to_string(), format!("the Docker engine at {url} does not answer"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_nothing_uses_goes_when_it_is_old_enough() {
    let host = Host::new("").await;
    let (used, unused) = (host.upload(archive::shell(SCRIPT)), host.upload(archive::shell("sleep 1000")));
    let image = host.ensure(&used).await.unwrap();
    let instance = host.instance();
    host.driver.spawn(&instance, &image).await.unwrap();
    host.ensure(&unused).await.unwrap();
    // Those of others on this machine are not this test's.
    let ids = host.engine.list_images("nova-image/*").await.unwrap().into_iter().flat_map(|image| image.tags);
    let id = |name: String| name.trim_start_matches("nova-image/").split(':').next().unwrap().to_owned();
    let wanted: std::collections::BTreeSet<String> =
        ids.map(id).filter(|id| ![&used.id, &unused.id].contains(&id)).collect();
    let mut last_used = image::LastUsed::new();
    let there = async |image: &ImageRequest| {
        let tags = host.engine.list_images(&format!("nova-image/{}", image.id)).await.unwrap();
        !tags.is_empty()
    };
    host.images.prune(&wanted, &mut last_used, 3600).await.unwrap();
    assert!(there(&used).await && there(&unused).await, "they came just now");
    host.images.prune(&wanted, &mut last_used, 0).await.unwrap();
    assert!(there(&used).await && !there(&unused).await);
    host.ensure(&unused).await.unwrap();
    assert!(there(&unused).await, "it is fetched again when it is wanted again");
    assert!(!host.images.cache(&unused.id, OnBehalf::default()).await.unwrap(), "and then it is there");
}
