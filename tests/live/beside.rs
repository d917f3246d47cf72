//! The agent as a plain program beside an OpenStack that runs already: it joins, serves, says what is wrong with the
//! machine it is on, and leaves. Each test holds the platform alone, for its host would get others' servers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{
    agent::{PlainAgent, broker_url},
    archive::docker_archive,
    cloud::{Boot, Cloud, DEADLINE, text},
    host::{Host, is_running},
};

use crate::{alone, proxy::Proxy, small};

const DOCKER: &str = "unix:///var/run/docker.sock";

/// A server on this host and no other.
fn on<'a>(name: &'a str, host: &str) -> Boot<'a> {
    Boot { extra: json!({"host": host}), ..small(name) }
}

/// A server that an administrator forces onto this host: no other is tried, so its user reads what this one says.
fn forced<'a>(name: &'a str, host: &str) -> Boot<'a> {
    Boot { extra: json!({"availability_zone": format!("nova:{host}")}), ..small(name) }
}

/// Boots on the host, expects ERROR with a fault that holds `cause`, and looks for leftovers.
async fn fails_on(cloud: &Cloud, boot: &Boot<'_>, cause: &str) -> Result<()> {
    let id = cloud.boot(boot).await?;
    let server = cloud.wait_for(&id, "ERROR").await?;
    let message = text(&server["fault"]["message"]);
    ensure!(message.contains(cause), "the fault says {message:?}, not {cause:?}");
    ensure!(cloud.allocations(&id).await? == json!({}), "an allocation is left behind");
    cloud.delete(&id).await?;
    wait_for_no_container(&id).await
}

