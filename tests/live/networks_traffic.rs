//! Packets between instances, routers, the host and the outside, through what Neutron was asked for. One set of four
//! instances serves all checks; each check is named, and all run even when one fails.
//!
//! `one` and `two` share a network, `three` is on another network of the same router, `four` behind another router.
//! They let in SSH and ping; their web server is behind a closed door until a check opens it.

mod doors;
mod outside;
mod own_address;
mod reach;

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::json;
use tests::cloud::{Boot, Cloud};
use tests::network::{Guest, Lab, tcp};

use crate::{alone, small};

/// Who takes part.
struct Stage<'a> {
    lab: Lab<'a>,
    one: Guest,
    two: Guest,
    three: Guest,
    four: Guest,
    /// The group that lets in SSH and ping.
    group: String,
}

/// How the checks ended.
struct Checks {
    count: usize,
    failed: Vec<String>,
    last: Instant,
}

impl Checks {
    fn note(&mut self, name: &str, ended: Result<()>) {
        self.count += 1;
        println!("{:6.2} s  {name}", self.last.elapsed().as_secs_f64());
        self.last = Instant::now();
        if let Err(error) = ended {
            self.failed.push(format!("{name}: {error:#}"));
        }
    }

    fn verdict(&self) -> Result<()> {
        let failed = self.failed.join("\n");
        ensure!(failed.is_empty(), "{} of {} checks failed:\n{failed}", self.failed.len(), self.count);
        Ok(())
    }
}

/// It must be so now.
fn is(holds: Result<bool>) -> Result<()> {
    ensure!(holds?, "it is not so");
    Ok(())
}

/// It must not be so now.
fn is_not(holds: Result<bool>) -> Result<()> {
    ensure!(!holds?, "it is so");
    Ok(())
}

impl<'a> Stage<'a> {
    async fn set(cloud: &'a Cloud) -> Result<Self> {
        let mut lab = Lab::new(cloud).await?;
        let (first, first_subnet) = lab.network("traffic-a", "10.82.1.0/24", json!({})).await?;
        // Packets between networks of different sizes must not get stuck.
        let (second, second_subnet) = lab.network("traffic-b", "10.82.2.0/24", json!({"mtu": 1300})).await?;
        let (third, third_subnet) = lab.network("traffic-c", "10.82.3.0/24", json!({})).await?;
        lab.router("traffic-1", &[&first_subnet, &second_subnet]).await?;
        lab.router("traffic-2", &[&third_subnet]).await?;
        let group = lab.group("traffic", &[json!({"protocol": "icmp"}), tcp(22)]).await?;
        let boot = |name, network: &str| {
            let networks = json!([{ "uuid": network }]);
            let extra = json!({"networks": networks, "security_groups": [{ "name": group }]});
            Boot { extra, ..small(name) }
        };
        let boots = [
            boot("traffic-one", &first),
            boot("traffic-two", &first),
            boot("traffic-three", &second),
            boot("traffic-four", &third),
        ];
        let [one, two, three, four] = lab.guests(boots).await?;
        Ok(Self { lab, one, two, three, four, group })
    }
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn packets_go_where_neutron_says_and_nowhere_else() -> Result<()> {
    // Each check waits for one change of the switch: none of another test may come between.
    let _platform = alone().await;
    let cloud = Cloud::admin().await?;
    let mut stage = Stage::set(&cloud).await?;
    let mut checks = Checks { count: 0, failed: Vec::new(), last: Instant::now() };
    reach::check(&stage, &mut checks).await?;
    doors::check(&mut stage, &mut checks).await?;
    outside::check(&mut stage, &mut checks).await?;
    own_address::check(&mut stage, &mut checks).await?;
    stage.lab.remove().await?;
    checks.verdict()
}
