//! The two files that describe a platform: `services.yaml` (WHAT runs) and `configuration.yaml` (HOW it is set).
//!
//! [`load`] reads both, checks them alone and against each other, and reports all errors at once.

mod configuration;
mod graph;
mod problem;
mod releases;
mod services;
mod units;
mod validate;
mod yaml;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub use configuration::*;
pub use graph::cycle;
pub use problem::{Place, Problem, Problems, did_you_mean};
pub use services::*;
pub use units::{Memory, Subnet};
pub use yaml::{At, Entries};

/// Name of the file that says what runs.
pub const SERVICES: &str = "services.yaml";
/// Name of the file that says how it is set.
pub const CONFIGURATION: &str = "configuration.yaml";
/// Folder of the templates.
pub const TEMPLATES: &str = "dockerfiles";

/// Where the files are, and what the command line says beside them.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Folder with `services.yaml`, `configuration.yaml` and `dockerfiles/`.
    pub dir: PathBuf,
    /// Another `configuration.yaml`.
    pub configuration: Option<PathBuf>,
    /// `key.of.configuration=value`, applied last.
    pub sets: Vec<String>,
}

/// Both files, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// What runs.
    pub services: Services,
    /// How it is set.
    pub configuration: Configuration,
    /// Folder of the templates.
    pub templates: PathBuf,
}

impl Config {
    /// Services that are switched on and belong to no profile, or to one of `profiles`; in the order of the file.
    pub fn enabled<'a>(&'a self, profiles: &'a [String]) -> impl Iterator<Item = (&'a str, &'a Service)> {
        self.services
            .services
            .iter()
            .filter(move |(name, service)| {
                is_enabled(&self.configuration, &name.value, service)
                    && service.profile.as_ref().is_none_or(|profile| profiles.contains(profile))
            })
            .map(|(name, service)| (name.value.as_str(), service))
    }
}

fn is_enabled(configuration: &Configuration, name: &str, service: &Service) -> bool {
    configuration.services.get(name).and_then(|over| over.enabled).unwrap_or(service.enabled)
        && service.is_of(configuration.networks.mechanism)
}

/// Reads and checks both files.
///
/// # Errors
/// Every problem of both files, each with its place.
pub fn load(sources: &Sources) -> Result<Config, Problems> {
    let mut problems = Vec::new();
    let path = sources.configuration.clone().unwrap_or_else(|| sources.dir.join(CONFIGURATION));
    let configuration_name = shown(&path, &sources.dir);
    let services_text = read(&sources.dir.join(SERVICES), SERVICES, &mut problems);
    let configuration_text = read(&path, &configuration_name, &mut problems);
    let (Some(services_text), Some(configuration_text)) = (services_text, configuration_text) else {
        return Err(Problems(problems));
    };
    let services = yaml::parse::<Services>(SERVICES, &services_text);
    let configuration = yaml::parse::<Configuration>(&configuration_name, &configuration_text);
    problems.extend(services.problems);
    problems.extend(configuration.problems);
    let (Some(mut what), Some(mut how)) = (services.value, configuration.value) else {
        return Err(Problems(problems));
    };
    if let Err(problem) = apply_sets(&mut how, &sources.sets) {
        problems.push(problem);
    }
    let templates = sources.dir.join(TEMPLATES);
    let releases = releases::known(&what, &templates);
    // Of an unknown release only that is said: its files are missing for that reason.
    if releases.is_empty() || releases.contains(how.release.as_str()) {
        releases::choose(&mut what, &how.release);
    }
    let blanked: BTreeSet<String> = services.blanked.into_iter().chain(configuration.blanked).collect();
    let files = validate::Files {
        services_text: &services_text,
        configuration_name: &configuration_name,
        configuration_text: &configuration_text,
        template_exists: &|path| templates.join(path).is_file(),
        blanked: &blanked,
        releases: &releases,
    };
    problems.extend(validate::check(&what, &how, &files));
    if problems.is_empty() {
        Ok(Config { services: what, configuration: how, templates })
    } else {
        problems.sort_by(|a, b| (&a.file, a.place).cmp(&(&b.file, b.place)));
        Err(Problems(problems))
    }
}

fn shown(path: &Path, dir: &Path) -> String {
    path.strip_prefix(dir).unwrap_or(path).display().to_string()
}

fn read(path: &Path, name: &str, problems: &mut Vec<Problem>) -> Option<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) => {
            let folder = path.parent().unwrap_or(Path::new(".")).display().to_string();
            let message = format!("cannot be read in {folder}: {error}");
            problems.push(Problem::new(name, "", Place::default(), message, None));
            None
        }
    }
}

/// Lays `key=value` pairs over the configuration. Places are lost for all that goes through here.
fn apply_sets(configuration: &mut Configuration, sets: &[String]) -> Result<(), Problem> {
    if sets.is_empty() {
        return Ok(());
    }
    let wrong = |set: &str, message: String| {
        Problem::new(&format!("--set {set}"), "", Place::default(), message, None)
    };
    let all = sets.join(" --set ");
    let mut tree = serde_json::to_value(&*configuration).map_err(|error| wrong(&all, error.to_string()))?;
    for set in sets {
        let (key, value) =
            set.split_once('=').ok_or_else(|| wrong(set, "must have the form key=value".into()))?;
        let value = yaml::scalar(value).map_err(|message| wrong(set, message))?;
        let mut at = &mut tree;
        for part in key.split('.') {
            let object =
                at.as_object_mut().ok_or_else(|| wrong(set, format!("`{part}` lies below a plain value")))?;
            at = object.entry(part).or_insert_with(|| serde_json::json!({}));
        }
        *at = value;
    }
    *configuration = serde_json::from_value(tree).map_err(|error| wrong(&all, error.to_string()))?;
    Ok(())
}

#[cfg(test)]
mod tests;
