//! Entry point of the agent: arguments, options, logging, the agent itself, and its orderly end.
//!
//! Exit codes: 0 after a signal, 1 when the agent cannot run, 2 when it was called or configured wrongly.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use common::docker::Engine;
use common::error_chain::Chain;
use common::openstack::Session;
use common::openstack::glance::Glance;
use common::openstack::neutron::Neutron;
use common::openstack::placement::Placement;
use common::retry;
use common::shutdown::Shutdown;
use common::{telemetry, tls};
use nova_docker_agent::activity::Activity;
use nova_docker_agent::agent::{self, Agent, Parts};
use nova_docker_agent::builds::Builds;
use nova_docker_agent::config::Config;
use nova_docker_agent::http::{self, Health, Management};
use nova_docker_agent::image::ImageStore;
use nova_docker_agent::instance::nics::Nics;
use nova_docker_agent::metrics::{self, Metrics, PREFIX};
use nova_docker_agent::network::Ports;
use nova_docker_agent::network::metadata::MetadataService;
use nova_docker_agent::network::wiring::Wiring;
use nova_docker_agent::resources::Provider;
use nova_docker_agent::virt::{Driver, Sandboxes};
use prometheus_client::registry::Registry;

/// Nova's compute service for Docker containers.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Args {
    /// File with options in the notation of nova.conf; may be given several times, later files win.
    #[arg(long = "config", alias = "config-file", value_name = "FILE", required = true)]
    config: Vec<PathBuf>,
    /// Instead of the option [DEFAULT] state_path.
    #[arg(long, value_name = "DIR")]
    state_path: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let config = match Config::load(&args.config) {
        Ok(mut config) => {
            config.state_path = args.state_path.unwrap_or(config.state_path);
            Arc::new(config)
        }
        Err(error) => {
            eprintln!("nova-docker-agent: {}", Chain(&error));
            return ExitCode::from(2);
        }
    };
    telemetry::init(config.debug);
    tls::install();
    // Two threads carry all of the agent's work: it waits for others most of the time. Few blocking ones, for each
    // thread that allocates costs memory.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(config)),
        Err(error) => Err(error).context("cannot start the threads"),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %format!("{error:#}"), "the agent cannot run");
            ExitCode::FAILURE
        }
    }
}

/// Runs until a signal comes; peers that are away are waited for.
async fn run(config: Arc<Config>) -> anyhow::Result<()> {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), host = config.host, "starting");
    tracing::debug!(options = ?config.ignored, "these options of Nova's mean nothing to this agent");
    let life = Shutdown::new();
    let mut signal = std::pin::pin!(Shutdown::signal());
    let agent = tokio::select! {
        agent = start(config, &life) => agent?,
        signal = &mut signal => {
            tracing::info!(signal = signal.context("cannot listen to signals")?, "stopped before it was up");
            return Ok(());
        }
    };
    let signal = signal.await.context("cannot listen to signals")?;
    tracing::info!(signal, "received");
    agent.stop().await;
    Ok(())
}

async fn start(config: Arc<Config>, life: &Shutdown) -> anyhow::Result<Arc<Agent>> {
    let listener = listen(&config)?;
    let session = Session::new(config.auth.clone())?;
    let glance = Glance::new(&session, config.glance.clone());
    let provider = Provider::new(Placement::new(&session, config.placement.clone()));
    let engine = connect(&config.docker.docker_url).await;
    let images = ImageStore::new(engine.clone(), glance.clone(), &config)
        .with_context(|| format!("cannot use {}", config.state_path.join("images").display()))?;
    let transport = Arc::new(agent::amqp(&config, life)?);

    let mut registry = Registry::with_prefix(PREFIX);
    let metrics = Metrics::register(&mut registry);
    let link = Arc::clone(&transport);
    metrics::register_reconnects(&mut registry, move || link.reconnects());
    let (health, activity) = (Arc::new(Health::default()), Arc::new(Activity::default()));
    let of_neutron = Session::new(config.neutron.auth.as_ref().unwrap_or(&config.auth).clone())?;
    let management = Arc::new(Management {
        health: Arc::clone(&health),
        activity: Arc::clone(&activity),
        engine: engine.clone(),
        sessions: vec![session, of_neutron.clone()],
        metrics: metrics.clone(),
        registry,
        password: config.docker.page_password.clone(),
        report_interval: config.report_interval,
        agent: OnceLock::new(),
    });
    if let Some(listener) = listener {
        http::serve(listener, Arc::clone(&management), life).context("cannot serve /healthz")?;
    }

    let driver = Driver::new(engine.clone(), Arc::clone(&config));
    let ports = ports(&config, &of_neutron);
    let builds = Builds::new(config.max_concurrent_builds);
    let nics = nics(&config, (engine.clone(), driver.clone()), &builds, life).await?;
    let parts = Parts {
        config,
        transport,
        driver,
        ports,
        nics,
        builds,
        images,
        glance,
        provider,
        engine,
        metrics,
        health,
        activity,
    };
    let agent = Agent::start(parts, life.clone()).await?;
    management.show(&agent);
    Ok(agent)
}

fn ports(config: &Config, session: &Session) -> Ports {
    let neutron = Neutron::new(session, config.neutron.endpoint.clone());
    Ports::new(neutron, &config.host, Duration::from_secs(config.neutron.extension_sync_interval))
}

async fn nics(
    config: &Arc<Config>,
    (engine, driver): (Engine, Driver),
    builds: &Builds,
    life: &Shutdown,
) -> anyhow::Result<Nics> {
    let wiring = Wiring::new(&config.ovsdb_connection, life)?;
    let secret = &config.neutron.metadata_proxy_shared_secret;
    let metadata = match &config.docker.metadata_url {
        Some(url) => {
            Some(MetadataService::start((url, secret), builds, life).await.context("cannot serve metadata")?)
        }
        None => None,
    };
    Ok(Nics::new((Arc::new(wiring), metadata), (Sandboxes::new(engine, Arc::clone(config)), driver)))
}

/// Takes the management port early, so that a second agent on this host ends at once.
fn listen(config: &Config) -> anyhow::Result<Option<TcpListener>> {
    let docker = &config.docker;
    if docker.management_port == 0 {
        return Ok(None);
    }
    let address = (docker.management_address.as_str(), docker.management_port);
    let listener = TcpListener::bind(address).with_context(|| {
        format!("cannot listen on {}:{} ([docker] management_address, management_port)", address.0, address.1)
    })?;
    Ok(Some(listener))
}

/// Waits for dockerd.
async fn connect(url: &str) -> Engine {
    let mut waits = retry::connect();
    loop {
        match Engine::connect(url).await {
            Ok(engine) => return engine,
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "waiting for Docker");
                tokio::time::sleep(waits.next().unwrap_or_default()).await;
            }
        }
    }
}
