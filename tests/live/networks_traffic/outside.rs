//! Floating addresses and port forwarding: from the host and from instances, and moved from one to another.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::cloud::text;
use tests::network::{Guest, allow, becomes, delete, greets, tcp};

use super::{Checks, Stage, is_not};

pub(super) async fn check(stage: &mut Stage<'_>, checks: &mut Checks) -> Result<()> {
    let (one, two, three, four) =
        (stage.one.clone(), stage.two.clone(), stage.three.clone(), stage.four.clone());
    let (id, address) = stage.lab.floating(Some(&one.port)).await?;
    checks.note("host to floating address", host_reaches(&address, 22).await);
    let cloud = stage.lab.cloud;
    let path = format!("/v2.0/floatingips/{id}");
    checks.note("floating address ACTIVE", {
        becomes("ACTIVE", || async {
            Ok(cloud.get("network", &path).await?["floatingip"]["status"] == "ACTIVE")
        })
        .await
    });
    checks.note("host to floating address, TCP 80 closed", is_not(Ok(greets(&address, 80).await?.is_ok())));
    checks.note("same network to floating address", reaches(stage, &two, &address).await);
    checks.note("other network of the router to floating address", reaches(stage, &three, &address).await);
    checks.note("another router by SNAT to floating address", reaches(stage, &four, &address).await);
    let (_, fourth) = stage.lab.floating(Some(&four.port)).await?;
    checks.note("floating to floating address, other router", reaches(stage, &four, &address).await);
    checks.note("and back", reaches(stage, &one, &fourth).await);
    let (_, third) = stage.lab.floating(Some(&three.port)).await?;
    checks.note("floating to floating address, same router", reaches(stage, &three, &address).await);
    checks.note("and back", reaches(stage, &one, &third).await);

    let rule = allow(cloud, &stage.group, &tcp(80)).await?;
    checks.note("the page of the first", page(&address, "traffic-one").await);
    checks.note("much data through floating addresses and a smaller MTU", much(stage, &one, &third).await);
    checks.note("much data between networks of different MTU", much(stage, &one, &three.address).await);
    stage.lab.change("floatingip", &id, json!({ "port_id": two.port })).await?;
    checks.note("floating address moved to another instance", page(&address, "traffic-two").await);
    delete(cloud, "network", &format!("/v2.0/security-group-rules/{rule}")).await?;

    let (shared, forwarded) = stage.lab.floating(None).await?;
    let body = json!({"port_forwarding": {"protocol": "tcp", "external_port": 2222, "internal_port": 22,
        "internal_port_id": one.port, "internal_ip_address": one.address}});
    let made = cloud.post("network", &format!("/v2.0/floatingips/{shared}/port_forwardings"), body).await?;
    checks.note("port forwarding", host_reaches(&forwarded, 2222).await);
    let path =
        format!("/v2.0/floatingips/{shared}/port_forwardings/{}", text(&made["port_forwarding"]["id"]));
    delete(cloud, "network", &path).await
}

async fn host_reaches(address: &str, port: u16) -> Result<()> {
    becomes("an SSH server greets the host", || async {
        Ok(greets(address, port).await?.is_ok_and(|said| said.starts_with("SSH-2.0-")))
    })
    .await
}

async fn reaches(stage: &Stage<'_>, from: &Guest, address: &str) -> Result<()> {
    becomes("TCP 22 answers", || from.connects(&stage.lab.host, address, 22)).await
}

/// The web server at the address is the named one's.
async fn page(address: &str, name: &str) -> Result<()> {
    let http = reqwest::Client::builder().timeout(std::time::Duration::from_secs(3)).build()?;
    let url = format!("http://{address}/");
    becomes(name, || async {
        let Ok(answer) = http.get(&url).send().await else { return Ok(false) };
        Ok(answer.text().await.is_ok_and(|text| text.contains(name)))
    })
    .await
}

/// Two megabytes from the third arrive whole.
async fn much(stage: &Stage<'_>, to: &Guest, address: &str) -> Result<()> {
    let (host, three) = (&stage.lab.host, stage.three.container());
    let make = "dd if=/dev/urandom of=/srv/www/much bs=1k count=2048 2>/dev/null; md5sum < /srv/www/much";
    let made = host.exec(&three, &["sh", "-c", make]).await?;
    let get = format!("timeout 20 wget -q -O - http://{address}/much | md5sum");
    let got: Value = json!(host.exec(&to.container(), &["sh", "-c", &get]).await?);
    ensure!(got == made.as_str(), "{got} and not {made}");
    Ok(())
}
