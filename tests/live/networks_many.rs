//! One guest with very many NICs.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::json;
use tests::cloud::{Boot, Cloud, text};
use tests::network::{Lab, becomes, delete, in_the_switch, ports};

use crate::{shared, small};

/// NICs beside the first. One takes 2 s and more to come: Neutron makes it, binds it, and tells once a second which are plugged.
/// Thirty, set by [`NICS`], take two minutes on two cores.
const MANY: usize = 10;
const NICS: &str = "OCTOPENSTACK_TEST_NICS";

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn many_interfaces_come_and_go_while_the_server_runs() -> Result<()> {
    let _platform = shared().await;
    let many = std::env::var(NICS).map_or(Ok(MANY), |text| text.parse())?;
    let cloud = Cloud::admin().await?;
    let mut lab = Lab::new(&cloud).await?;
    let (network, _) = lab.network("many", "10.82.12.0/24", json!({})).await?;
    let extra = json!({"networks": [{ "uuid": network }]});
    let [guest] = lab.guests([Boot { extra, ..small("many") }]).await?;
    let path = format!("/servers/{}/os-interface", guest.id);
    let devices = || async {
        let list = lab.host.exec(&guest.container(), &["ls", "/sys/class/net"]).await?;
        anyhow::Ok(list.split_whitespace().filter(|name| name.starts_with("eth")).count())
    };
    ensure!(devices().await? == 1, "{} devices", devices().await?);
    let start = Instant::now();
    let mut attached = Vec::new();
    for _ in 0..many {
        let wanted = json!({"interfaceAttachment": {"net_id": network}});
        let made = cloud.post("compute", &path, wanted).await?["interfaceAttachment"].clone();
        attached.push(text(&made["port_id"]).to_owned());
    }
    println!("{many} attached in {:.1} s", start.elapsed().as_secs_f64());
    ensure!(devices().await? == 1 + many, "{} devices", devices().await?);
    ensure!(in_the_switch(&lab.host, &guest.id).await?.split_whitespace().count() == 1 + many);

    let start = Instant::now();
    for port in &attached {
        delete(&cloud, "compute", &format!("{path}/{port}")).await?;
    }
    // A detach is answered before it is done, and this many wait for each other.
    while ports(&cloud, &guest.id).await?.len() > 1 {
        ensure!(
            start.elapsed() < 2 * tests::cloud::DEADLINE,
            "{:?} are left",
            ports(&cloud, &guest.id).await?
        );
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    println!("{many} detached in {:.1} s", start.elapsed().as_secs_f64());
    becomes("one device is left", || async { Ok(devices().await? == 1) }).await?;
    lab.remove().await
}
