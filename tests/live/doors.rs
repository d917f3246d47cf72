//! Other ways in: nova's own client, the SDK, and what the deployer writes for a plain user.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::cloud::{Cloud, list, octopenstack_ok, text};
use tests::host::Host;
use tests::platform::{container, project};

use crate::shared;

/// Runs nova's client as the user `demo` in the container with the clients. It knows no clouds.yaml, so it gets variables; and the
/// user data, for which it wants a file.
const NOVA: &str = r"
import os, sys, yaml
cloud = yaml.safe_load(open('/etc/openstack/clouds.yaml'))['clouds']['demo']
for name, value in cloud['auth'].items():
    os.environ['OS_' + name.upper()] = value
os.environ['OS_REGION_NAME'] = cloud['region_name']
open('/tmp/user-data', 'w').write('''#!/bin/sh
echo user data of $(hostname)
wget -q -O - http://169.254.169.254/openstack/latest/meta_data.json
''')
os.execvp('nova', ['nova', '--os-endpoint-type', 'internal', *sys.argv[1:]])
";

/// What a program with openstacksdk does, in the container with the clients.
const SDK: &str = include_str!("doors.py");

async fn nova(host: &Host, arguments: &[&str]) -> Result<String> {
    let command = ["python3", "-c", NOVA].iter().chain(arguments).copied().collect::<Vec<_>>();
    host.exec(&container("osctl")?, &command).await
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn nova_boot_makes_a_server_with_user_data_metadata_and_tags() -> Result<()> {
    let _platform = shared().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let told = nova(
        &host,
        &[
            "boot",
            "--image=demo",
            "--flavor=c1",
            "--nic=net-name=demo-net",
            "--user-data=/tmp/user-data",
            "--meta=role=web",
            "--tags=blue,green",
            "--poll",
            "by-nova",
        ],
    )
    .await?;
    ensure!(told.contains("100% complete"), "{told}");
    let shown = nova(&host, &["show", "by-nova"]).await?;
    ensure!(shown.contains("ACTIVE") && shown.contains("demo-net network"), "{shown}");
    ensure!(shown.contains(r#"["blue", "green"]"#) && shown.contains(r#"{"role": "web"}"#), "{shown}");
    let id = shown
        .lines()
        .find_map(|line| line.strip_prefix("| id "))
        .map(|rest| rest.trim_matches([' ', '|']).to_owned())
        .with_context(|| shown.clone())?;
    // Its user data ran, and saw the metadata.
    tests::network::becomes("user data has run", || async {
        let console = cloud.action(&id, serde_json::json!({"os-getConsoleOutput": {}})).await?;
        let log = text(&console["output"]).to_owned();
        Ok(log.contains("user data of by-nova") && log.contains("user data ended with code 0"))
    })
    .await?;
    let log = nova(&host, &["console-log", "by-nova"]).await?;
    ensure!(log.contains(r#""meta": {"role": "web"}"#), "{log}");
    nova(&host, &["delete", "by-nova"]).await?;
    tests::network::becomes("the server is gone", || async { Ok(cloud.server(&id).await?.is_none()) }).await
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn the_sdk_is_at_home_and_a_full_quota_says_so() -> Result<()> {
    let _platform = shared().await;
    let told = Host::new()?.exec(&container("osctl")?, &["python3", "-c", SDK]).await?;
    ensure!(told.ends_with("all is well\n"), "{told}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn the_plain_user_s_files_let_him_in_and_nobody_else_reads_them() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let _platform = shared().await;
    let folder = format!("/var/lib/octopenstack/{}", project()?);
    for file in ["clouds.yaml", "admin-openrc.sh", "demo-openrc.sh"] {
        let path = format!("{folder}/{file}");
        let mode = std::fs::metadata(&path).with_context(|| path.clone())?.permissions().mode();
        ensure!(mode & 0o777 == 0o600, "{path} has the mode {mode:o}");
    }
    let clouds = std::fs::read_to_string(format!("{folder}/clouds.yaml"))?;
    ensure!(clouds == octopenstack_ok(&["clouds"])?, "the file is not what the verb says");
    let openrc = octopenstack_ok(&["openrc", "--user", "demo"])?;
    let of = |name: &str| {
        let line = openrc.lines().find_map(|line| line.strip_prefix(&format!("export {name}='")));
        line.map(|value| value.trim_end_matches('\'').to_owned()).with_context(|| openrc.clone())
    };
    let user =
        Cloud::login(&of("OS_AUTH_URL")?, &of("OS_USERNAME")?, &of("OS_PASSWORD")?, &of("OS_PROJECT_NAME")?)
            .await?;
    let limits = user.get("compute", "/limits").await?;
    ensure!(limits["limits"]["absolute"]["maxTotalInstances"] == 10, "{limits}");
    // He is no administrator.
    let (status, answer) = user.request(reqwest::Method::GET, "compute", "/os-services", None).await?;
    ensure!(status == reqwest::StatusCode::FORBIDDEN, "{status} {answer}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn status_names_the_dashboard_and_the_picture_shows_what_runs() -> Result<()> {
    let _platform = shared().await;
    let status: Value = serde_json::from_str(&octopenstack_ok(&["status", "--json"])?)?;
    let dashboard = text(&status["dashboard"]);
    common::tls::install();
    let client = reqwest::Client::builder().danger_accept_invalid_certs(true).build()?;
    let page = client.get(format!("{dashboard}auth/login/")).send().await?.error_for_status()?.text().await?;
    ensure!(page.contains("csrfmiddlewaretoken"), "{page}");
    let consoles = text(&status["consoles"]);
    ensure!(consoles.starts_with(dashboard) && consoles.ends_with("/serial/"), "{status}");

    let picture = octopenstack_ok(&["graph", "-"])?;
    let services = list(&status["services"]);
    let keystone = services.iter().find(|service| service["name"] == "keystone");
    let version = keystone.map(|service| text(&service["version"])).unwrap_or_default();
    ensure!(!version.is_empty(), "{status}");
    for words in
        ["nova-docker-agent needs neutron", "keystone needs mariadb", version, "<title>ready</title>"]
    {
        ensure!(picture.contains(words), "{words} is not in {picture}");
    }
    Ok(())
}
