//! What differs between releases of OpenStack is data: a file of an image whose name holds `{{ release }}`. The releases
//! that can be deployed are those that have all such files.

use std::collections::BTreeSet;
use std::path::Path;

use super::Services;

/// What stands for the release in the name of an image's file.
pub(super) const MARK: &str = "{{ release }}";

/// The releases that have every file whose name holds [`MARK`]; empty when there is no such file.
pub(super) fn known(services: &Services, templates: &Path) -> BTreeSet<String> {
    let marked = services
        .images
        .iter()
        .flat_map(|(_, image)| &image.files)
        .filter_map(|file| releases_of(file, templates));
    marked.reduce(|known, of_file| &known & &of_file).unwrap_or_default()
}

/// Puts `release` into the names.
pub(super) fn choose(services: &mut Services, release: &str) {
    for file in services.images.values_mut().flat_map(|image| &mut image.files) {
        file.value = file.value.replace(MARK, release);
    }
}

/// The releases for which a file called `file` is there; none when its name does not depend on the release.
fn releases_of(file: &str, templates: &Path) -> Option<BTreeSet<String>> {
    let (before, after) = file.split_once(MARK)?;
    let (folder, before) = before.rsplit_once('/').unwrap_or((".", before));
    let entries = std::fs::read_dir(templates.join(folder)).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let release = |name: String| Some(name.strip_prefix(before)?.strip_suffix(after)?.to_owned());
    Some(names.filter_map(release).collect())
}
