//! `bench`: measures on this platform, and prints a table.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use common::docker::Engine;

use crate::apply::Apply;
use crate::bench::table::Table;
use crate::bench::{Side, Sides, Subjects, boot, console, front, network, platform};
use crate::bootstrap::{mysql, secrets};
use crate::cli::{Bench, Converge};
use crate::cloud::{Cloud, Quota};
use crate::engine::{Docker, address};
use crate::plan::platform::{ADMIN_SECRET, BROKER_SECRET, BROKER_USER, DATABASE_SECRET, Platform};
use crate::settings::Settings;

use super::second_host;

/// Profile with nova-compute's fake driver.
const PROFILE: &str = "bench";
/// The agent's service, and nova-compute's.
const OURS: &str = "nova-docker-agent";
const THEIRS: &str = "nova-compute-fake";
/// The host name in the fake nova-compute's template.
const THEIR_HOST: &str = "fake1";
/// The port of the agent's `/metrics`, as in its template.
const METRICS_PORT: u16 = 9774;
/// Longest wait for a restarted compute service.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) async fn run(settings: &Settings, bench: Bench) -> Result<ExitCode> {
    let table = match bench {
        Bench::Boot { count, concurrent } => {
            let size = boot::Size { sequential: count, concurrent, on_full_host: count.div_ceil(2) };
            boots_beside(settings, size).await?
        }
        Bench::Network { count } => networks(settings, count).await?,
        Bench::Console { keys } => consoles(settings, keys).await?,
        Bench::Up => up(settings).await?,
    };
    settings.printer.data(&table.to_string());
    Ok(if table.met() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Widens the platform for the time of the benchmark: nova-compute beside the agent, and room for its servers.
async fn boots_beside(settings: &Settings, size: boot::Size) -> Result<Table> {
    let mut widened = settings.clone();
    widened.profiles.push(PROFILE.to_owned());
    let compute = &mut widened.config.configuration.compute;
    compute.cpu_allocation_ratio = compute.cpu_allocation_ratio.max(f64::from(size.concurrent + 2));
    let project = &settings.config.configuration.admin.project;

    super::up::run(&widened, &Converge::everything()).await?;
    let cloud = super::demo::cloud(settings)?;
    let quota = cloud.change_quota(project, Quota::UNLIMITED).await?;
    let table = boots(&widened, &cloud, size).await;
    cloud.change_quota(project, quota).await?;
    super::up::run(settings, &Converge::everything()).await?;
    cloud.forget_compute(THEIR_HOST).await?;
    table
}

async fn boots(settings: &Settings, cloud: &Cloud, size: boot::Size) -> Result<Table> {
    let docker = Docker::connect().await?;
    let (image, flavor) = super::demo::resources(settings, cloud).await?;
    let database = database(settings, &docker).await?;
    let subjects = subjects(settings, (image, flavor), database)?;
    for side in [&subjects.ours, &subjects.theirs] {
        restart(settings, &docker, side).await?;
    }
    mapped(cloud, THEIR_HOST).await?;
    Ok(boot::run(&Sides::new(cloud, &docker, &settings.printer, subjects), size).await?)
}

/// Waits until Nova has found the host, which it does a while after its compute service has come: see
/// `discover_hosts_in_cells_interval`. No server can be put on it before.
async fn mapped(cloud: &Cloud, host: &str) -> Result<()> {
    let start = Instant::now();
    while !cloud.hypervisors_up().await?.iter().any(|name| name == host) {
        if start.elapsed() > LIMIT {
            bail!("{host} is in no cell after {} s: see the log of nova-scheduler", LIMIT.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// MariaDB as it runs.
async fn database(settings: &Settings, docker: &Docker) -> Result<mysql::Server> {
    let platform = Platform::new(&settings.config, &settings.profiles);
    let name = platform.database.as_deref().context("no service of the platform is a database")?;
    let apply = Apply::reader(settings, docker.clone())?;
    apply.learn(&docker.observe(settings.project()).await?);
    let secrets = secrets::read(&settings.paths.secrets())?;
    Ok(mysql::Server {
        address: apply.address_of(name).context("the database does not run")?,
        password: secrets.get(DATABASE_SECRET).context("the database has no password yet")?.clone(),
    })
}

fn subjects(
    settings: &Settings,
    (image, flavor): (String, String),
    database: mysql::Server,
) -> Result<Subjects> {
    let platform = Platform::new(&settings.config, &settings.profiles);
    let configuration = &settings.config.configuration;
    let broker = platform.broker.as_deref().context("no service of the platform is a broker")?;
    let address = platform.fixed_address(broker).context("the broker has no fixed address")?;
    let secrets = secrets::read(&settings.paths.secrets())?;
    let password = secrets.get(BROKER_SECRET).context("the broker has no password yet")?;
    Ok(Subjects {
        ours: Side {
            label: "agent",
            host: configuration.compute.host.clone(),
            container: platform.container(OURS),
        },
        theirs: Side {
            label: "nova-compute",
            host: THEIR_HOST.to_owned(),
            container: platform.container(THEIRS),
        },
        image,
        flavor,
        docker_image: platform.image("demo-instance"),
        metrics: format!("http://{}:{METRICS_PORT}/metrics", configuration.api_address.value),
        broker: (
            platform.container(broker),
            format!("amqp://{BROKER_USER}:{}@{address}:5672/%2f", password.reveal()),
        ),
        database,
    })
}

/// On the platform as it is, with the demo's networks and one more.
async fn networks(settings: &Settings, boots: u32) -> Result<Table> {
    super::up::run(settings, &Converge::everything()).await?;
    let cloud = super::demo::cloud(settings)?;
    let docker = Docker::connect().await?;
    let (image, flavor) = super::demo::resources(settings, &cloud).await?;
    let demo = super::demo::networks::ensure(settings, &cloud).await?;
    let platform = Platform::new(&settings.config, &settings.profiles);
    let subjects = network::Subjects {
        image,
        flavor,
        docker_image: platform.image("demo-instance"),
        host: settings.config.configuration.compute.host.clone(),
        network: demo.private,
        router: demo.router.context("without routers (networks.mechanism) there is nothing to compare")?,
        key: super::demo::networks::NAME,
        database: database(settings, &docker).await?,
        front: platform.container(front::SERVICE),
        second: second(settings).await?,
    };
    Ok(network::run(&cloud, &docker, &settings.printer, &subjects, boots).await?)
}

/// The second hypervisor of this machine, where its profile is in use (`tests/second-engine` has started its engine).
async fn second(settings: &Settings) -> Result<Option<network::Second>> {
    if !settings.profiles.iter().any(|profile| profile == second_host::PROFILE) {
        settings.printer.step(&format!(
            "without the way between two hosts: it needs tests/second-engine and --profile {}",
            second_host::PROFILE
        ));
        return Ok(None);
    }
    let docker = Docker::at(&second_host::socket(settings)).await?;
    Ok(Some(network::Second { host: second_host::name(settings), docker }))
}

/// On the platform as it is, with a server of its own.
async fn consoles(settings: &Settings, keys: u32) -> Result<Table> {
    super::up::run(settings, &Converge::everything()).await?;
    let cloud = super::demo::cloud(settings)?;
    let engine = Engine::connect(&address()).await?;
    let (image, flavor) = super::demo::resources(settings, &cloud).await?;
    let platform = Platform::new(&settings.config, &settings.profiles);
    let configuration = &settings.config.configuration;
    let secrets = secrets::read(&settings.paths.secrets())?;
    let password = secrets.get(ADMIN_SECRET).context("the platform has no administrator yet")?;
    let subjects = console::Subjects {
        image,
        flavor,
        host: configuration.compute.host.clone(),
        site: platform.site().context("no service of the platform has a web site")?,
        user: configuration.admin.user.clone(),
        password: password.clone(),
    };
    Ok(console::run(&cloud, &engine, &settings.printer, &subjects, keys).await?)
}

/// Both sides are measured from a fresh start.
async fn restart(settings: &Settings, docker: &Docker, side: &Side) -> Result<()> {
    let apply = Apply::reader(settings, docker.clone())?;
    let service = if side.container.ends_with(OURS) { OURS } else { THEIRS };
    docker.stop(&side.container, 30).await?;
    docker.start(&side.container).await?;
    let observed = docker.observe(settings.project()).await?;
    apply.learn(&observed);
    let start = Instant::now();
    while let Err(reason) = apply.ready_now(service).await {
        if start.elapsed() > LIMIT {
            bail!("{} is not ready {} s after its restart: {reason}", side.container, LIMIT.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// The platform is removed and made again: the times are those of the commands as a user gives them.
async fn up(settings: &Settings) -> Result<Table> {
    super::up::run(settings, &Converge::everything()).await?;
    super::rm::run(settings, false, false).await?;
    let start = Instant::now();
    super::up::run(settings, &Converge::everything()).await?;
    let up = start.elapsed();
    let start = Instant::now();
    super::up::run(settings, &Converge::everything()).await?;
    let times = platform::Times { up, again: start.elapsed() };
    let shape = Platform::new(&settings.config, &settings.profiles);
    let containers: Vec<String> = shape.names.iter().map(|name| shape.container(name)).collect();
    let mut images: Vec<String> =
        shape.services.values().map(|service| shape.image(&service.image)).collect();
    images.sort();
    images.dedup();
    let docker = Docker::connect().await?;
    Ok(platform::table(&docker, &times, &containers, &images).await?)
}
