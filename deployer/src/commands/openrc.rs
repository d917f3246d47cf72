//! `openrc`: the administrator's credentials for a shell. The only place that shows a password, to standard output on purpose.

use anyhow::{Context, Result};

use crate::bootstrap::secrets;
use crate::plan::platform::{ADMIN_SECRET, Platform};
use crate::settings::Settings;

pub(super) fn run(settings: &Settings) -> Result<()> {
    let platform = Platform::new(&settings.config, &settings.profiles);
    let secrets = secrets::read(&settings.paths.secrets())?;
    let password = secrets.get(ADMIN_SECRET).with_context(|| {
        format!("the platform {} does not exist yet; `octopenstack up` makes it", settings.project())
    })?;
    let configuration = &settings.config.configuration;
    for (name, value) in [
        ("OS_AUTH_TYPE", "password"),
        ("OS_AUTH_URL", &public_identity(&platform)?),
        ("OS_IDENTITY_API_VERSION", "3"),
        ("OS_USERNAME", &configuration.admin.user),
        ("OS_PASSWORD", password.reveal()),
        ("OS_PROJECT_NAME", &configuration.admin.project),
        ("OS_USER_DOMAIN_NAME", "Default"),
        ("OS_PROJECT_DOMAIN_NAME", "Default"),
        ("OS_REGION_NAME", &configuration.region),
        ("OS_INTERFACE", "public"),
    ] {
        settings.printer.data(&format!("export {name}='{}'", value.replace('\'', "'\\''")));
    }
    Ok(())
}

/// Keystone's public URL with its path.
pub(super) fn public_identity(platform: &Platform) -> Result<String> {
    let keystone = platform.identity.as_ref().context("no service has a catalogue entry of type identity")?;
    let api = platform.services[keystone].api.as_ref().context("Keystone has no API")?;
    let path = api.catalogue.as_ref().map_or("", |catalogue| catalogue.path.as_str());
    Ok(format!("{}{path}", platform.public_url(api)))
}
