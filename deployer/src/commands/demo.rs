//! `demo`: up, then flavors, the demo image, networks and the first server. What is there already is kept.

mod check;
pub(super) mod networks;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::TryStreamExt;
use reqwest::Body;

use crate::cli::Converge;
use crate::cloud::{Access, Cloud, NewServer, Quota, Server};
use crate::engine::Docker;
use crate::logins::{self, DEMO, Login};
use crate::plan::platform::Platform;
use crate::settings::Settings;

use networks::{NAME, Networks};

/// The image's name in Glance.
pub(super) const IMAGE: &str = "demo";
/// The image's name in services.yaml.
const IMAGE_SOURCE: &str = "demo-instance";
/// The flavor of the first server.
pub(super) const FLAVOR: &str = "c1";
/// The first server's name.
const SERVER: &str = "demo-1";
/// Name, virtual CPUs, memory in MiB, disk in GiB.
const FLAVORS: [(&str, u32, u32, u32); 4] =
    [("c1", 1, 64, 1), ("c2", 1, 128, 1), ("c3", 2, 256, 2), ("c4", 2, 1024, 4)];

/// A server that builds is looked at this often.
const POLL: Duration = Duration::from_millis(100);
/// Longest wait for the hypervisor, and for the server.
const LIMIT: Duration = Duration::from_secs(120);

pub(super) async fn run(settings: &Settings) -> Result<()> {
    super::up::run(settings, &Converge::everything()).await?;
    let cloud = cloud(settings)?;
    let (image, flavor) = resources(settings, &cloud).await?;
    let networks = networks::ensure(settings, &cloud).await?;
    plain_user(settings, &cloud, &networks.public).await?;
    let server = first_server(settings, &cloud, &image, &flavor, &networks).await?;
    let (kind, address) = match networks.router {
        Some(_) => ("floating ", cloud.ensure_floating_ip(&server.id, &networks.public).await?),
        None => ("", cloud.fixed_address(&server.id).await?),
    };
    let address = address.with_context(|| {
        format!(
            "the server {SERVER} has no port: it is older than the networks; delete it and run demo again"
        )
    })?;
    settings.printer.step(&format!("{SERVER} has the {kind}address {address}"));
    check::web(&address, LIMIT).await?;
    check::ssh(&address, &networks.key, LIMIT).await?;
    settings.printer.step("its web server answers, and SSH lets the key in");
    settings.printer.data(&farewell(&server, &address, &networks));
    if let Some(site) = Platform::new(&settings.config, &settings.profiles).site() {
        let user = &settings.config.configuration.admin.user;
        settings.printer.data(&format!(
            "  {site}/                                the dashboard: log in as {user} or {DEMO} with the password that\n\
             {:52}./octopenstack openrc --user USER shows; its certificate is the platform's own",
            ""
        ));
    }
    let clouds = logins::clouds_file(settings);
    settings.printer.data(&format!(
        "  OS_CLIENT_CONFIG_FILE={} openstack --os-cloud {DEMO} server list\n\
         {:52}any client or SDK, as the plain user {DEMO}",
        clouds.display(),
        ""
    ));
    Ok(())
}

/// The platform's administrator at the public endpoints.
pub(super) fn cloud(settings: &Settings) -> Result<Cloud> {
    session(settings, &Login::admin(settings)?)
}

fn session(settings: &Settings, login: &Login) -> Result<Cloud> {
    Ok(Cloud::new(login.credentials(), &settings.config.configuration.region)?)
}

/// Ids of the demo image and of the smallest flavor, made when absent, once a hypervisor can be scheduled to.
pub(super) async fn resources(settings: &Settings, cloud: &Cloud) -> Result<(String, String)> {
    for (name, vcpus, ram, disk) in FLAVORS {
        cloud.ensure_flavor(name, vcpus, ram, disk).await?;
    }
    let (_, vcpus, ram, disk) = FLAVORS[0];
    let flavor = cloud.ensure_flavor(FLAVOR, vcpus, ram, disk).await?;
    let image = match cloud.find_image(IMAGE).await? {
        Some(image) => image,
        None => upload(settings, cloud).await?,
    };
    hypervisor(settings, cloud).await?;
    Ok((image, flavor))
}

