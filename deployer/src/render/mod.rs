//! Templates to files: everything a container reads is rendered here before anything is touched.

mod context;

use std::path::{Path, PathBuf};

use common::config::{Place, Problem, Problems, SERVICES, Service, TEMPLATES};
use tera::{ErrorKind, Tera};

#[cfg(test)]
pub(crate) use context::public_context;
pub(crate) use context::{command_context, image_context, service_context};

use crate::bootstrap::secrets::Secrets;
use crate::plan::platform::Platform;

/// Templates that cannot be used; each text names file, line and column.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Errors in templates, all that were found.
    #[error(transparent)]
    Templates(Problems),
}

impl Error {
    fn one(problem: Problem) -> Self {
        Error::Templates(Problems(vec![problem]))
    }
}

/// All templates below `dockerfiles/`.
#[derive(Debug)]
pub(crate) struct Templates {
    tera: Tera,
    dir: PathBuf,
}

/// A file as a container will see it. The content may hold secrets, so it is not shown by `Debug`.
#[derive(Clone)]
pub(crate) struct File {
    /// Path in the container.
    pub(crate) path: String,
    /// Content.
    pub(crate) content: Vec<u8>,
}

impl Templates {
    /// Reads every template below `dir`.
    pub(crate) fn load(dir: &Path) -> Result<Self, Error> {
        let mut sources = Vec::new();
        collect(dir, dir, &mut sources)?;
        let mut tera = Tera::default();
        tera.autoescape_on(Vec::<String>::new());
        let broken: Vec<Problem> =
            sources.iter().filter_map(|(name, text)| syntax_error(name, text, dir)).collect();
        if !broken.is_empty() {
            return Err(Error::Templates(Problems(broken)));
        }
        tera.add_raw_templates(sources).map_err(|error| Error::one(problem(&error, dir)))?;
        Ok(Templates { tera, dir: dir.to_owned() })
    }

    /// One file: rendered when its name ends in `.tera`, taken as it is otherwise.
    pub(crate) fn render(&self, template: &str, context: &tera::Context) -> Result<Vec<u8>, Error> {
        if template.ends_with(".tera") {
            return match self.tera.render(template, context) {
                Ok(text) => Ok(text.into_bytes()),
                Err(error) => Err(Error::one(problem(&error, &self.dir))),
            };
        }
        let path = self.dir.join(template);
        std::fs::read(&path).map_err(|source| Error::Io { path, source })
    }

    /// A value of `services.yaml` that may hold `{{ … }}`.
    pub(crate) fn value(&self, what: &str, text: &str, context: &tera::Context) -> Result<String, Error> {
        if !text.contains("{{") && !text.contains("{%") {
            return Ok(text.to_owned());
        }
        self.tera.render_str(text, context, false).map_err(|error| {
            let message = format!("{what}, `{text}`: {}", message(&error));
            Error::one(Problem::new(SERVICES, "", Place::default(), message, None))
        })
    }

    /// The configuration files of a service, in the order of their paths.
    pub(crate) fn files(
        &self,
        platform: &Platform,
        secrets: &Secrets,
        (name, service): (&str, &Service),
        host_folder: &Path,
    ) -> Result<Vec<File>, Error> {
        let context = service_context(platform, secrets, (name, service), host_folder);
        let mut files = Vec::new();
        let mut broken = Vec::new();
        for (path, template) in service.config.iter() {
            match self.render(template, &context) {
                Ok(content) => files.push(File { path: path.value.clone(), content }),
                Err(Error::Templates(errors)) => broken.extend(errors.0),
                Err(other) => return Err(other),
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        if broken.is_empty() { Ok(files) } else { Err(Error::Templates(Problems(broken))) }
    }
}

fn collect(root: &Path, dir: &Path, sources: &mut Vec<(String, String)>) -> Result<(), Error> {
    let io = |source| Error::Io { path: dir.to_owned(), source };
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.is_dir() {
            collect(root, &path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "tera") {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            let text =
                std::fs::read_to_string(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
            sources.push((name, text));
        }
    }
    Ok(())
}

/// Each file is parsed alone first, so that all broken ones are named.
fn syntax_error(name: &str, text: &str, dir: &Path) -> Option<Problem> {
    let error = Tera::default().add_raw_template(name, text).err()?;
    matches!(error.kind(), ErrorKind::SyntaxError(_)).then(|| problem(&error, dir))
}

/// Tera's error in the form all errors of the configuration have.
fn problem(error: &tera::Error, dir: &Path) -> Problem {
    let (ErrorKind::SyntaxError(report) | ErrorKind::RenderingError(report)) = error.kind() else {
        return Problem::new(TEMPLATES, "", Place::default(), error.to_string(), None);
    };
    let text = std::fs::read_to_string(dir.join(report.filename())).unwrap_or_default();
    let place = Place { line: report.span().start_line, column: report.span().start_col + 1 };
    Problem::new(&format!("{TEMPLATES}/{}", report.filename()), &text, place, message(error), None)
}

/// What is wrong, without the place.
fn message(error: &tera::Error) -> String {
    match error.kind() {
        ErrorKind::SyntaxError(report) | ErrorKind::RenderingError(report) => report.message().to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
