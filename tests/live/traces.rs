//! What all tests before left on the host: every port, row of the switch, device and container belongs to a server that is
//! there.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use tests::cloud::{Cloud, list, text};
use tests::host::Host;
use tests::platform;

use crate::last;

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn the_host_has_nothing_that_no_server_has() -> Result<()> {
    let _platform = last().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let switch = platform::container("openvswitch")?;
    let servers = cloud.get("compute", "/servers?all_tenants=1&limit=1000").await?;
    let servers: BTreeSet<String> =
        list(&servers["servers"]).iter().map(|server| text(&server["id"]).to_owned()).collect();
    let ports = list(&cloud.get("network", "/v2.0/ports").await?["ports"]);
    let mut known = BTreeSet::new();
    for port in ports.iter().filter(|port| text(&port["device_owner"]).starts_with("compute:")) {
        ensure!(servers.contains(text(&port["device_id"])), "a port of no server: {port}");
        known.insert(text(&port["id"]).to_owned());
    }

    let rows = ["ovs-vsctl", "--bare", "--columns=name,external_ids", "find", "Interface"];
    let rows = host.exec(&switch, &rows).await?;
    let mut plugged = BTreeSet::new();
    for row in rows.split("\n\n").filter(|row| row.contains("vm-uuid=")) {
        let value = |key: &str| {
            let found = row.split_whitespace().find_map(|word| word.strip_prefix(key));
            found.unwrap_or_default().to_owned()
        };
        ensure!(servers.contains(&value("vm-uuid=")), "a row of no server: {row}");
        ensure!(known.contains(&value("iface-id=")), "a row of no port: {row}");
        plugged.insert(row.split_whitespace().next().unwrap_or_default().to_owned());
    }
    let devices = host.exec(&switch, &["ls", "/sys/class/net"]).await?;
    for tap in devices.split_whitespace().filter(|name| name.starts_with("tap") || name.starts_with("nic")) {
        ensure!(plugged.contains(tap), "a device that no switch has: {tap}");
    }

    // Several clouds may use one engine: only this one's host is looked at.
    let compute = tests::agent::platform_option("host").await?;
    for id in host.containers(&format!("nova.host={compute}")).await? {
        let container = host.inspect(&id).await?;
        let labels = container.config.and_then(|config| config.labels).unwrap_or_default();
        let server = labels.get("nova.instance_uuid").map(String::as_str).unwrap_or_default();
        ensure!(servers.contains(server), "a container of no server: {:?}", container.name);
    }
    Ok(())
}
