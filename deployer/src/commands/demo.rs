//! `demo`.
use crate::settings::Settings;
use anyhow::Result;
pub(super) async fn run(_settings: &Settings) -> Result<()> {
    Ok(())
}