async fn wait_for_no_container(id: &str) -> Result<()> {
    let (host, start) = (Host::new()?, Instant::now());
    while host.instance(id).await?.is_some() {
        ensure!(start.elapsed() < DEADLINE, "a container is left behind");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_plain_program_joins_serves_and_leaves() -> Result<()> {
    let _platform = alone().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let mut agent = PlainAgent::prepare(&cloud, "octo-beside", "").await?;
    agent.join(&cloud).await?;
    ensure!(agent.service(&cloud).await?.is_some_and(|service| service["state"] == "up"), "it is not up");

    let server = cloud.boot_active(&on("beside", "octo-beside")).await?;
    ensure!(server["OS-EXT-SRV-ATTR:host"] == "octo-beside", "{server}");
    let id = text(&server["id"]);
    ensure!(is_running(&host.running_instance(id).await?));
    cloud.delete(id).await?;
    ensure!(host.instance(id).await?.is_none(), "the container is still there");
    agent.leave(&cloud).await
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn what_this_host_cannot_hold_is_told_and_leaves_nothing() -> Result<()> {
    let _platform = alone().await;
    let cloud = Cloud::admin().await?;
    let mut agent = PlainAgent::prepare(&cloud, "octo-narrow", "").await?;
    agent.small_disk(300)?;
    agent.join(&cloud).await?;

    // 256 MiB always stay free.
    let padding: Vec<u8> = vec![7; 64 << 20];
    let archive = docker_archive("octo/wide:1", &["/a"], &[("a", &padding, 0o755)])?;
    cloud.upload_image("wide", "docker", archive).await?;
    let wide = Boot { image: "wide", ..forced("wide", "octo-narrow") };
    fails_on(&cloud, &wide, "needs 64.0 MiB, but only").await?;

    // Placement believes that there is more memory than there is, so the agent has to refuse by itself.
    promise_memory(&cloud, &agent, 100_000_000).await?;
    let flavor = json!({"flavor": {"name": "vast", "ram": 50_000_000, "vcpus": 1, "disk": 1}});
    cloud.post("compute", "/flavors", flavor).await?;
    let vast = Boot { flavor: "vast", ..forced("vast", "octo-narrow") };
    fails_on(&cloud, &vast, "the flavor asks for 50000000 MiB of memory, this host can give").await?;
    agent.leave(&cloud).await
}

/// Tells placement that a host has so many MiB of memory; the host's next audit puts it right.
async fn promise_memory(cloud: &Cloud, agent: &PlainAgent, total: u64) -> Result<()> {
    let provider = agent.provider(cloud).await?.context("no provider")?;
    let path = format!("/resource_providers/{provider}/inventories");
    let mut inventories: Value = cloud.get("placement", &path).await?;
    let memory = &mut inventories["inventories"]["MEMORY_MB"];
    (memory["total"], memory["max_unit"]) = (json!(total), json!(total));
    cloud.put_body("placement", &path, inventories).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the platform of ./octopenstack test"]
async fn docker_that_goes_away_during_a_boot_is_told_and_the_next_boot_works() -> Result<()> {
    let _platform = alone().await;
    let cloud = Cloud::admin().await?;
    let mut docker = Proxy::open(DOCKER).await;
    let more =
        format!("docker_url = {}\n[DEFAULT]\nrunning_deleted_instance_poll_interval = 2", docker.url());
    let mut agent = PlainAgent::prepare(&cloud, "octo-cut", &more).await?;
    agent.join(&cloud).await?;

    docker.close_at("/start");
    let id = cloud.boot(&on("cut", "octo-cut")).await?;
    let server = cloud.wait_for(&id, "ERROR").await?;
    let message = text(&server["fault"]["message"]);
    ensure!(message.contains("does not answer"), "the fault says {message:?}");
    ensure!(cloud.allocations(&id).await? == json!({}), "an allocation is left behind");
    cloud.delete(&id).await?;

    docker.reopen().await;
    // Created it was; with Docker away it could not be removed at once.
    wait_for_no_container(&id).await?;
    let server = cloud.boot_active(&on("after-cut", "octo-cut")).await?;
    cloud.delete(text(&server["id"])).await?;
    agent.leave(&cloud).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_broker_that_is_down_then_refuses_then_lets_in() -> Result<()> {
    const USER: &str = "late";
    const WRONG: &str = "not-the-password-0815";
    let _platform = alone().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let rabbit = tests::platform::container("rabbitmq")?;
    let url = broker_url().await?;
    let address = url.rsplit_once('@').context("no address")?.1.trim_end_matches('/').to_owned();
    let _ = host.exec(&rabbit, &["rabbitmqctl", "delete_user", USER]).await;
    host.exec(&rabbit, &["rabbitmqctl", "add_user", USER, "the-password-4711"]).await?;
    host.exec(&rabbit, &["rabbitmqctl", "set_permissions", USER, ".*", ".*", ".*"]).await?;

    let mut broker = Proxy::closed(&address).await;
    let more = format!("[DEFAULT]\ntransport_url = rabbit://{USER}:{WRONG}@127.0.0.1:{}/", broker.port());
    let mut agent = PlainAgent::prepare(&cloud, "octo-late", &more).await?;
    agent.start()?;
    agent.wait_until_said("the broker cannot be reached").await?;
    ensure!(agent.said().contains(&format!("127.0.0.1:{}", broker.port())), "which broker? {}", agent.said());

    broker.reopen().await;
    agent.wait_until_said("check user, password and virtual host in transport_url").await?;
    ensure!(agent.service(&cloud).await?.is_none(), "it registered without a broker");

    host.exec(&rabbit, &["rabbitmqctl", "change_password", USER, WRONG]).await?;
    agent.wait_until_said("serving").await?;
    agent.wait_until_found(&cloud).await?;
    let server = cloud.boot_active(&on("late", "octo-late")).await?;
    cloud.delete(text(&server["id"])).await?;
    ensure!(!agent.said().contains(WRONG), "the password is in the log");
    agent.leave(&cloud).await?;
    host.exec(&rabbit, &["rabbitmqctl", "delete_user", USER]).await.map(drop)
}
