//! The operator's page and `/metrics` of a running agent.

use std::net::TcpListener;
use std::sync::{Arc, OnceLock};

use common::docker::Engine;
use common::secret::Secret;
use nova_docker_agent::agent::Agent;
use nova_docker_agent::http::{Management, serve};
use nova_docker_agent::metrics::{Metrics, PREFIX};
use prometheus_client::registry::Registry;
use reqwest::{Client, Response};

use super::*;

const PASSWORD: &str = "correct horse battery";

/// The management address of an agent.
struct Site {
    url: String,
    client: Client,
}

impl Site {
    async fn of(cloud: &Cloud, agent: &Arc<Agent>, password: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut registry = Registry::with_prefix(PREFIX);
        let metrics = Metrics::register(&mut registry);
        let management = Management {
            health: Arc::clone(&agent.health),
            activity: Arc::clone(&agent.activity),
            engine: Engine::connect(&agent.config.docker.docker_url).await.unwrap(),
            sessions: Vec::new(),
            metrics,
            registry,
            password: password.map(Secret::new),
            report_interval: 10,
            agent: OnceLock::new(),
        };
        management.show(agent);
        serve(listener, Arc::new(management), &cloud.life).unwrap();
        Self { url, client: Client::new() }
    }

    async fn get(&self, path: &str, password: Option<&str>) -> Response {
        let request = self.client.get(format!("{}{path}", self.url));
        let request = match password {
            Some(_) => request.basic_auth("operator", password),
            None => request,
        };
        request.send().await.unwrap()
    }

    async fn status(&self) -> Value {
        self.get("/status.json", Some(PASSWORD)).await.json().await.unwrap()
    }
}

#[tokio::test]
async fn the_page_tells_of_instances_requests_and_errors() {
    let cloud = Cloud::new(HOST).await;
    let agent = cloud.agent(&cloud.life).await.unwrap();
    let site = Site::of(&cloud, &agent, Some(PASSWORD)).await;
    cloud.boot(|_| {}).await;
    cloud.until("vm_state", "active").await;
    cloud.until_event_ends().await;

    let status = site.status().await;
    let host = &status["host"];
    assert_eq!((&host["name"], &host["disabled"]), (&json!(HOST), &json!(false)));
    let instance = &host["instances"][0];
    for (key, value) in [
        ("uuid", json!(UUID)),
        ("name", json!("rec1")),
        ("vm_state", json!("active")),
        ("task_state", Value::Null),
        ("power_state", json!("running")),
        ("flavor", json!("c1")),
        ("memory_mb", json!(64)),
        // The scripted dockerd calls containers by their names.
        ("container", json!(&CONTAINER[..12])),
    ] {
        assert_eq!(instance[key], value, "{key}");
    }
    let memory = host["resources"].as_array().unwrap().iter().find(|row| row["resource"] == "MEMORY_MB");
    assert_eq!(memory.unwrap()["used"], json!(512 + 64));
    let built = &status["methods"][0];
    assert_eq!((&built["method"], &built["count"]), (&json!("build_and_run_instance"), &json!(1)));
    assert!(built["p50_ms"].as_f64().unwrap() > 0.0, "{built}");
    let up = |peer: &str| {
        let connections = status["connections"].as_array().unwrap();
        connections.iter().find(|row| row["peer"] == peer).map(|row| row["up"].clone())
    };
    assert_eq!(
        (up("conductor"), up("docker"), up("ovsdb")),
        (Some(json!(true)), Some(json!(true)), Some(json!(true)))
    );
    assert_eq!(status["failures"], json!([]));

    cloud.docker(|docker| docker.refuse = Some(((CONTAINER, "stop"), 500, "the disk burns")));
    cloud.ask("stop_instance", "powering-off", json!({"clean_shutdown": true})).await;
    cloud.until_event_ends().await;
    let mut failed = Value::Null;
    // The answer to the request is given after its event has ended.
    for _ in 0..100 {
        failed = site.status().await["failures"][0].clone();
        if !failed.is_null() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((&failed["what"], &failed["refused"]), (&json!("stop_instance"), &json!(false)));
    assert_eq!(failed["instance_uuid"], json!(UUID));
    assert!(failed["request_id"].as_str().unwrap().starts_with("req-"), "{failed}");
    assert!(failed["message"].as_str().unwrap().contains("the disk burns"), "{failed}");

    let metrics = site.get("/metrics", None).await.text().await.unwrap();
    for line in [
        "nova_docker_agent_instances{vm_state=\"active\"} 1",
        "nova_docker_agent_resource_used{resource=\"MEMORY_MB\"} 576",
        "nova_docker_agent_connection_up{peer=\"conductor\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn the_page_is_for_who_has_the_password() {
    let cloud = Cloud::new(HOST).await;
    let agent = cloud.agent(&cloud.life).await.unwrap();
    let site = Site::of(&cloud, &agent, Some(PASSWORD)).await;
    for path in ["/", "/page.css", "/page.js", "/status.json", "/other"] {
        for password in [None, Some("wrong"), Some("")] {
            let answer = site.get(path, password).await;
            assert_eq!(answer.status(), 401, "{path} {password:?}");
            assert!(answer.headers()["www-authenticate"].to_str().unwrap().starts_with("Basic realm="));
            assert_eq!(answer.text().await.unwrap(), "");
        }
    }
    let page = site.get("/", Some(PASSWORD)).await;
    assert_eq!(page.status(), 200);
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(page.text().await.unwrap().contains("<script src=\"page.js\" defer>"));
    assert_eq!(site.get("/other", Some(PASSWORD)).await.status(), 404);
    let written =
        site.client.post(format!("{}/status.json", site.url)).basic_auth("operator", Some(PASSWORD));
    assert!(written.send().await.unwrap().status().is_client_error());
    // Probes and Prometheus have no password.
    assert_eq!(site.get("/metrics", None).await.status(), 200);
}

#[tokio::test]
async fn without_a_password_the_page_is_off_and_says_how_to_have_it() {
    let cloud = Cloud::new(HOST).await;
    let agent = cloud.agent(&cloud.life).await.unwrap();
    let site = Site::of(&cloud, &agent, None).await;
    for path in ["/", "/status.json"] {
        let answer = site.get(path, Some("")).await;
        assert_eq!(answer.status(), 403);
        assert!(answer.text().await.unwrap().contains("[docker] page_password"));
    }
}
