//! The command line: clap's structs, and what clap cannot say.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Builds and runs an OpenStack control plane in Docker containers.
#[derive(Debug, Parser)]
#[command(name = "octopenstack", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// The command line of this process; ends the process on a usage error or a request for help.
    pub(crate) fn from_environment() -> Self {
        Cli::parse_from(gathered(std::env::args().collect()))
    }
}

/// Options that may be given several times, before and after the verb. clap would forget those before it.
const REPEATABLE: [&str; 2] = ["--set", "--profile"];

/// Moves repeatable options to the front, in their order. What follows `openstack` belongs to the client.
fn gathered(arguments: Vec<String>) -> Vec<String> {
    let mut arguments = arguments.into_iter();
    let mut front: Vec<String> = arguments.next().into_iter().collect();
    let mut rest = Vec::new();
    while let Some(argument) = arguments.next() {
        if REPEATABLE.contains(&argument.as_str()) {
            front.push(argument);
            front.extend(arguments.next());
        } else if REPEATABLE.iter().any(|option| argument.starts_with(&format!("{option}="))) {
            front.push(argument);
        } else {
            let foreign = ["openstack", "os", "--"].contains(&argument.as_str());
            rest.push(argument);
            if foreign {
                rest.extend(arguments.by_ref());
            }
        }
    }
    front.extend(rest);
    front
}

/// Options of every verb.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Folder with services.yaml, configuration.yaml and dockerfiles/ [default: the launcher's folder]
    #[arg(long, global = true, value_name = "DIR", env = "OCTOPENSTACK_ROOT", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    /// Another configuration.yaml
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) configuration: Option<PathBuf>,
    /// Work on this project instead of configuration.yaml's
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) project: Option<String>,
    /// Set one value of configuration.yaml, e.g. --set services.nova-api.workers=2
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
    /// Include services of this profile
    #[arg(long = "profile", global = true, value_name = "NAME")]
    pub(crate) profiles: Vec<String>,
    /// Answer every question with yes
    #[arg(long, short = 'y', global = true)]
    pub(crate) yes: bool,
    /// Say nothing but errors
    #[arg(long, short = 'q', global = true)]
    pub(crate) quiet: bool,
    /// State of the platforms: secrets and rendered files
    #[arg(long, global = true, value_name = "DIR", default_value = "/var/lib/octopenstack", hide = true)]
    pub(crate) state_dir: PathBuf,
    /// Logs of the services
    #[arg(long, global = true, value_name = "DIR", default_value = "/var/log/octopenstack", hide = true)]
    pub(crate) log_dir: PathBuf,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build the images that changed
    Build {
        /// Only these images, and those they sit on
        images: Vec<String>,
        /// Build again even when nothing changed
        #[arg(long)]
        no_cache: bool,
    },
    /// Create and start what is missing or changed, in the order of dependencies
    Run(Converge),
    /// Make databases, users, jobs and Keystone's catalogue again on the running platform
    Init,
    /// Build, run and init: from nothing to a working cloud
    Up(Converge),
    /// Stop the services, dependants first
    Stop(Selection),
    /// Start stopped services and wait until they are ready
    Start(Selection),
    /// Remove the platform: containers, jobs, network, rendered files; volumes after asking
    Rm {
        /// Keep volumes, secrets and logs without asking
        #[arg(long, conflicts_with = "yes")]
        keep_volumes: bool,
        /// Remove the images too
        #[arg(long)]
        images: bool,
    },
    /// Show every service with its state
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Draw the services that run, their ports and who needs whom, as an SVG file
    Graph {
        /// The file to write, `-` for standard output
        #[arg(default_value = "platform.svg")]
        file: PathBuf,
        /// As services.yaml says it, without a look at what runs
        #[arg(long)]
        planned: bool,
    },
    /// Show the services' logs
    Logs {
        #[command(flatten)]
        selection: Selection,
        /// Go on with new lines
        #[arg(long, short)]
        follow: bool,
        /// Lines per service from the end, or `all`
        #[arg(long, default_value = "100", value_name = "N")]
        tail: String,
    },
    /// Print the credentials of a user as shell variables
    Openrc {
        /// This user's, e.g. demo [default: the administrator's]
        #[arg(long)]
        user: Option<String>,
    },
    /// Print clouds.yaml with the credentials of all users
    Clouds,
    /// Run the OpenStack client as administrator
    #[command(alias = "os", disable_help_flag = true)]
    Openstack {
        /// Arguments of the client
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Print what completes this command line in a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Check services.yaml, configuration.yaml and every template
    Validate,
    /// Write every rendered file into a folder, with placeholders for secrets
    Render {
        /// The folder, made when absent
        #[arg(default_value = "rendered")]
        dir: PathBuf,
    },
    /// Bring the platform up and boot the first instance
    Demo,
    /// Run all tests, the live ones on a platform of their own
    Test(Test),
    /// Measure the agent beside nova-compute, or the platform itself, and print a table with ratios
    #[command(subcommand)]
    Bench(Bench),
}

/// What `test` runs.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Leave the test platform running
    #[arg(long)]
    pub(crate) keep: bool,
    /// Only these parts
    #[arg(long = "only", value_enum, value_name = "PART")]
    pub(crate) only: Vec<TestPart>,
}

/// A part of the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TestPart {
    /// Unit, golden, replay and scripted tests
    Cargo,
    /// Live tests on the test platform
    Live,
    /// The dashboard of the test platform in a browser
    Browser,
    /// Tempest on the test platform
    Tempest,
}

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Boots: the agent, nova-compute's fake driver and docker run, in turn
    Boot {
        /// Boots one at a time
        #[arg(long, default_value_t = 20)]
        count: u32,
        /// Boots at once
        #[arg(long, default_value_t = 50)]
        concurrent: u32,
    },
    /// Networks: instances against containers on a plain Docker bridge, and boots with a port against boots without
    Network {
        /// Boots with a port, and as many without
        #[arg(long, default_value_t = 10)]
        count: u32,
    },
    /// The console: from a key to its echo, against docker exec; and pages of the dashboard
    Console {
        /// Keys by the console, and as many by docker exec
        #[arg(long, default_value_t = 100)]
        keys: u32,
    },
    /// The platform: up after rm, a second up, memory, images
    Up,
}

/// Services a verb works on.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// What `run` and `up` converge.
#[derive(Debug, Args)]
pub(crate) struct Converge {
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// Show what would be done and stop
    #[arg(long)]
    pub(crate) plan: bool,
}

impl Converge {
    /// All services, carried out.
    pub(crate) fn everything() -> Self {
        Self { selection: Selection { services: Vec::new() }, plan: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn settings_before_and_after_the_verb_all_count() {
        let cli = Cli::parse_from(gathered(words(
            "octopenstack --set a=1 up --yes --set=b=2 --profile test keystone",
        )));
        assert_eq!(cli.global.sets, ["a=1", "b=2"]);
        assert_eq!(cli.global.profiles, ["test"]);
        assert!(matches!(cli.command, Command::Up(converge) if converge.selection.services == ["keystone"]));
    }

    #[test]
    fn the_clients_options_stay_with_the_client() {
        let cli = Cli::parse_from(gathered(words("octopenstack --set a=1 os flavor create --set x --help")));
        assert_eq!(cli.global.sets, ["a=1"]);
        let Command::Openstack { arguments } = cli.command else { panic!("another verb") };
        assert_eq!(arguments, words("flavor create --set x --help"));
    }
}
