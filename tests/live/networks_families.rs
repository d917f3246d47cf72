//! IPv6: addresses that a port makes of its MAC (SLAAC) and addresses that Neutron chose, beside IPv4 and without it.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::cloud::{Boot, Cloud, list, text};
use tests::network::{Guest, Lab, allow, becomes, ports};

use crate::{shared, small};

/// A subnet where hosts make their own addresses, and the address of its router.
const SLAAC: (&str, &str) = ("fd82:4::/64", "fd82:4::1");
/// A subnet of chosen addresses.
const CHOSEN: &str = "fd82:5::/64";

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn guests_speak_ipv6_by_slaac_and_by_chosen_addresses() -> Result<()> {
    let _platform = shared().await;
    let cloud = Cloud::admin().await?;
    let mut lab = Lab::new(&cloud).await?;
    let (mixed, subnet) = lab.network("families-mixed", "10.82.4.0/24", json!({})).await?;
    let slaac = json!({"network_id": mixed, "ip_version": 6, "cidr": SLAAC.0, "ipv6_ra_mode": "slaac",
        "ipv6_address_mode": "slaac", "gateway_ip": SLAAC.1});
    let slaac = text(&lab.make("subnet", slaac).await?["id"]).to_owned();
    let only = text(&lab.make("network", json!({"name": "families-six"})).await?["id"]).to_owned();
    lab.make("subnet", json!({"network_id": only, "ip_version": 6, "cidr": CHOSEN})).await?;
    lab.router("families", &[&subnet, &slaac]).await?;
    let group = lab.group("families", &[json!({"protocol": "icmp"})]).await?;
    for rule in [
        json!({"ethertype": "IPv6", "protocol": "ipv6-icmp"}),
        json!({"ethertype": "IPv6", "protocol": "tcp", "port_range_min": 22, "port_range_max": 22}),
    ] {
        allow(&cloud, &group, &rule).await?;
    }
    let boot = |name| Boot {
        extra: json!({"networks": [{ "uuid": mixed }, { "uuid": only }], "security_groups": [{ "name": group }]}),
        ..small(name)
    };
    let [one, two] = lab.guests([boot("families-one"), boot("families-two")]).await?;

    for (device, prefix) in [("eth0", "fd82:4:"), ("eth1", "fd82:5:")] {
        let address = address(&cloud, &two, prefix).await?;
        let shown = lab.host.exec(&two.container(), &["ip", "-6", "address", "show", "dev", device]).await?;
        ensure!(shown.contains(&format!("{address}/64")), "{address} is not in {shown}");
        let arguments = format!("-6 {address}");
        becomes(&address, || one.pings(&lab.host, &arguments)).await?;
        ensure!(one.connects(&lab.host, &address, 22).await?, "no TCP to {address}");
        ensure!(!one.connects(&lab.host, &address, 80).await?, "TCP 80 of {address} is open");
    }
    let router = format!("-6 {}", SLAAC.1);
    becomes("the router answers", || one.pings(&lab.host, &router)).await?;
    let four = address(&cloud, &two, "10.82.4.").await?;
    becomes("IPv4 beside it", || one.pings(&lab.host, &four)).await?;
    lab.remove().await
}

/// The guest's address in a subnet.
async fn address(cloud: &Cloud, guest: &Guest, prefix: &str) -> Result<String> {
    let ports = ports(cloud, &guest.id).await?;
    let addresses = ports.iter().flat_map(|port| list(&port["fixed_ips"]));
    let mut addresses = addresses.map(|each| text(&each["ip_address"]).to_owned());
    addresses
        .find(|each| each.starts_with(prefix))
        .with_context(|| format!("no address of {prefix}: {ports:?}"))
}
