//! The program as an operator meets it: arguments, configuration mistakes, exit codes, the management server.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, OnceLock};

use common::docker::Engine;
use common::secret::Secret;
use common::shutdown::Shutdown;
use nova_docker_agent::activity::Activity;
use nova_docker_agent::http::{self, Health, Management};
use nova_docker_agent::metrics::Metrics;
use prometheus_client::registry::Registry;
use support::proxy::Proxy;
use support::{DOCKER, Directory};

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } =
        Command::new(env!("CARGO_BIN_EXE_nova-docker-agent")).args(arguments).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// A configuration file with `more` in `[docker]`.
fn file(directory: &Directory, more: &str) -> String {
    let path = directory.path().join("agent.conf");
    let text = format!(
        "[DEFAULT]\nstate_path = {}\ntransport_url = rabbit://127.0.0.1:1/\n[placement]\nauth_url = http://127.0.0.1:1\n\
         username = nova\npassword = hunter2\nproject_name = service\n[docker]\n{more}\n",
        directory.path().display()
    );
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn a_call_without_configuration_ends_with_2() {
    let (code, stderr) = run(&[]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("--config <FILE>"), "{stderr}");
}

#[test]
fn a_missing_file_ends_with_2_and_its_name() {
    let (code, stderr) = run(&["--config", "/nonexistent/agent.conf"]);
    assert_eq!(code, Some(2));
    assert_eq!(
        stderr,
        "nova-docker-agent: cannot read the configuration file /nonexistent/agent.conf: \
         No such file or directory (os error 2)\n"
    );
}

#[test]
fn all_mistakes_of_a_file_are_told_with_their_lines() {
    let directory = Directory::new();
    let path = file(&directory, "pid_limit = 5\nmanagement_port = http");
    let (code, stderr) = run(&["--config", &path]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("agent.conf:11: [docker] management_port: http is not a number"), "{stderr}");
    assert!(
        stderr.contains("agent.conf:10: unknown option [docker] pid_limit; did you mean pids_limit?"),
        "{stderr}"
    );
    assert!(!stderr.contains("hunter2"), "{stderr}");
}

#[test]
fn a_management_port_in_use_ends_with_1_and_the_option_s_name() {
    let directory = Directory::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (code, stderr) = run(&["--config", &file(&directory, &format!("management_port = {port}"))]);
    assert_eq!(code, Some(1));
    let sentence =
        format!("cannot listen on 127.0.0.1:{port} ([docker] management_address, management_port)");
    assert!(stderr.contains(&sentence), "{stderr}");
}

/// Status line and body.
fn get(port: u16, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

async fn get_async(port: u16, path: &'static str) -> (String, String) {
    tokio::task::spawn_blocking(move || get(port, path)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_are_served_until_the_end() {
    let proxy = Proxy::open(DOCKER).await;
    let engine = Engine::connect(&proxy.url())
        .await
        .unwrap_or_else(|error| panic!("these tests need a running Docker engine at {DOCKER}: {error}"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (health, life, mut registry) = (Arc::new(Health::default()), Shutdown::new(), Registry::default());
    let metrics = Metrics::register(&mut registry);
    let management = Management {
        health: Arc::clone(&health),
        activity: Arc::new(Activity::default()),
        engine,
        sessions: Vec::new(),
        metrics,
        registry,
        password: Some(Secret::new("correct horse")),
        report_interval: 10,
        agent: OnceLock::new(),
    };
    http::serve(listener, Arc::new(management), &life).unwrap();

    let starting = get_async(port, "/healthz").await;
    assert_eq!(starting.0, "HTTP/1.1 503 Service Unavailable");
    assert!(starting.1.contains(r#""docker":true,"heartbeat_age_seconds":null"#), "{}", starting.1);
    health.amqp(true);
    health.heartbeat();
    let well = get_async(port, "/healthz").await;
    assert_eq!(well.0, "HTTP/1.1 200 OK", "{}", well.1);
    proxy.close().await;
    let without_docker = get_async(port, "/healthz").await;
    assert_eq!(without_docker.0, "HTTP/1.1 503 Service Unavailable");
    assert!(without_docker.1.contains(r#""docker":false"#), "{}", without_docker.1);
    assert!(get_async(port, "/metrics").await.1.ends_with("# EOF\n"));
    assert_eq!(get_async(port, "/").await.0, "HTTP/1.1 401 Unauthorized");

    life.drain(std::time::Duration::from_secs(1)).await;
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "it still listens");
}
