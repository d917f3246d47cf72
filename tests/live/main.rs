//! Live tests on the platform that `./octopenstack test` starts: real Nova, RabbitMQ, MariaDB, Keystone, Docker.
//!
//! Each begins with its turn on the platform: see [`gate`].

mod agent;
mod beside;
mod doors;
mod failures;
mod gate;
mod guests;
mod hosts;
mod hosts_groups;
mod images;
mod networks;
mod networks_families;
mod networks_many;
mod networks_refused;
mod networks_servers;
mod networks_tenants;
mod networks_traffic;
mod platform;
mod power;
#[path = "../../nova-docker-agent/tests/support/proxy.rs"]
#[expect(dead_code, clippy::unwrap_used, reason = "a helper of the agent's own tests, which use more of it")]
mod proxy;
mod refusals;
mod remade;
mod servers;
mod small_platform;
mod snapshots;
mod traces;

use gate::{alone, last, shared};

/// The image and flavor every platform has after `octopenstack demo`.
const IMAGE: &str = "demo";
const FLAVOR: &str = "c1";

/// The smallest server of that name.
fn small(name: &str) -> tests::cloud::Boot<'_> {
    tests::cloud::Boot {
        name,
        image: IMAGE,
        flavor: FLAVOR,
        extra: serde_json::Value::Null,
        hints: serde_json::Value::Null,
    }
}
