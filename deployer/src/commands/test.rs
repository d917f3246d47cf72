//! `test`: all tests. The live ones run on a platform of their own (`tests/platform.yaml`), which is made by the same
//! commands a user gives, and removed after.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use reqwest::Body;

use crate::cli::{Test, TestPart};
use crate::cloud::Cloud;
use crate::engine::Docker;
use crate::plan::platform::Platform;
use crate::settings::Settings;

/// The configuration of the test platform, from the project's root.
const PLATFORM: &str = "tests/platform.yaml";
/// The profile with Tempest.
const PROFILE: &str = "test";
/// Live tests at a time: they wait more than they work.
const LIVE_THREADS: &str = "--test-threads=4";
/// Tempest's workers: they wait more than they work.
const TEMPEST_WORKERS: &str = "4";

/// How the parts ended.
#[derive(Default)]
struct Verdicts(Vec<(&'static str, bool, f64)>);

impl Verdicts {
    /// Runs one part and notes how it ended; the next part runs in any case.
    fn note(&mut self, part: &'static str, start: Instant, ended: Result<bool>) {
        let passed = ended.unwrap_or_else(|error| {
            // What went wrong belongs to the part's output.
            crate::exit::report(&error);
            false
        });
        self.0.push((part, passed, start.elapsed().as_secs_f64()));
    }

    fn all_passed(&self) -> bool {
        self.0.iter().all(|(_, passed, _)| *passed)
    }

    fn summary(&self) -> String {
        let line = |(part, passed, seconds): &(&str, bool, f64)| {
            format!("{part:<40} {:<6} {seconds:6.0} s", if *passed { "passed" } else { "FAILED" })
        };
        self.0.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

pub(super) async fn run(settings: &Settings, test: &Test) -> Result<ExitCode> {
    let bed = Bed::new(settings)?;
    let wanted = |part| test.only.is_empty() || test.only.contains(&part);
    let mut verdicts = Verdicts::default();

    if wanted(TestPart::Cargo) {
        let start = Instant::now();
        verdicts.note("unit, golden, replay, scripted", start, bed.cargo());
    }
    if wanted(TestPart::Live) || wanted(TestPart::Tempest) {
        let start = Instant::now();
        // What a broken run left behind must not be found by this one.
        bed.octopenstack(&["rm"])?;
        verdicts.note("demo on the test platform", start, bed.octopenstack(&["demo"]).map(|s| s.success()));
        if verdicts.all_passed() {
            live(&bed, test, &mut verdicts).await;
        }
        if !verdicts.all_passed() {
            bed.octopenstack(&["logs", "--tail", "60", "nova-docker-agent"])?;
        }
        if !test.keep {
            let start = Instant::now();
            verdicts.note("rm leaves nothing", start, bed.octopenstack(&["rm"]).map(|s| s.success()));
        }
    }
    settings.printer.data(&format!("\n{}", verdicts.summary()));
    Ok(if verdicts.all_passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The parts that need the platform.
async fn live(bed: &Bed, test: &Test, verdicts: &mut Verdicts) {
    let wanted = |part| test.only.is_empty() || test.only.contains(&part);
    if wanted(TestPart::Live) {
        let start = Instant::now();
        verdicts.note("live tests", start, bed.live());
    }
    if wanted(TestPart::Tempest) {
        let start = Instant::now();
        verdicts.note("tempest", start, bed.tempest().await);
    }
}

/// Where tests run: the project's root, this program, and the arguments that choose the test platform.
struct Bed {
    root: PathBuf,
    binary: PathBuf,
    arguments: Vec<String>,
    settings: Settings,
}

impl Bed {
    fn new(settings: &Settings) -> Result<Self> {
        let root = std::path::absolute(&settings.paths.root)?;
        let configuration = root.join(PLATFORM);
        let binary = std::env::current_exe().context("cannot find this program's own file")?;
        let path = |path: &Path| path.display().to_string();
        let arguments = [
            "--config",
            &path(&root),
            "--configuration",
            &path(&configuration),
            "--profile",
            PROFILE,
            "--yes",
        ]
        .map(str::to_owned)
        .to_vec();
        let settings = Settings::resolve(crate::cli::Global {
            config: Some(root.clone()),
            configuration: Some(configuration),
            project: None,
            sets: Vec::new(),
            profiles: vec![PROFILE.to_owned()],
            yes: true,
            quiet: false,
            state_dir: settings.paths.all_state.clone(),
            log_dir: settings.paths.all_logs.clone(),
        })?;
        Ok(Self { root, binary, arguments, settings })
    }

    /// This program on the test platform, as a user runs it.
    fn octopenstack(&self, arguments: &[&str]) -> Result<ExitStatus> {
        let mut command = Command::new(&self.binary);
        command.args(&self.arguments).args(arguments).stdin(Stdio::null());
        command.status().with_context(|| format!("cannot run {}", self.binary.display()))
    }

    fn cargo(&self) -> Result<bool> {
        let mut command = Command::new("cargo");
        command.args(["test", "--release", "--locked", "--workspace", "--quiet"]).current_dir(&self.root);
        Ok(command.status().context("cannot run cargo")?.success())
    }

    /// The live tests, and those of the agent's wiring on the platform's own switch.
    fn live(&self) -> Result<bool> {
        Ok(self.ignored("live", LIVE_THREADS)? & self.ignored("ovs", "--test-threads=1")?)
    }

    /// The tests of a target that need the platform.
    fn ignored(&self, target: &str, threads: &str) -> Result<bool> {
        let platform = Platform::new(&self.settings.config, &self.settings.profiles);
        let mut command = Command::new("cargo");
        command
            .args(["test", "--release", "--locked", "--workspace", "--test", target, "--", "--ignored"])
            .arg(threads)
            .current_dir(&self.root)
            .env("OCTOPENSTACK_TEST_BINARY", &self.binary)
            .env("OVS_CONTAINER", platform.container("openvswitch"))
            // A failed test says what it saw; the addresses of a stripped binary say nothing.
            .env("RUST_LIB_BACKTRACE", "0")
            .env("OCTOPENSTACK_TEST_ARGUMENTS", serde_json::to_string(&self.arguments)?);
        Ok(command.status().context("cannot run cargo")?.success())
    }

    /// The list is `tests/tempest/include.txt`; what is left out, and why, `tests/tempest/skips.txt`.
    async fn tempest(&self) -> Result<bool> {
        let docker = Docker::connect().await?;
        let cloud = super::demo::cloud(&self.settings)?;
        let (image, flavor) = super::demo::resources(&self.settings, &cloud).await?;
        let other_image = self.second_image(&docker, &cloud).await?;
        let other_flavor = cloud.ensure_flavor("c2", 1, 128, 1).await?;
        let public = super::demo::public_network(&self.settings, &cloud).await?;
        let platform = Platform::new(&self.settings.config, &self.settings.profiles);
        let command = ["run-tempest", &image, &other_image, &flavor, &other_flavor, &public, TEMPEST_WORKERS]
            .map(str::to_owned);
        Ok(docker.exec(&platform.container("tempest"), command.to_vec()).await? == 0)
    }

    /// Tempest lists servers by image, so it needs two.
    async fn second_image(&self, docker: &Docker, cloud: &Cloud) -> Result<String> {
        const NAME: &str = "demo-2";
        if let Some(image) = cloud.find_image(NAME).await? {
            return Ok(image);
        }
        let name = Platform::new(&self.settings.config, &self.settings.profiles).image("demo-instance");
        let archive = docker.save_image(&name).map_err(std::io::Error::other);
        Ok(cloud.upload_image(NAME, Body::wrap_stream(archive)).await?)
    }
}
