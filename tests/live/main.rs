//! Live tests on the platform that `./octopenstack test` starts: real Nova, RabbitMQ, MariaDB, Keystone, Docker.
//!
//! Tests that only use the cloud run side by side; one that disturbs it (restarts the agent, stops a service)
//! takes it alone: see [`shared`] and [`alone`].

mod agent;
mod beside;
mod doors;
mod failures;
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

use std::sync::LazyLock;

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

static PLATFORM: LazyLock<RwLock<()>> = LazyLock::new(RwLock::default);

/// The image and flavor every platform has after `octopenstack demo`.
const IMAGE: &str = "demo";
const FLAVOR: &str = "c1";

/// Holds the platform together with other tests.
async fn shared() -> RwLockReadGuard<'static, ()> {
    PLATFORM.read().await
}

/// Holds the platform alone.
async fn alone() -> RwLockWriteGuard<'static, ()> {
    PLATFORM.write().await
}

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
