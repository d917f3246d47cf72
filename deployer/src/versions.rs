//! Which version of a package an image holds.

use std::path::Path;

use common::config::{Config, Image, Service};

/// Debian's list of installed packages in an image.
pub(crate) const DEBIAN: &str = "/var/lib/dpkg/status";

/// Our own version, when the service runs a program of this repository.
fn ours(image: &Image, service: &Service) -> Option<&'static str> {
    let program = service.command.first()?;
    image.binaries.iter().any(|binary| binary.value == *program).then_some(env!("CARGO_PKG_VERSION"))
}

/// What the files tell of a service's version, without a look at its image.
pub(crate) fn planned(config: &Config, service: &Service) -> Option<String> {
    let image = config.services.images.get(&service.image)?;
    match &service.package {
        Some(package) => locked(&config.templates, image, package),
        // A program of this repository has this program's version.
        None => ours(image, service).map(str::to_owned),
    }
}

/// The version that a lock file of the image pins `package` to.
fn locked(templates: &Path, image: &Image, package: &str) -> Option<String> {
    let locks = image.files.iter().filter(|file| file.ends_with(".lock"));
    locks
        .filter_map(|file| std::fs::read_to_string(templates.join(file.as_str())).ok())
        .find_map(|text| pinned(&text, package))
}

/// `package==version`, with or without options behind.
fn pinned(text: &str, package: &str) -> Option<String> {
    let version = text.lines().find_map(|line| line.strip_prefix(package)?.strip_prefix("=="))?;
    version.split([' ', ';', '\\']).next().map(str::to_owned)
}

/// The version of `package` in [`DEBIAN`], without epoch and Debian's own revision.
pub(crate) fn debian(text: &str, package: &str) -> Option<String> {
    let wanted = format!("Package: {package}");
    let mut lines = text.lines().skip_while(|line| *line != wanted).take_while(|line| !line.is_empty());
    let version = lines.find_map(|line| line.strip_prefix("Version: "))?;
    let version = version.split_once(':').map_or(version, |(_, version)| version);
    Some(version.rsplit_once('-').map_or(version, |(version, _)| version).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_found_by_its_whole_name() {
        let lock = "nova-client==1.0\nnova==34.0.0 \\\n    --hash=sha256:1\nnovax==2\n";
        assert_eq!(pinned(lock, "nova").as_deref(), Some("34.0.0"));
        assert_eq!(pinned(lock, "keystone"), None);
    }

    #[test]
    fn debians_version_is_shown_as_upstream_gave_it() {
        let status = "Package: haproxy\nVersion: 3.0.11-1+deb13u1\n\nPackage: mariadb-server-core\nStatus: x\nVersion: 1:11.8.6-0+deb13u1\n";
        assert_eq!(debian(status, "mariadb-server-core").as_deref(), Some("11.8.6"));
        assert_eq!(debian(status, "haproxy").as_deref(), Some("3.0.11"));
        assert_eq!(debian(status, "memcached"), None);
    }
}
