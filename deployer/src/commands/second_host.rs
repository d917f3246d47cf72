//! The second hypervisor of a machine, for trying moves: the profile `second-host` of services.yaml. Its Docker engine is started by
//! `tests/second-engine`.

use std::path::PathBuf;

use crate::settings::Settings;

/// The profile.
pub(super) const PROFILE: &str = "second-host";
/// The service of its agent, whose folder on the host holds the engine.
const AGENT: &str = "nova-docker-agent-2";

/// Its name in Nova.
pub(super) fn name(settings: &Settings) -> String {
    format!("{}-2", settings.config.configuration.compute.host)
}

/// What `tests/second-engine` is called with.
pub(super) fn folder(settings: &Settings) -> PathBuf {
    settings.paths.host_folder(AGENT)
}

/// The socket of its engine.
pub(super) fn socket(settings: &Settings) -> PathBuf {
    folder(settings).join("engine/docker.sock")
}
