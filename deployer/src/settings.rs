//! Flags, environment and files become [`Settings`]; the only place where they meet.

use std::path::{Path, PathBuf};

use common::config::{self, Config, Problems, Sources};

use crate::cli::Global;
use crate::printer::Printer;

/// What every command works with.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Both files, checked.
    pub(crate) config: Config,
    /// What the command line laid over the configuration (`key=value`), but for the project's name.
    pub(crate) sets: Vec<String>,
    /// Profiles asked for.
    pub(crate) profiles: Vec<String>,
    /// Questions are answered with yes.
    pub(crate) yes: bool,
    /// Where talk and data go.
    pub(crate) printer: Printer,
    /// Folders of this project.
    pub(crate) paths: Paths,
}

/// Folders of one project.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    /// The project's root: services.yaml and what belongs to it.
    pub(crate) root: PathBuf,
    /// Logs of all projects.
    pub(crate) all_logs: PathBuf,
    /// State of all projects.
    pub(crate) all_state: PathBuf,
    /// Secrets, rendered files, lock.
    pub(crate) state: PathBuf,
    /// Logs.
    pub(crate) logs: PathBuf,
    /// Programs that go into images: those built beside this one.
    pub(crate) binaries: PathBuf,
}

impl Paths {
    pub(crate) fn secrets(&self) -> PathBuf {
        self.state.join("secrets.yaml")
    }

    /// Where a service keeps what dockerd must find at the same path as the service.
    pub(crate) fn host_folder(&self, service: &str) -> PathBuf {
        self.state.join(service)
    }

    pub(crate) fn rendered(&self) -> PathBuf {
        self.state.join("config")
    }
}

/// The default project logs straight into the log folder, others below it, so that two platforms never share a file.
const DEFAULT_PROJECT: &str = "octo";

impl Settings {
    /// Reads and checks everything.
    pub(crate) fn resolve(global: Global) -> Result<Settings, Problems> {
        let root = global.config.unwrap_or_else(|| PathBuf::from("."));
        let project = global.project.map(|project| format!("project={project}"));
        let sets = global.sets;
        let sources = Sources {
            dir: root.clone(),
            configuration: global.configuration,
            sets: sets.iter().cloned().chain(project).collect(),
        };
        let config = config::load(&sources)?;
        let project = config.configuration.project.as_str();
        let all_logs = global.log_dir;
        let logs = if project == DEFAULT_PROJECT { all_logs.clone() } else { all_logs.join(project) };
        let paths = Paths {
            root,
            all_logs,
            state: global.state_dir.join(project),
            all_state: global.state_dir,
            logs,
            binaries: std::env::current_exe()
                .ok()
                .as_deref()
                .and_then(Path::parent)
                .map(Path::to_owned)
                .unwrap_or_default(),
        };
        let printer = Printer::new(global.quiet);
        Ok(Settings { config, sets, profiles: global.profiles, yes: global.yes, printer, paths })
    }

    pub(crate) fn project(&self) -> &str {
        &self.config.configuration.project
    }
}
