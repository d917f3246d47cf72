//! What the deployer does when it is disturbed, on a platform of three services (`tests/fixtures/small`).

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tests::host::Host;

static PLATFORM: LazyLock<Mutex<()>> = LazyLock::new(Mutex::default);
const LABEL: &str = "io.octopenstack.project=octo-small";
const STATE: &str = "/var/lib/octopenstack/octo-small";

/// The platform, for one test at a time, gone before and after.
struct Small {
    _alone: MutexGuard<'static, ()>,
}

impl Small {
    fn new() -> Result<Self> {
        let small = Self { _alone: PLATFORM.lock().unwrap_or_else(PoisonError::into_inner) };
        small.run(&["rm", "--yes"])?;
        Ok(small)
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let binary =
            std::env::var("OCTOPENSTACK_TEST_BINARY").context("live tests are run by ./octopenstack test")?;
        let mut command = Command::new(binary);
        command
            .env_remove("OCTOPENSTACK_ROOT")
            .stdin(Stdio::null())
            .arg("--config")
            .arg(fixture())
            .args(arguments);
        Ok(command)
    }

    fn run(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.command(arguments)?.output()?)
    }

    fn ok(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        let said = said(&output);
        ensure!(output.status.success(), "{arguments:?} ended with {}:\n{said}", output.status);
        Ok(said)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // The test has its own verdict; what is left behind would be found by the next one.
        let _ = self.run(&["rm", "--yes"]);
    }
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/small")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the images of ./octopenstack test"]
async fn a_deployer_killed_at_any_point_goes_on_at_the_next_up() -> Result<()> {
    let small = Small::new()?;
    for milliseconds in [50, 200, 400, 700, 1200, 2000, 3000, 4500] {
        let mut up = small.command(&["up", "--yes"])?.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        std::thread::sleep(Duration::from_millis(milliseconds));
        up.kill()?;
        up.wait()?;
    }
    small.ok(&["up", "--yes"])?;
    let again = small.ok(&["up", "--yes"])?;
    ensure!(again.contains("nothing to do"), "{again}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the images of ./octopenstack test"]
async fn rm_leaves_nothing_and_says_so_also_when_there_is_nothing() -> Result<()> {
    let small = Small::new()?;
    small.ok(&["up", "--yes"])?;
    ensure!(Path::new(STATE).exists(), "{STATE} is not where the state is");

    let refused = small.run(&["rm"])?;
    ensure!(!refused.status.success(), "rm without a terminal and without --yes went on");
    ensure!(said(&refused).contains("--yes"), "{}", said(&refused));
    ensure!(!Host::new()?.containers(LABEL).await?.is_empty(), "the refused rm removed containers");

    let removed = small.ok(&["rm", "--yes"])?;
    ensure!(removed.contains("nothing is left"), "{removed}");
    ensure!(Host::new()?.containers(LABEL).await?.is_empty());
    ensure!(!Path::new(STATE).exists(), "{STATE} is left");
    small.ok(&["rm", "--yes"])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the images of ./octopenstack test"]
async fn stop_and_start_bring_every_service_back() -> Result<()> {
    let small = Small::new()?;
    small.ok(&["up", "--yes"])?;
    small.ok(&["stop"])?;
    let stopped = small.ok(&["status"])?;
    ensure!(!stopped.contains("ready"), "{stopped}");
    small.ok(&["start"])?;
    let started = small.ok(&["status"])?;
    ensure!(started.matches("ready").count() == 3, "{started}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the images of ./octopenstack test"]
async fn a_port_in_use_is_told_before_anything_is_made() -> Result<()> {
    let small = Small::new()?;
    let _taken = TcpListener::bind("127.0.0.4:11311")?;
    let output = small.run(&["up", "--yes"])?;
    ensure!(!output.status.success());
    ensure!(said(&output).contains("11311"), "{}", said(&output));
    ensure!(Host::new()?.containers(LABEL).await?.is_empty(), "containers were made");
    Ok(())
}

/// A file system of its own, for the time of a test.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(size: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("octo-small-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        let tmpfs = Self(path);
        tmpfs.run("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])?;
        Ok(tmpfs)
    }

    fn resize(&self, size: &str) -> Result<()> {
        self.run("mount", &["-o", &format!("remount,size={size}")])
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let status = Command::new(program).args(arguments).arg(&self.0).status()?;
        ensure!(status.success(), "{program} {arguments:?} ended with {status}");
        Ok(())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = self.run("umount", &[]);
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the images of ./octopenstack test"]
async fn a_full_disk_is_told_and_the_same_command_goes_on_when_there_is_room() -> Result<()> {
    let disk = Tmpfs::mount("16k")?;
    let small = Small::new()?;
    let state = disk.0.display().to_string();
    let up = ["--state-dir", &state, "up", "--yes"];
    let full = small.run(&up)?;
    ensure!(!full.status.success(), "up went on without room for its files");
    let words = said(&full);
    ensure!(words.contains(&format!("cannot write {state}")), "{words}");
    ensure!(words.contains("No space left on device"), "{words}");

    disk.resize("8m")?;
    small.ok(&up)?;
    ensure!(small.ok(&up)?.contains("nothing to do"), "the third up found something to do");
    small.ok(&["--state-dir", &state, "rm", "--yes"])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the images of ./octopenstack test"]
async fn two_at_once_do_not_meet() -> Result<()> {
    let small = Small::new()?;
    let mut first = small.command(&["up", "--yes"])?.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let lock = Path::new(STATE).join("lock");
    for _ in 0..200 {
        if lock.exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let second = small.run(&["up", "--yes"])?;
    ensure!(!second.status.success(), "the second went on beside the first");
    ensure!(said(&second).contains(&first.id().to_string()), "the holder is not named: {}", said(&second));
    ensure!(first.wait()?.success(), "the first was disturbed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the images of ./octopenstack test"]
async fn a_changed_option_replaces_one_container() -> Result<()> {
    let small = Small::new()?;
    small.ok(&["up", "--yes"])?;
    let host = Host::new()?;
    let before = host.inspect("octo-small-mariadb").await?.id;
    let cache = host.inspect("octo-small-memcached").await?.id;
    small.ok(&["up", "--yes", "--set", "services.memcached.memory=64m"])?;
    ensure!(host.inspect("octo-small-mariadb").await?.id == before, "mariadb was replaced too");
    ensure!(host.inspect("octo-small-memcached").await?.id != cache, "memcached was not replaced");
    Ok(())
}
