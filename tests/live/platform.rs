//! The deployer on a platform that runs: status, idempotence, the lock, bad input.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::cloud::{Cloud, octopenstack, octopenstack_ok, text};
use tests::platform::project;

use crate::{alone, shared};

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn status_shows_every_service_ready_with_version_and_url() -> Result<()> {
    let _platform = shared().await;
    let status: Value = serde_json::from_str(&octopenstack_ok(&["status", "--json"])?)?;
    let services = status["services"].as_array().context("no services")?;
    ensure!(services.len() >= 12, "{} services", services.len());
    for service in services {
        ensure!(service["state"] == "ready", "{service}");
        ensure!(!text(&service["version"]).is_empty(), "{service}");
    }
    let keystone = services.iter().find(|each| each["name"] == "keystone").context("no keystone")?;
    // It is where the user's credentials send the user.
    let public = Cloud::admin().await?.catalogue_url("identity")?;
    let url = text(&keystone["url"]).trim_end_matches('/').trim_end_matches("/v3");
    ensure!(url.ends_with(":5000") && public.starts_with(url), "{keystone}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_second_up_finds_nothing_to_do_in_three_seconds() -> Result<()> {
    let _platform = alone().await;
    let start = Instant::now();
    let output = octopenstack(&["up", "--yes"])?;
    let took = start.elapsed();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{said}");
    ensure!(said.contains("nothing to do"), "{said}");
    ensure!(took < Duration::from_secs(3), "it took {took:?}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn every_service_logs_to_its_file() -> Result<()> {
    let _platform = shared().await;
    for service in ["keystone", "nova-conductor", "rabbitmq", "nova-docker-agent"] {
        let path = format!("/var/log/octopenstack/{}/{service}.log", project()?);
        let size = std::fs::metadata(&path).with_context(|| path.clone())?.len();
        ensure!(size > 0, "{path} is empty");
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn no_secret_is_in_logs_or_in_what_docker_shows() -> Result<()> {
    let _platform = shared().await;
    let secrets = std::fs::read_to_string(format!("/var/lib/octopenstack/{}/secrets.yaml", project()?))?;
    let values: Vec<&str> = secrets
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(_, value)| value.trim_matches(['"', '\'']))
        .collect();
    ensure!(values.len() > 5, "{} secrets", values.len());
    let host = tests::host::Host::new()?;
    let mut shown = String::new();
    for id in host.containers(&format!("io.octopenstack.project={}", project()?)).await? {
        shown += &serde_json::to_string(&host.inspect(&id).await?)?;
    }
    for entry in std::fs::read_dir(format!("/var/log/octopenstack/{}", project()?))? {
        let path = entry?.path();
        if path.is_file() {
            shown += &String::from_utf8_lossy(&std::fs::read(path)?);
        }
    }
    for value in values.iter().filter(|value| value.len() >= 16) {
        ensure!(!shown.contains(value), "a secret is in a log or in docker inspect");
    }
    Ok(())
}

/// Nova tries again after a conflict (409) and gives up at an error: an aggregate and a boot must not meet as one.
#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn changes_of_one_provider_at_once_are_conflicts_and_not_errors() -> Result<()> {
    let _platform = shared().await;
    let cloud = Cloud::admin().await?;
    let made = cloud.post("placement", "/resource_providers", json!({"name": "changed-at-once"})).await?;
    let (id, path) = (text(&made["uuid"]), format!("/resource_providers/{}", text(&made["uuid"])));
    // Nothing that a server asks for, so that no server is scheduled to it.
    let inventories = json!({"IPV4_ADDRESS": {"total": 1000}});
    let body = json!({"inventories": inventories, "resource_provider_generation": made["generation"]});
    cloud.put_body("placement", &format!("{path}/inventories"), body).await?;

    let until = Instant::now() + Duration::from_secs(3);
    let answers = tokio::try_join!(
        aggregates(&cloud, &path, until),
        aggregates(&cloud, &path, until),
        allocations(&cloud, id, "b1d3f0a4-6c1e-4d1c-9a55-6a5c2f6e7a01", until),
        allocations(&cloud, id, "b1d3f0a4-6c1e-4d1c-9a55-6a5c2f6e7a02", until),
    )?;
    let answers = [answers.0, answers.1, answers.2, answers.3].concat();
    let count = |status| answers.iter().filter(|each| **each == status).count();
    // At a conflict only can the test see what becomes of one.
    ensure!(count(StatusCode::CONFLICT) > 0 && count(StatusCode::OK) > 0, "nothing met: {answers:?}");
    let errors = answers.iter().filter(|status| status.is_server_error()).count();
    ensure!(errors == 0, "{errors} of {} answers are errors", answers.len());
    tests::network::delete(&cloud, "placement", &path).await
}

/// The answers to a provider's aggregates being set again and again, each time at the generation just read.
async fn aggregates(cloud: &Cloud, provider: &str, until: Instant) -> Result<Vec<StatusCode>> {
    let path = format!("{provider}/aggregates");
    let mut answers = Vec::new();
    while Instant::now() < until {
        let mut body = cloud.get("placement", &path).await?;
        body["aggregates"] = json!([]);
        answers.push(cloud.request(Method::PUT, "placement", &path, Some(body)).await?.0);
    }
    Ok(answers)
}

/// The answers to a consumer's allocation on a provider, made and taken back again and again.
async fn allocations(
    cloud: &Cloud,
    provider: &str,
    consumer: &str,
    until: Instant,
) -> Result<Vec<StatusCode>> {
    let path = format!("/allocations/{consumer}");
    let mut answers = Vec::new();
    while Instant::now() < until {
        let body = json!({
            "allocations": {provider: {"resources": {"IPV4_ADDRESS": 1}}},
            "project_id": "test", "user_id": "test", "consumer_generation": null, "consumer_type": "TEST",
        });
        answers.push(cloud.request(Method::PUT, "placement", &path, Some(body)).await?.0);
        answers.push(cloud.request(Method::DELETE, "placement", &path, None).await?.0);
    }
    Ok(answers)
}
