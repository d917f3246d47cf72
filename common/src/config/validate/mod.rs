//! Cross-checks between the two files. Pure: what it must know of the disk comes in through [`Files`].

mod host;
mod images;
mod networks;
mod services;

use std::collections::BTreeSet;

use super::problem::{Place, Problem, did_you_mean};
use super::{At, Configuration, SERVICES, Service, Services, is_enabled};

/// The files' texts, for snippets, and the one question about the disk.
pub(super) struct Files<'a> {
    pub(super) services_text: &'a str,
    pub(super) configuration_name: &'a str,
    pub(super) configuration_text: &'a str,
    pub(super) template_exists: &'a dyn Fn(&str) -> bool,
    /// Names that exist but could not be read; nothing may call them unknown.
    pub(super) blanked: &'a BTreeSet<String>,
    /// Releases that can be deployed; empty when nothing depends on the release.
    pub(super) releases: &'a BTreeSet<String>,
}

/// All problems of the two files taken together.
pub(super) fn check(services: &Services, configuration: &Configuration, files: &Files<'_>) -> Vec<Problem> {
    let mut checker = Checker { what: services, how: configuration, files, problems: Vec::new() };
    checker.images();
    checker.services();
    checker.dependencies();
    checker.addresses();
    checker.namespaces();
    checker.sysctls();
    checker.ports();
    // A part that could not be read may be the very one that would be missed.
    if files.blanked.is_empty() {
        checker.identity();
        checker.databases();
    }
    checker.configuration();
    checker.provider_subnet();
    checker.problems
}

struct Checker<'a> {
    what: &'a Services,
    how: &'a Configuration,
    files: &'a Files<'a>,
    problems: Vec<Problem>,
}

impl<'a> Checker<'a> {
    fn service_problem(&mut self, place: Place, message: String, help: Option<String>) {
        self.problems.push(Problem::new(SERVICES, self.files.services_text, place, message, help));
    }

    fn configuration_problem(&mut self, place: Place, message: String, help: Option<String>) {
        let Files { configuration_name, configuration_text, .. } = self.files;
        self.problems.push(Problem::new(configuration_name, configuration_text, place, message, help));
    }

    /// Services that are switched on, whatever their profile: a profile may be asked for at any time.
    fn enabled(&self) -> impl Iterator<Item = (&'a At<String>, &'a Service)> + use<'a> {
        let how = self.how;
        self.what.services.iter().filter(move |(name, service)| is_enabled(how, name, service))
    }

    /// Complains when `name` is none of `known`.
    fn known(&mut self, name: &At<String>, known: Vec<&str>, message: impl Fn(&str) -> String) {
        if known.contains(&name.as_str()) || self.files.blanked.contains(&name.value) {
            return;
        }
        let help = did_you_mean(name, known);
        self.service_problem(name.place, message(name), help);
    }

    fn template(&mut self, template: &At<String>, of: &str) {
        let escapes = template.starts_with('/') || template.split('/').any(|part| part == "..");
        if escapes {
            let message = format!("{of} names `{template}`, which lies outside {}/", super::TEMPLATES);
            self.service_problem(template.place, message, None);
        } else if !(self.files.template_exists)(template) {
            let message =
                format!("{of} names the file {}/{template}, which does not exist", super::TEMPLATES);
            self.service_problem(template.place, message, None);
        }
    }
}

/// Lower-case letters, digits and dashes, a letter first: fit for host names, labels and container names.
fn is_name(text: &str) -> bool {
    text.len() <= 40
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// Fit to stand in SQL without quoting.
fn is_identifier(text: &str) -> bool {
    text.len() <= 32
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
