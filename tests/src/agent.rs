//! The agent as a plain program beside the cloud under test, as an operator starts it on a hypervisor of his own.

use std::{
    fs::{DirBuilder, File},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::Method;

use crate::{
    cloud::{Cloud, DEADLINE, list, text},
    host::Host,
    platform,
};

/// An agent that was started by a test. It ends with it, but what it registered stays unless [`PlainAgent::leave`] is
/// called.
pub struct PlainAgent {
    /// The name of its compute service and hypervisor.
    pub host: String,
    directory: PathBuf,
    options: Vec<PathBuf>,
    child: Option<Child>,
    mounted: bool,
}

impl PlainAgent {
    /// Prepares an agent with the platform's own options, but for `host` and `more` (in the notation of nova.conf; a
    /// section may come again). A service of that name, which a broken run has left, is taken out of Nova first.
    ///
    /// # Errors
    /// When the platform's agent has no options, or the directory cannot be made.
    pub async fn prepare(cloud: &Cloud, host: &str, more: &str) -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("{host}-{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&directory).with_context(|| directory.display().to_string())?;
        let own = directory.join("own.conf");
        let state = directory.join("state");
        let (platform, broker) = (platform_options().await?, broker_url().await?);
        let text = format!(
            "[DEFAULT]\nhost = {host}\nstate_path = {}\ntransport_url = {broker}\n\
             [ovs]\novsdb_connection = none\n[docker]\nmanagement_port = 0\n{more}\n",
            state.display()
        );
        std::fs::create_dir(&state)?;
        std::fs::write(&own, text)?;
        let options = vec![platform, own];
        let agent = Self { host: host.to_owned(), directory, options, child: None, mounted: false };
        if let Some(service) = agent.service(cloud).await? {
            unregister(cloud, &service).await?;
        }
        Ok(agent)
    }

    /// Gives its state, and with it images on their way, a file system of `megabytes` MiB.
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub fn small_disk(&mut self, megabytes: u32) -> Result<()> {
        let size = format!("size={megabytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(self.directory.join("state"));
        ensure!(mount.status()?.success(), "no small file system could be mounted");
        self.mounted = true;
        Ok(())
    }

    /// Starts the program.
    ///
    /// # Errors
    /// When it is not beside the deployer's.
    pub fn start(&mut self) -> Result<()> {
        let deployer =
            std::env::var("OCTOPENSTACK_TEST_BINARY").context("live tests are run by ./octopenstack test")?;
        let program = Path::new(&deployer).with_file_name("nova-docker-agent");
        let log = File::create(self.directory.join("log"))?;
        let mut command = Command::new(&program);
        for file in &self.options {
            command.arg("--config").arg(file);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().with_context(|| program.display().to_string())?);
        Ok(())
    }

    /// All that it has said.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Waits until it says `words`.
    ///
    /// # Errors
    /// When it ends before, or on the deadline.
    pub async fn wait_until_said(&mut self, words: &str) -> Result<()> {
        let start = Instant::now();
        while !self.said().contains(words) {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().transpose()).transpose()?;
            if let Some(status) = ended {
                bail!("the agent ended with {status}: {}", self.said());
            }
            ensure!(start.elapsed() < DEADLINE, "the agent did not say {words:?}: {}", self.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Starts it and waits until the schedulers may choose it: it serves, and Nova has found its cell.
    ///
    /// # Errors
    /// On the deadline; the error holds what it said.
    pub async fn join(&mut self, cloud: &Cloud) -> Result<()> {
        self.start()?;
        self.wait_until_said("serving").await?;
        self.wait_until_found(cloud).await
    }

    /// See [`PlainAgent::join`].
    ///
    /// # Errors
    /// On the deadline.
    pub async fn wait_until_found(&self, cloud: &Cloud) -> Result<()> {
        let start = Instant::now();
        while self.provider(cloud).await?.is_none() || !self.is_mapped(cloud).await? {
            ensure!(start.elapsed() < DEADLINE, "{} is not found: {}", self.host, self.said());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// Only hosts that are mapped to a cell are listed as hypervisors with their service.
    async fn is_mapped(&self, cloud: &Cloud) -> Result<bool> {
        let path = format!("/os-hypervisors?hypervisor_hostname_pattern={}", self.host);
        let (status, body) = cloud.request(Method::GET, "compute", &path, None).await?;
        Ok(status.is_success() && !list(&body["hypervisors"]).is_empty())
    }

    /// The row of its service in the API; none before it is registered.
    ///
    /// # Errors
    /// When nova-api does not answer.
    pub async fn service(&self, cloud: &Cloud) -> Result<Option<serde_json::Value>> {
        let path = format!("/os-services?binary=nova-compute&host={}", self.host);
        Ok(list(&cloud.get("compute", &path).await?["services"]).into_iter().next())
    }

    /// The uuid of its resource provider.
    ///
    /// # Errors
    /// When placement does not answer.
    pub async fn provider(&self, cloud: &Cloud) -> Result<Option<String>> {
        let found = cloud.get("placement", &format!("/resource_providers?name={}", self.host)).await?;
        Ok(list(&found["resource_providers"]).first().map(|each| text(&each["uuid"]).to_owned()))
    }

    /// Ends it at once, as a crash or a loss of power would; it can be started again.
    ///
    /// # Errors
    /// When it was not started.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("it was not started")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Ends it as systemd would, and takes its service out of Nova.
    ///
    /// # Errors
    /// When it does not end well, or Nova keeps something of it.
    pub async fn leave(mut self, cloud: &Cloud) -> Result<()> {
        let mut child = self.child.take().context("it was not started")?;
        kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
        let status = child.wait()?;
        ensure!(status.success(), "the agent ended with {status}: {}", self.said());
        let service = self.service(cloud).await?.context("it is not registered")?;
        unregister(cloud, &service).await?;
        ensure!(self.provider(cloud).await?.is_none(), "its provider is left in placement");
        Ok(())
    }
}

impl Drop for PlainAgent {
    fn drop(&mut self) {
        // The test has its own verdict.
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if self.mounted {
            let _ = Command::new("umount").arg(self.directory.join("state")).status();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Takes a compute service out of Nova, with its hypervisor and its resource provider.
async fn unregister(cloud: &Cloud, service: &serde_json::Value) -> Result<()> {
    let path = format!("/os-services/{}", text(&service["id"]));
    let (status, body) = cloud.request(Method::DELETE, "compute", &path, None).await?;
    ensure!(status.is_success(), "DELETE {path}: {status} {body}");
    Ok(())
}

/// The file with the options of the platform's own agent, on this machine.
async fn platform_options() -> Result<PathBuf> {
    let found = Host::new()?.inspect(&platform::container("nova-docker-agent")?).await?;
    let mut mounts = found.mounts.into_iter().flatten();
    let wanted = "/etc/nova/nova-docker-agent.conf";
    let mount = mounts.find(|mount| mount.destination.as_deref() == Some(wanted));
    Ok(mount.and_then(|mount| mount.source).with_context(|| format!("{wanted} is not mounted"))?.into())
}

/// The value of an option of the platform's agent, as `host`.
///
/// # Errors
/// When it is not set.
pub async fn platform_option(name: &str) -> Result<String> {
    let text = std::fs::read_to_string(platform_options().await?)?;
    let mut options = text.lines().filter_map(|line| line.split_once('='));
    let value = options.find(|(option, _)| option.trim() == name).map(|(_, value)| value.trim().to_owned());
    value.with_context(|| format!("{name} is not among the options of the platform's agent"))
}

/// Its `transport_url` with the broker's address instead of a name that only Docker's own network knows.
///
/// # Errors
/// When it is not set, or the broker does not run.
pub async fn broker_url() -> Result<String> {
    let url = platform_option("transport_url").await?;
    let (login, _) = url.rsplit_once('@').context("transport_url has no login")?;
    let found = Host::new()?.inspect(&crate::platform::container("rabbitmq")?).await?;
    let networks = found.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    let address = networks.into_values().find_map(|network| network.ip_address).context("no address")?;
    Ok(format!("{login}@{address}:5672/"))
}
