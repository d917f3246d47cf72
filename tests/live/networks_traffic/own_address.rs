//! What a port may do: only speak as itself unless allowed otherwise, only when it is up, only as fast as its policy.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tests::network::{Guest, Lab, allow, becomes, delete, tcp};

use super::{Checks, Stage, is_not};

/// An address of the network that nobody has, and that Neutron gives nobody (see `Lab::network`): as one's own it would pass,
/// and as an allowed address pair make the port a virtual one, which is on no host.
const FOREIGN: &str = "10.82.1.250";

pub(super) async fn check(stage: &mut Stage<'_>, checks: &mut Checks) -> Result<()> {
    let (one, two) = (stage.one.clone(), stage.two.clone());
    let host = &stage.lab.host;
    let lab = &stage.lab;
    one.ip(host, &["address", "add", &format!("{FOREIGN}/32"), "dev", "eth0"]).await?;
    let foreign = format!("-I {FOREIGN} {}", two.address);
    let as_foreign = || one.pings(host, &foreign);
    let silent = || async { Ok(!as_foreign().await?) };
    checks.note("a foreign source address is stopped", is_not(as_foreign().await));
    lab.change("port", &one.port, json!({"allowed_address_pairs": [{ "ip_address": FOREIGN }]})).await?;
    checks.note("an allowed address pair lets it through", becomes("it passes", as_foreign).await);
    lab.change("port", &one.port, json!({"allowed_address_pairs": []})).await?;
    checks.note("and no longer without it", becomes("it is stopped", silent).await);

    let open = || two.connects(host, &one.address, 80);
    let off = json!({"port_security_enabled": false, "security_groups": []});
    lab.change("port", &one.port, off).await?;
    checks.note("port security off: any source address", becomes("it passes", as_foreign).await);
    checks.note("port security off: any service", becomes("TCP 80 is open", open).await);
    let on = json!({"port_security_enabled": true, "security_groups": [stage.group]});
    lab.change("port", &one.port, on).await?;
    checks.note("port security on again", becomes("it is stopped", silent).await);
    one.ip(host, &["address", "del", &format!("{FOREIGN}/32"), "dev", "eth0"]).await?;

    let pings = || one.pings(host, &two.address);
    lab.change("port", &two.port, json!({"admin_state_up": false})).await?;
    checks.note("admin_state_up=false cuts", becomes("no answer", || async { Ok(!pings().await?) }).await);
    lab.change("port", &two.port, json!({"admin_state_up": true})).await?;
    checks.note("admin_state_up=true restores", becomes("an answer", pings).await);

    let rule = allow(lab.cloud, &stage.group, &tcp(80)).await?;
    let policy = stage.lab.make("qos_policy", json!({"name": "traffic-slow"})).await?;
    let policy = tests::cloud::text(&policy["id"]).to_owned();
    checks.note("a policy limits the bandwidth", slow(&stage.lab, &one, &two, &policy).await);
    delete(stage.lab.cloud, "network", &format!("/v2.0/security-group-rules/{rule}")).await
}

/// Half a megabyte takes long under a policy of 2 Mbit/s, and not without.
async fn slow(lab: &Lab<'_>, one: &Guest, two: &Guest, policy: &str) -> Result<()> {
    let limit =
        json!({"bandwidth_limit_rule": {"max_kbps": 2000, "max_burst_kbps": 200, "direction": "egress"}});
    let path = format!("/v2.0/qos/policies/{policy}/bandwidth_limit_rules");
    lab.cloud.post("network", &path, limit).await?;
    let make = "dd if=/dev/zero of=/srv/www/half bs=1k count=512 2>/dev/null";
    lab.host.exec(&one.container(), &["sh", "-c", make]).await?;
    let url = format!("http://{}/half", one.address);
    let take = || async {
        let start = Instant::now();
        lab.host.exec(&two.container(), &["timeout", "60", "wget", "-q", "-O", "/dev/null", &url]).await?;
        anyhow::Ok(start.elapsed())
    };
    becomes("TCP 80 is open", || two.connects(&lab.host, &one.address, 80)).await?;
    let free = take().await?;
    lab.change("port", &one.port, json!({ "qos_policy_id": policy })).await?;
    // 4 Mbit at 2 Mbit/s are 2 s; policers give TCP less, but let a burst pass.
    let limited =
        becomes("it takes 1.5 s", || async { Ok(take().await? > Duration::from_millis(1500)) }).await;
    lab.change("port", &one.port, json!({ "qos_policy_id": null })).await?;
    limited?;
    ensure!(free < Duration::from_millis(1500), "without a policy it took {free:?}");
    Ok(())
}
