//! `openrc`: the credentials of a user for a shell. `clouds`: those of all for the OpenStack clients and SDKs.

use anyhow::Result;

use crate::logins::{self, Login};
use crate::settings::Settings;

pub(super) fn openrc(settings: &Settings, user: Option<&str>) -> Result<()> {
    settings.printer.data(&Login::named(settings, user)?.openrc());
    Ok(())
}

pub(super) fn clouds(settings: &Settings) -> Result<()> {
    settings.printer.data(logins::clouds(&Login::all(settings)?).trim_end());
    Ok(())
}
