//! What the integration tests share: scripted HTTP peers, small images, a configuration, a cloud of one identity.

#![expect(dead_code, reason = "each test binary uses its own part of this")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "this is test code, which the lint does not see"
)]

pub(crate) mod agent;
pub(crate) mod archive;
pub(crate) mod cloud;
pub(crate) mod conductor;
pub(crate) mod dockerd;
pub(crate) mod fuse;
pub(crate) mod glance;
pub(crate) mod netns;
pub(crate) mod neutron;
pub(crate) mod nova;
pub(crate) mod peer;
pub(crate) mod placement;
pub(crate) mod proxy;
pub(crate) mod tap;
pub(crate) mod wiring;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nova_docker_agent::config::Config;
use nova_docker_agent::virt::{GuestSetup, InstanceSpec};

/// Where the tests expect dockerd.
pub(crate) const DOCKER: &str = "unix:///var/run/docker.sock";

/// A directory of this test alone, removed when it is dropped.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("nova-docker-agent-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A small instance with a uuid of its own.
pub(crate) fn instance() -> InstanceSpec {
    InstanceSpec {
        uuid: uuid::Uuid::new_v4().to_string().parse().unwrap(),
        sandboxed: false,
        rescue: false,
        ssh_key: None,
        config_drive: false,
        setup: GuestSetup::default(),
        name: "instance-00000001".into(),
        display_name: "a \"strange\" näme".into(),
        hostname: "my-server".into(),
        project_id: "p".into(),
        user_id: "u".into(),
        image_id: "i".into(),
        vcpus: 1,
        memory_mb: 32,
        root_gb: 1,
        ephemeral_gb: 0,
        swap_mb: 0,
        extra_specs: [].into(),
        metadata: [].into(),
        image_properties: [].into(),
    }
}

/// A configuration as an operator would write it. `auth_url`: where Keystone is; `host` tells tests apart in Docker.
pub(crate) fn config(directory: &Directory, host: &str, auth_url: &str, more: &str) -> Arc<Config> {
    let path = directory.path().join("agent.conf");
    let text = format!(
        "[DEFAULT]\nhost = {host}\nstate_path = {}\ntransport_url = rabbit://127.0.0.1/\n\
         [placement]\nauth_url = {auth_url}\nusername = nova\npassword = secret\nproject_name = service\n\
         region_name = RegionOne\n[glance]\nregion_name = RegionOne\n[docker]\n{more}\n",
        directory.path().display()
    );
    std::fs::write(&path, text).unwrap();
    Arc::new(Config::load(&[path]).unwrap())
}
