//! `test`: all tests. The live ones run on a platform of their own (`tests/platform.yaml`), which is made by the same
//! commands a user gives, and removed after. What `--set` says holds for it, too: `test --set 'release="2026.1"'`.

mod said;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use common::config::Mechanism;
use futures_util::TryStreamExt;
use reqwest::Body;

use crate::cli::{Test, TestPart};
use crate::cloud::Cloud;
use crate::engine::Docker;
use crate::plan::platform::Platform;
use crate::settings::Settings;

use super::second_host;
use said::Said;

/// The configuration of the test platform, from the project's root.
const PLATFORM: &str = "tests/platform.yaml";
/// The profile with Tempest and the browser.
const PROFILE: &str = "test";
/// Starts and stops the Docker engine of the second hypervisor, from the project's root.
const SECOND_ENGINE: &str = "tests/second-engine";
/// Live tests at a time: all of them. Each waits for its turn (`tests/live/gate.rs`).
const LIVE_THREADS: &str = "--test-threads=200";
/// Tempest's workers: they wait more than they work, and more of them end closer together.
const TEMPEST_WORKERS: &str = "6";

/// How a part ended, and what it said last.
struct Ended {
    passed: bool,
    said: Said,
}

impl Ended {
    /// Its output stays where it is.
    fn silently(passed: bool) -> Self {
        Self { passed, said: Said::default() }
    }
}