/// Id of the network with the floating addresses, made with the demo's other networks when absent.
pub(super) async fn public_network(settings: &Settings, cloud: &Cloud) -> Result<String> {
    Ok(networks::ensure(settings, cloud).await?.public)
}

async fn upload(settings: &Settings, cloud: &Cloud) -> Result<String> {
    settings.printer.step(&format!("uploading the image {IMAGE} to Glance"));
    let platform = Platform::new(&settings.config, &settings.profiles);
    let docker = Docker::connect().await?;
    let name = platform.image(IMAGE_SOURCE);
    let archive = docker.save_image(&name).map_err(std::io::Error::other);
    Ok(cloud.upload_image(IMAGE, Body::wrap_stream(archive)).await?)
}

/// A new compute service is found by the scheduler's periodic search; a boot before that finds no valid host.
async fn hypervisor(settings: &Settings, cloud: &Cloud) -> Result<()> {
    let start = Instant::now();
    let mut said = false;
    while !cloud.has_hypervisor().await? {
        if start.elapsed() > LIMIT {
            bail!(
                "no hypervisor is up after {} s: see `octopenstack logs nova-docker-agent`",
                LIMIT.as_secs()
            );
        }
        if !said {
            settings.printer.step("waiting until the scheduler has found the hypervisor");
            said = true;
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// A user that is no administrator, with a project, a quota and a network of his own. What is there stays as it is.
async fn plain_user(settings: &Settings, cloud: &Cloud, public: &str) -> Result<()> {
    if settings.config.configuration.admin.user == DEMO {
        bail!(
            "the administrator is called {DEMO} (admin.user in configuration.yaml), as the user that demo makes"
        );
    }
    let login = Login::demo(settings)?;
    if cloud.ensure_project(DEMO, "To try things in, as a plain user").await? {
        cloud.change_quota(DEMO, Quota::DEMO).await?;
    }
    cloud.ensure_member(DEMO, login.password(), DEMO).await?;
    networks::of_user(settings, &session(settings, &login)?, public).await?;
    logins::write(settings, &[Login::admin(settings)?, login])?;
    settings
        .printer
        .step(&format!("the user {DEMO} has a project and the network {}", networks::OF_USER.network));
    Ok(())
}

async fn first_server(
    settings: &Settings,
    cloud: &Cloud,
    image: &str,
    flavor: &str,
    networks: &Networks,
) -> Result<Server> {
    if let Some(server) = cloud.servers(SERVER, Some("ACTIVE")).await?.into_iter().find(|s| s.name == SERVER)
    {
        settings.printer.step(&format!("the server {SERVER} is there already"));
        return cloud.server(&server.id).await?.context("the server was deleted just now");
    }
    settings.printer.step(&format!("booting the server {SERVER}"));
    let access = Access { network: networks.reachable().0, security_group: NAME, key: NAME };
    let new = NewServer { name: SERVER, image, flavor, host: None, count: 1, access: Some(access) };
    let asked = cloud.boot(&new).await?;
    let server = cloud.wait_active(&asked.id, POLL, LIMIT).await?;
    settings.printer.step(&format!("{SERVER} is ACTIVE"));
    Ok(server)
}

fn farewell(server: &Server, address: &str, networks: &Networks) -> String {
    let (key, network) = (networks.key.display(), networks.reachable().1);
    let Server { id, name, status, .. } = server;
    let host = server.host.as_deref().unwrap_or("?");
    let of = if networks.router.is_some() { "floating " } else { "" };
    format!(
        "
The cloud works: server {name} is {status} on {host}, as container nova-{id}.

  ssh -i {key} demo@{address}
                                                    a shell in it, over its {of}address
  curl http://{address}/                        its web server
  ./octopenstack openstack server list              what nova-api knows
  ./octopenstack openstack console log show {name}  what the instance wrote at its start
  ./octopenstack openstack server create --image {IMAGE} --flavor {FLAVOR} --network {network} \
      --security-group {NAME} --key-name {NAME} --wait another
  ./octopenstack status                             the control plane
  ./octopenstack rm                                 takes everything away, servers too"
    )
}
