//! The session, placement and glance clients against peers that behave badly.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::openstack::glance::{Glance, OnBehalf};
use common::openstack::placement::Placement;
use common::openstack::{Error, Session};
use futures_util::future::join_all;
use nova_docker_agent::resources::{Inventories, Inventory, Provider};
use serde_json::{Value, json};
use support::cloud::Keystone;
use support::peer::{Answer, Peer, Received};
use support::{Directory, cloud, config};

/// The shortest that a token lives in these tests.
const LIFETIME: Duration = Duration::from_secs(5);

const UUID: &str = "5b82e683-a60d-4ca0-b7ec-0c5d349e5803";

fn session(peer: &Peer) -> Session {
    let directory = Directory::new();
    let config = config(&directory, "host1", &format!("{}/identity", peer.url), "");
    common::tls::install();
    Session::new(config.auth.clone()).unwrap()
}

fn glance(peer: &Peer) -> Glance {
    Glance::new(&session(peer), endpoint())
}

fn provider(peer: &Peer) -> Provider {
    Provider::new(Placement::new(&session(peer), endpoint()))
}

fn endpoint() -> common::openstack::EndpointFilter {
    common::openstack::EndpointFilter {
        region_name: Some("RegionOne".into()),
        valid_interfaces: vec!["internal".into(), "public".into()],
        endpoint_override: None,
    }
}