/// How the parts ended.
#[derive(Default)]
struct Verdicts(Vec<(&'static str, f64, Ended)>);

impl Verdicts {
    /// Notes how a part ended; the next part runs in any case.
    fn note(&mut self, part: &'static str, start: Instant, ended: Result<Ended>) {
        let ended = ended.unwrap_or_else(|error| {
            // What went wrong belongs to the part's output.
            crate::exit::report(&error);
            Ended { passed: false, said: Said::from(format!("{error:#}")) }
        });
        self.0.push((part, start.elapsed().as_secs_f64(), ended));
    }

    fn all_passed(&self) -> bool {
        self.0.iter().all(|(_, _, ended)| ended.passed)
    }

    /// What the failed parts said last, which may be far up by now, and a line for each part.
    fn summary(&self) -> String {
        let failed = self.0.iter().filter(|(_, _, ended)| !ended.passed);
        let said = failed.map(|(part, _, ended)| format!("== {part}, at its end:\n{}\n", ended.said));
        let line = |(part, seconds, ended): &(&str, f64, Ended)| {
            format!("{part:<40} {:<6} {seconds:6.0} s", if ended.passed { "passed" } else { "FAILED" })
        };
        said.chain(self.0.iter().map(line)).collect::<Vec<_>>().join("\n")
    }
}

pub(super) async fn run(settings: &Settings, test: &Test) -> Result<ExitCode> {
    let bed = Bed::new(settings)?;
    let wanted = |part| test.only.is_empty() || test.only.contains(&part);
    let mut verdicts = Verdicts::default();

    if wanted(TestPart::Cargo) {
        let start = Instant::now();
        verdicts.note("unit, golden, replay, scripted", start, bed.cargo().await);
    }
    if [TestPart::Live, TestPart::Browser, TestPart::Tempest].into_iter().any(wanted) {
        let start = Instant::now();
        // What a broken run left behind must not be found by this one.
        bed.remove()?;
        verdicts.note("demo on the test platform", start, bed.demo().await.map(Ended::silently));
        if verdicts.all_passed() {
            live(&bed, test, &mut verdicts).await;
        }
        if !verdicts.all_passed() {
            bed.octopenstack(&["logs", "--tail", "60", "nova-docker-agent"])?;
        }
        if !test.keep {
            let start = Instant::now();
            verdicts.note("rm leaves nothing", start, bed.remove().map(Ended::silently));
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
        verdicts.note("live tests", start, bed.live().await);
    }
    if wanted(TestPart::Browser) {
        let start = Instant::now();
        verdicts.note("dashboard in a browser", start, bed.browser().await);
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
        let mut arguments = [
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
        let sets = settings.sets.clone();
        arguments.extend(sets.iter().flat_map(|set| ["--set".to_owned(), set.clone()]));
        let settings = Settings::resolve(crate::cli::Global {
            config: Some(root.clone()),
            configuration: Some(configuration),
            project: None,
            sets,
            profiles: [PROFILE, second_host::PROFILE].map(str::to_owned).to_vec(),
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

    /// The platform, and its second hypervisor. That one takes no servers until a test wants it to: most tests look at the
    /// containers of the first.
    async fn demo(&self) -> Result<bool> {
        let started = self.second_engine("start")?
            && self.octopenstack(&["demo"])?.success()
            && self.octopenstack(&["--profile", second_host::PROFILE, "up"])?.success();
        if started {
            super::demo::cloud(&self.settings)?
                .disable_compute(&second_host::name(&self.settings), "for the tests of two hosts")
                .await?;
        }
        Ok(started)
    }

    /// Takes the platform away, and the second hypervisor's engine with its containers.
    fn remove(&self) -> Result<bool> {
        // Its data is below the platform's.
        let stopped = self.second_engine("stop")?;
        Ok(self.octopenstack(&["rm"])?.success() && stopped)
    }

    fn second_engine(&self, verb: &str) -> Result<bool> {
        let mut command = Command::new(self.root.join(SECOND_ENGINE));
        command.arg(verb).arg(second_host::folder(&self.settings)).stdin(Stdio::null());
        Ok(command.status().with_context(|| format!("cannot run {SECOND_ENGINE}"))?.success())
    }

    async fn cargo(&self) -> Result<Ended> {
        self.cargo_test(["--quiet"], |_| ()).await
    }

    /// The live tests, and those of the agent's wiring on the platform's own switch.
    async fn live(&self) -> Result<Ended> {
        if self.settings.config.configuration.networks.mechanism == Mechanism::Openvswitch {
            // The others need routers and floating addresses. Some restart what all use.
            return self.ignored("openvswitch", "--test-threads=1").await;
        }
        let live = self.ignored("live", LIVE_THREADS).await?;
        let wiring = self.ignored("ovs", "--test-threads=1").await?;
        Ok(Ended {
            passed: live.passed && wiring.passed,
            said: if live.passed { wiring.said } else { live.said },
        })
    }

    /// The tests of a target that need the platform.
    async fn ignored(&self, target: &str, threads: &str) -> Result<Ended> {
        let platform = Platform::new(&self.settings.config, &self.settings.profiles);
        let second = ["--profile", second_host::PROFILE].map(str::to_owned);
        let arguments: Vec<&String> = self.arguments.iter().chain(&second).collect();
        let arguments = serde_json::to_string(&arguments)?;
        self.cargo_test(["--test", target, "--", "--ignored", threads], |command| {
            command
                .env("OCTOPENSTACK_TEST_BINARY", &self.binary)
                .env("OVS_CONTAINER", platform.container("openvswitch"))
                // A failed test says what it saw; the addresses of a stripped binary say nothing.
                .env("RUST_LIB_BACKTRACE", "0")
                .env("OCTOPENSTACK_TEST_ARGUMENTS", &arguments);
        })
        .await
    }

    async fn cargo_test<const N: usize>(
        &self,
        arguments: [&str; N],
        with: impl FnOnce(&mut Command),
    ) -> Result<Ended> {
        let mut command = Command::new("cargo");
        command
            .args(["test", "--release", "--locked", "--workspace"])
            .args(arguments)
            .current_dir(&self.root);
        with(&mut command);
        let mut said = Said::default();
        let status = said.by(command).await.context("cannot run cargo")?;
        Ok(Ended { passed: status.success(), said })
    }

    /// What they saw is in the folder of the service's log.
    async fn browser(&self) -> Result<Ended> {
        let command = ["python3", "-B", "/etc/browser/run_tests.py"];
        self.in_container(&Docker::connect().await?, "browser", command).await
    }

    async fn in_container<const N: usize>(
        &self,
        docker: &Docker,
        service: &str,
        command: [&str; N],
    ) -> Result<Ended> {
        let platform = Platform::new(&self.settings.config, &self.settings.profiles);
        let mut said = Said::default();
        let command = command.map(str::to_owned).to_vec();
        let code = docker.follow(&platform.container(service), command, |bytes| said.hear(bytes)).await?;
        Ok(Ended { passed: code == 0, said })
    }

    /// On both hypervisors. The list is `tests/tempest/include.txt`; what is left out, and why, `tests/tempest/skips.txt`; what
    /// makes its accounts itself instead of sharing them with other tests, `tests/tempest/dynamic.txt`.
    async fn tempest(&self) -> Result<Ended> {
        let docker = Docker::connect().await?;
        let cloud = super::demo::cloud(&self.settings)?;
        let (image, flavor) = super::demo::resources(&self.settings, &cloud).await?;
        let other_image = self.second_image(&docker, &cloud).await?;
        let other_flavor = cloud.ensure_flavor("c2", 1, 128, 1).await?;
        let public = super::demo::public_network(&self.settings, &cloud).await?;
        cloud.enable_compute(&second_host::name(&self.settings)).await?;
        let command = ["run-tempest", &image, &other_image, &flavor, &other_flavor, &public, TEMPEST_WORKERS];
        self.in_container(&docker, "tempest", command).await
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
