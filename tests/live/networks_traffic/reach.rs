//! Who reaches whom, and what the network itself answers: DHCP, DNS, metadata.

use anyhow::{Result, ensure};
use serde_json::Value;
use tests::cloud::text;
use tests::network::{Guest, becomes};

use super::{Checks, Stage, is, is_not};

/// Prints what a DHCP server offers.
const OFFER: &str = "#!/bin/sh\n[ $1 = bound ] && echo $ip $router $mtu\nexit 0\n";

pub(super) async fn check(stage: &Stage<'_>, checks: &mut Checks) -> Result<()> {
    let host = &stage.lab.host;
    let (one, two, three, four) = (&stage.one, &stage.two, &stage.three, &stage.four);
    for guest in [one, two, three, four] {
        // Neutron tells Nova that a port is ACTIVE before it has committed that.
        checks.note("port bound and ACTIVE", becomes(&guest.port, || is_active(stage, guest)).await);
    }
    let pings = |address: &str| {
        let address = address.to_owned();
        async move { becomes(&address, || one.pings(host, &address)).await }
    };
    checks.note("ping on one network", pings(&two.address).await);
    checks.note("ping to the gateway", pings("10.82.1.1").await);
    checks.note("ping to another network of the router", pings(&three.address).await);
    checks.note("another router's network is out of reach", is_not(four.pings(host, &one.address).await));
    checks.note("TCP on one network", is(one.connects(host, &two.address, 22).await));
    checks.note("TCP between networks", is(three.connects(host, &two.address, 22).await));
    checks.note("SNAT: the host without a floating address", {
        let gateway = outside_gateway(stage).await?;
        becomes("the provider network's gateway answers", || three.pings(host, &gateway)).await
    });
    checks.note("MTU of the network inside", mtu(stage).await);
    checks.note("a packet of the whole MTU on one network", {
        is(one.pings(host, &format!("-s 1414 {}", two.address)).await)
    });
    checks.note("a packet of the smaller MTU between networks", {
        is(one.pings(host, &format!("-s 1272 {}", three.address)).await)
    });
    checks.note("DHCP offers the port's address and the network's MTU", dhcp(stage).await);
    checks.note("DNS knows the name of a port", dns(stage).await);
    checks.note("metadata are the instance's own", metadata(stage).await);
    Ok(())
}

async fn is_active(stage: &Stage<'_>, guest: &Guest) -> Result<bool> {
    let port = stage.lab.cloud.get("network", &format!("/v2.0/ports/{}", guest.port)).await?;
    Ok(port["port"]["binding:vif_type"] == "ovs" && port["port"]["status"] == "ACTIVE")
}

async fn outside_gateway(stage: &Stage<'_>) -> Result<String> {
    let path = format!("/v2.0/subnets?network_id={}", stage.lab.external);
    Ok(text(&stage.lab.cloud.get("network", &path).await?["subnets"][0]["gateway_ip"]).to_owned())
}

async fn mtu(stage: &Stage<'_>) -> Result<()> {
    for (guest, wanted) in [(&stage.one, "mtu 1442"), (&stage.three, "mtu 1300")] {
        let shown = stage.lab.host.exec(&guest.container(), &["ip", "link", "show", "eth0"]).await?;
        ensure!(shown.contains(wanted), "{shown}");
    }
    Ok(())
}

async fn dhcp(stage: &Stage<'_>) -> Result<()> {
    let ask = format!(
        "printf '{}' > /tmp/offer; chmod +x /tmp/offer; \
         udhcpc -i eth0 -n -q -f -t 3 -s /tmp/offer -O mtu",
        OFFER.replace('\n', "\\n")
    );
    let said = stage.lab.host.exec(&stage.one.container(), &["sh", "-c", &ask]).await?;
    ensure!(said.contains(&stage.one.address), "{said}");
    ensure!(said.contains("1442"), "{said}");
    Ok(())
}

async fn dns(stage: &Stage<'_>) -> Result<()> {
    let port = stage.lab.cloud.get("network", &format!("/v2.0/ports/{}", stage.two.port)).await?;
    let name = text(&port["port"]["dns_assignment"][0]["fqdn"]).trim_end_matches('.').to_owned();
    ensure!(name.starts_with("traffic-two."), "{port}");
    let ask = ["nslookup", "-type=A", &name, "10.82.1.1"];
    let (_, said) = stage.lab.host.try_exec(&stage.one.container(), &ask).await?;
    ensure!(said.contains(&stage.two.address), "{said}");
    Ok(())
}

async fn metadata(stage: &Stage<'_>) -> Result<()> {
    for guest in [&stage.one, &stage.four] {
        let url = "http://169.254.169.254/openstack/latest/meta_data.json";
        let said = stage.lab.host.exec(&guest.container(), &["wget", "-q", "-O", "-", url]).await?;
        let said: Value = serde_json::from_str(&said)?;
        ensure!(said["uuid"] == guest.id.as_str(), "{said}");
    }
    Ok(())
}