fn image_record(_: &Received) -> Answer {
    Answer::Json(200, json!({ "id": "i", "status": "active" }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_meets_401_logs_in_once() {
    let keystone = Arc::new(Keystone::default());
    let peer = cloud::start(keystone.clone(), image_record);
    let glance = glance(&peer);
    glance.show("i", OnBehalf::default()).await.unwrap();
    assert_eq!(keystone.logins.load(Ordering::SeqCst), 1);

    keystone.oldest_valid.store(2, Ordering::SeqCst);
    let crowd = join_all((0..20).map(|_| glance.show("i", OnBehalf::default()))).await;
    assert!(crowd.iter().all(Result::is_ok), "{crowd:?}");
    assert_eq!(keystone.logins.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_stays_refused_is_an_error_and_no_loop() {
    let keystone = Arc::new(Keystone::default());
    keystone.oldest_valid.store(1000, Ordering::SeqCst);
    let peer = cloud::start(keystone.clone(), image_record);
    let error = glance(&peer).show("i", OnBehalf::default()).await.unwrap_err();
    assert_eq!(error.status(), Some(401));
    assert_eq!(keystone.logins.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_renewed_before_it_ends() {
    let keystone = Arc::new(Keystone::default());
    keystone.lifetime.store(5, Ordering::SeqCst);
    let peer = cloud::start(keystone.clone(), image_record);
    let glance = glance(&peer);
    let begun = Instant::now();
    glance.show("i", OnBehalf::default()).await.unwrap();
    // Keystone is away for a moment: the old token still works.
    keystone.refuse.store(503, Ordering::SeqCst);
    while keystone.refused.load(Ordering::SeqCst) == 0 {
        glance.show("i", OnBehalf::default()).await.unwrap();
        assert!(begun.elapsed() < LIFETIME, "the token has ended");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(begun.elapsed() > LIFETIME / 2, "renewed long before it had to be");
    keystone.refuse.store(0, Ordering::SeqCst);
    glance.show("i", OnBehalf::default()).await.unwrap();
    assert_eq!(keystone.logins.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_in_keystone_s_words() {
    let keystone = Arc::new(Keystone::default());
    keystone.refuse.store(401, Ordering::SeqCst);
    let peer = cloud::start(keystone, image_record);
    let error = glance(&peer).show("i", OnBehalf::default()).await.unwrap_err().to_string();
    assert!(error.contains("/identity/v3/auth/tokens was answered 401: The password is wrong."), "{error}");
    assert!(!error.contains("secret"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_s_token_goes_out_with_the_service_s() {
    let peer = cloud::start(Arc::default(), image_record);
    let behalf = OnBehalf { user_token: Some("user-token"), request_id: Some("req-7") };
    glance(&peer).show("i", behalf).await.unwrap();
    let request = peer.take().pop().unwrap();
    assert_eq!(request.line(), "GET /service/v2/images/i");
    assert_eq!(request.header("X-Auth-Token"), Some("user-token"));
    assert_eq!(request.header("X-Service-Token"), Some("token-1"));
    assert_eq!(request.header("X-Openstack-Request-Id"), Some("req-7"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_at_home_names_the_request() {
    let directory = Directory::new();
    let config = config(&directory, "host1", "http://127.0.0.1:1", "");
    common::tls::install();
    let session = Session::new(config.auth.clone()).unwrap();
    let error = Glance::new(&session, endpoint()).show("i", OnBehalf::default()).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }));
    assert_eq!(error.to_string(), "POST http://127.0.0.1:1/v3/auth/tokens got no answer");
}

/// A small placement: one provider that may be changed by others.
#[derive(Default)]
struct FakePlacement {
    provider: Option<String>,
    generation: u64,
    inventories: Value,
    traits: BTreeSet<String>,
    known: BTreeSet<String>,
    /// So many writes are lost to somebody else.
    conflicts: u32,
}

impl FakePlacement {
    fn answer(&mut self, request: &Received) -> Answer {
        let base = format!("/resource_providers/{UUID}");
        let rest = request.path.strip_prefix(&base);
        match (request.method.as_str(), request.path.as_str(), rest) {
            ("GET", _, Some("")) => match &self.provider {
                Some(name) => self.provider_json(name),
                None => Answer::Json(404, json!({ "errors": [{ "detail": "No such provider." }] })),
            },
            ("POST", "/resource_providers", _) => {
                let name = request.body["name"].as_str().unwrap().to_owned();
                self.inventories = json!({});
                self.provider = Some(name.clone());
                self.provider_json(&name)
            }
            ("GET", _, Some("/inventories")) => self.generation_json("inventories", self.inventories.clone()),
            ("GET", _, Some("/traits")) => self.generation_json("traits", json!(self.traits)),
            ("PUT", _, Some(what)) => self.put(what, &request.body),
            ("GET", "/traits", _) => {
                let asked = request.query.trim_start_matches("name=in:").split(',').map(str::to_owned);
                Answer::Json(
                    200,
                    json!({ "traits": asked.filter(|t| self.known.contains(t)).collect::<Vec<_>>() }),
                )
            }
            ("PUT", path, None) => {
                self.known.insert(path.trim_start_matches("/traits/").to_owned());
                Answer::Empty(201)
            }
            ("DELETE", _, _) => Answer::Json(404, json!({ "errors": [{ "detail": "No allocations." }] })),
            other => panic!("unexpected request {other:?}"),
        }
    }

    fn put(&mut self, what: &str, body: &Value) -> Answer {
        if self.conflicts > 0 {
            self.conflicts -= 1;
            self.generation += 1;
        }
        if body["resource_provider_generation"] != json!(self.generation) {
            let error = json!({ "detail": "Conflict", "code": "placement.concurrent_update" });
            return Answer::Json(409, json!({ "errors": [error] }));
        }
        self.generation += 1;
        if what == "/inventories" {
            self.inventories = body["inventories"].clone();
            self.generation_json("inventories", self.inventories.clone())
        } else {
            self.traits = serde_json::from_value(body["traits"].clone()).unwrap();
            self.generation_json("traits", json!(self.traits))
        }
    }

    fn provider_json(&self, name: &str) -> Answer {
        Answer::Json(200, json!({ "uuid": UUID, "name": name, "generation": self.generation }))
    }

    fn generation_json(&self, key: &str, value: Value) -> Answer {
        Answer::Json(200, json!({ key: value, "resource_provider_generation": self.generation }))
    }
}

fn placement(state: &Arc<Mutex<FakePlacement>>) -> Peer {
    let state = state.clone();
    cloud::start(Arc::default(), move |request| state.lock().unwrap().answer(request))
}

fn inventories() -> Inventories {
    let inventory =
        Inventory { total: 4, reserved: 0, min_unit: 1, max_unit: 4, step_size: 1, allocation_ratio: 4.0 };
    [("VCPU".to_owned(), inventory)].into()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn fake(known: &[&str]) -> Arc<Mutex<FakePlacement>> {
    Arc::new(Mutex::new(FakePlacement { known: set(known), ..FakePlacement::default() }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_made_once_and_then_only_looked_at() {
    let state = fake(&["OWNER_NOVA", "COMPUTE_NODE"]);
    let peer = placement(&state);
    let provider = provider(&peer);
    let wanted = set(&["OWNER_NOVA", "COMPUTE_NODE", "CUSTOM_DOCKER", "HW_ARCH_NEWER_THAN_THIS_PLACEMENT"]);
    provider.publish(UUID, "host1", &inventories(), &wanted).await.unwrap();
    let expected = set(&["OWNER_NOVA", "COMPUTE_NODE", "CUSTOM_DOCKER"]);
    assert_eq!(state.lock().unwrap().traits, expected);
    assert_eq!(state.lock().unwrap().inventories["VCPU"]["allocation_ratio"], json!(4.0));
    let request = peer.take().pop().unwrap();
    assert_eq!(request.header("OpenStack-API-Version"), Some("placement 1.36"));

    provider.publish(UUID, "host1", &inventories(), &expected).await.unwrap();
    let lines = peer.take_lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines.iter().all(|line| line.starts_with("GET ")), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_race_is_run_again_with_what_is_there_now() {
    let state = fake(&["OWNER_NOVA"]);
    state.lock().unwrap().conflicts = 3;
    let peer = placement(&state);
    provider(&peer).publish(UUID, "host1", &inventories(), &set(&["OWNER_NOVA"])).await.unwrap();
    assert_eq!(state.lock().unwrap().traits, set(&["OWNER_NOVA"]));
    let puts = peer.take_lines().iter().filter(|line| line.starts_with("PUT ")).count();
    assert_eq!(puts, 5, "three lost races and two won");
}

#[tokio::test(flavor = "multi_thread")]
async fn races_that_are_always_lost_end_in_an_error() {
    let state = fake(&["OWNER_NOVA"]);
    state.lock().unwrap().conflicts = 1000;
    let peer = placement(&state);
    let error = provider(&peer).publish(UUID, "host1", &inventories(), &set(&[])).await.unwrap_err();
    assert_eq!(error.status(), Some(409));
}

#[tokio::test(flavor = "multi_thread")]
async fn disabling_keeps_the_other_traits() {
    let state = fake(&["COMPUTE_STATUS_DISABLED"]);
    {
        let mut state = state.lock().unwrap();
        state.provider = Some("host1".into());
        state.traits = set(&["CUSTOM_RACK", "OWNER_NOVA"]);
    }
    let peer = placement(&state);
    let provider = provider(&peer);
    provider.set_disabled(UUID, true).await.unwrap();
    assert_eq!(state.lock().unwrap().traits, set(&["CUSTOM_RACK", "OWNER_NOVA", "COMPUTE_STATUS_DISABLED"]));
    provider.set_disabled(UUID, false).await.unwrap();
    assert_eq!(state.lock().unwrap().traits, set(&["CUSTOM_RACK", "OWNER_NOVA"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn allocations_that_are_gone_are_deleted() {
    let peer = placement(&fake(&[]));
    provider(&peer).delete_allocations("2d206834-23ab-4b5d-a236-4608f438a9e2").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn other_refusals_are_not_repeated() {
    let count = Arc::new(AtomicU32::new(0));
    let counter = count.clone();
    let peer = cloud::start(Arc::default(), move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        Answer::Json(500, json!({ "errors": [{ "detail": "The database is away." }] }))
    });
    let error = provider(&peer).delete_allocations("x").await.unwrap_err().to_string();
    assert!(error.ends_with("/service/allocations/x was answered 500: The database is away."), "{error}");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}
