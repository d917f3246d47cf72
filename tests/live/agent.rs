//! The agent as a compute service: registered by itself, untroubled by strange messages, harmless when it restarts.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{
    agent::platform_option,
    cloud::{Cloud, DEADLINE, list, octopenstack_ok, text},
    host::{Host, is_running, started_at},
    platform::container,
};

use crate::{alone, shared, small};

const AGENT: &str = "nova-docker-agent";

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn the_agent_is_a_compute_service_and_a_hypervisor() -> Result<()> {
    let _platform = shared().await;
    let (cloud, compute) = (Cloud::admin().await?, platform_option("host").await?);
    let services = cloud.get("compute", &format!("/os-services?binary=nova-compute&host={compute}")).await?;
    ensure!(services["services"][0]["state"] == "up", "{services}");
    let hypervisors = cloud.get("compute", "/os-hypervisors/detail").await?;
    let own = list(&hypervisors["hypervisors"])
        .into_iter()
        .find(|each| each["hypervisor_hostname"] == compute.as_str())
        .context("not listed")?;
    ensure!(own["hypervisor_type"] == "docker", "{own}");

    let providers = cloud.get("placement", &format!("/resource_providers?name={compute}")).await?;
    let provider = text(&providers["resource_providers"][0]["uuid"]).to_owned();
    ensure!(text(&own["id"]) == provider, "provider and compute node differ");
    let inventories = cloud.get("placement", &format!("/resource_providers/{provider}/inventories")).await?;
    for class in ["VCPU", "MEMORY_MB", "DISK_GB"] {
        ensure!(inventories["inventories"][class]["total"].as_i64().unwrap_or_default() > 0, "{class}");
    }
    let traits = cloud.get("placement", &format!("/resource_providers/{provider}/traits")).await?;
    for name in ["OWNER_NOVA", "COMPUTE_NODE"] {
        ensure!(list(&traits["traits"]).contains(&json!(name)), "{name} is missing in {traits}");
    }
    has_the_processors(&list(&traits["traits"]))
}

/// Some of the kernel's words, and what placement calls them.
const PROCESSORS: [(&str, &str); 14] = [
    ("aes", "AESNI"),
    ("avx", "AVX"),
    ("avx2", "AVX2"),
    ("avx512f", "AVX512F"),
    ("bmi1", "BMI"),
    ("bmi2", "BMI2"),
    ("f16c", "F16C"),
    ("fma", "FMA3"),
    ("pclmulqdq", "CLMUL"),
    ("pni", "SSE3"),
    ("sse4_2", "SSE42"),
    ("sse4a", "SSE4A"),
    ("svm", "AMD_SVM"),
    ("vmx", "INTEL_VMX"),
];

/// The traits are those of the processors that this test runs on, no more and no less.
fn has_the_processors(traits: &[Value]) -> Result<()> {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo")?;
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")).unwrap_or_default();
    let flags: Vec<&str> = flags.split_whitespace().collect();
    for (flag, name) in PROCESSORS {
        let is = traits.contains(&json!(format!("HW_CPU_X86_{name}")));
        ensure!(is == flags.contains(&flag), "{flag} and HW_CPU_X86_{name} do not agree: {traits:?}");
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn the_openstack_client_lists_it() -> Result<()> {
    let _platform = shared().await;
    let listed = octopenstack_ok(&["openstack", "compute", "service", "list", "-f", "json"])?;
    let services: serde_json::Value = serde_json::from_str(&listed)?;
    let binaries: Vec<&str> =
        services.as_array().into_iter().flatten().map(|row| text(&row["Binary"])).collect();
    for binary in ["nova-scheduler", "nova-conductor", "nova-compute"] {
        ensure!(binaries.contains(&binary), "{binary} is not in {binaries:?}");
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_restart_of_the_agent_touches_no_container() -> Result<()> {
    let _platform = alone().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let server = cloud.boot_active(&small("survivor")).await?;
    let id = text(&server["id"]);
    let before = started_at(&host.running_instance(id).await?);

    host.restart(&container(AGENT)?).await?;
    // What is asked of it while it starts waits in its queue.
    cloud.action(id, json!({"os-stop": null})).await?;
    let stopped = cloud.wait_for(id, "SHUTOFF").await?;
    ensure!(stopped["OS-EXT-STS:power_state"] == 4);
    cloud.action(id, json!({"os-start": null})).await?;
    cloud.wait_for(id, "ACTIVE").await?;

    host.restart(&container(AGENT)?).await?;
    wait_until_healthy(&host).await?;
    let after = host.running_instance(id).await?;
    ensure!(is_running(&after) && before != started_at(&after), "the start was lost");
    let kept = started_at(&after);
    host.restart(&container(AGENT)?).await?;
    wait_until_healthy(&host).await?;
    ensure!(
        kept == started_at(&host.running_instance(id).await?),
        "the restart of the agent restarted the guest"
    );
    cloud.delete(id).await
}

/// The agent answers an RPC again: the console log of nothing is enough, but a service that is `up` is the proof
/// the API has.
pub(crate) async fn wait_until_healthy(host: &Host) -> Result<()> {
    let start = Instant::now();
    while !is_running(&host.inspect(&container(AGENT)?).await?) {
        ensure!(start.elapsed() < DEADLINE, "{AGENT} does not run");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    Ok(())
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_guest_that_ends_by_itself_is_shown_as_stopped() -> Result<()> {
    let _platform = shared().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let server = cloud.boot_active(&small("suicide")).await?;
    let id = text(&server["id"]);
    let container = host.running_instance(id).await?.id.context("no id")?;
    host.kill(&container).await?;
    let stopped = cloud.wait_for(id, "SHUTOFF").await?;
    ensure!(stopped["OS-EXT-STS:power_state"] == 4, "{stopped}");
    cloud.delete(id).await
}

/// Covers: set_host_enabled
#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_disabled_service_gets_no_servers_until_it_is_enabled() -> Result<()> {
    let _platform = alone().await;
    let (cloud, compute) = (Cloud::admin().await?, platform_option("host").await?);
    let services = cloud.get("compute", &format!("/os-services?binary=nova-compute&host={compute}")).await?;
    let path = format!("/os-services/{}", text(&services["services"][0]["id"]));
    cloud.put_body("compute", &path, json!({"status": "disabled", "disabled_reason": "a test"})).await?;
    let id = cloud.boot(&small("nowhere")).await?;
    let failed = cloud.wait_for(&id, "ERROR").await;
    cloud.put_body("compute", &path, json!({"status": "enabled"})).await?;
    ensure!(text(&failed?["fault"]["message"]).contains("No valid host"));
    cloud.delete(&id).await?;
    let server = cloud.boot_active(&small("again")).await?;
    cloud.delete(text(&server["id"])).await
}
