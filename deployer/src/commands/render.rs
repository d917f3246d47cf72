//! `render`: every rendered file in a folder, to look at or to compare. Secrets are placeholders.

use std::path::Path;

use anyhow::{Context, Result};

use crate::settings::Settings;

pub(super) fn run(settings: &Settings, dir: &Path) -> Result<()> {
    let files = super::validate::templates(settings)?;
    for (name, content) in &files {
        let path = dir.join(name);
        let folder = path.parent().unwrap_or(dir);
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    settings.printer.say(&format!("{} files written to {}", files.len(), dir.display()));
    Ok(())
}
