//! Containers as people describe them, and what they find in them: image properties, server metadata and extra specs,
//! config drive, injected files, password.

use anyhow::{Context, Result, ensure};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use tests::agent::PlainAgent;
use tests::cloud::{Boot, Cloud, text};
use tests::host::Host;
use tests::network::{Lab, becomes};

use crate::{alone, shared, small};

/// What a described container tells of itself; one command, for it is asked twice.
const SELF: &str = "id -un; pwd; echo $GREETING ${#LONG}; ulimit -Hn; df -m /dev/shm /scratch | awk 'NR > 1 {print $2}'; \
                    cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; tr '\\0' ' ' </proc/1/cmdline";

/// A flavor with these extra specs; to be deleted by the test.
async fn flavor(cloud: &Cloud, name: &str, extra_specs: Value) -> Result<String> {
    let body = json!({"flavor": {"name": name, "vcpus": 1, "ram": 64, "disk": 1}});
    let id = text(&cloud.post("compute", "/flavors", body).await?["flavor"]["id"]).to_owned();
    let path = format!("/flavors/{id}/os-extra_specs");
    cloud.post("compute", &path, json!({ "extra_specs": extra_specs })).await?;
    Ok(id)
}

async fn remove(cloud: &Cloud, service: &str, path: &str) -> Result<()> {
    let (status, body) = cloud.request(reqwest::Method::DELETE, service, path, None).await?;
    ensure!(status.is_success(), "DELETE {path}: {status} {body}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_container_is_as_people_describe_it_also_when_it_is_made_again() -> Result<()> {
    let _platform = shared().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let demo = cloud.download_image(&cloud.image_id("demo").await?).await?;
    let properties = json!({
        "os_command_line": "sh -c 'echo began as $(id -un); exec sleep 1000'", "docker_user": "demo",
        "docker_workdir": "/srv", "docker_env_GREETING": "image", "docker_stop_signal": "SIGKILL", "docker_init": "true",
        // Longer than Nova keeps it.
        "docker_env_LONG": "x".repeat(300),
    });
    let image = cloud.upload_described("described", properties, demo).await?;
    let specs = json!({"docker:pids_limit": "77", "docker:shm_size_mb": "8", "docker:tmpfs": "/scratch=4",
        "docker:ulimit_nofile": "200:300", "quota:disk_write_bytes_sec": "10485760"});
    let flavor = flavor(&cloud, "described", specs).await?;
    let metadata = json!({"metadata": {"docker_env_GREETING": "server", "docker_tty": "true"}});
    let boot = Boot { image: "described", flavor: "described", extra: metadata, ..small("described") };
    let server = cloud.boot_active(&boot).await?;
    let id = text(&server["id"]);
    let name = format!("nova-{id}");

    let expected = "demo\n/srv\nserver 300\n300\n8\n4\n77\n/sbin/docker-init -- sh -c ";
    let told = host.exec(&name, &["sh", "-c", SELF]).await?;
    ensure!(told.starts_with(expected), "{told}");
    let container = host.running_instance(id).await?;
    let limits = container.host_config.context("no limits")?;
    let rate = limits.blkio_device_write_bps.and_then(|rates| rates.first().and_then(|rate| rate.rate));
    ensure!(rate == Some(10_485_760), "{rate:?}");
    // Docker's runtime may give the hard limit to a command that is run in a container, so the soft one is asked of Docker.
    let soft = limits.ulimits.and_then(|all| all.first().and_then(|limit| limit.soft));
    ensure!(soft == Some(200), "{soft:?}");
    let config = container.config.context("no configuration")?;
    ensure!(config.tty == Some(true) && config.stop_signal.as_deref() == Some("SIGKILL"), "{config:?}");
    let console = cloud.action(id, json!({"os-getConsoleOutput": {}})).await?;
    ensure!(text(&console["output"]).contains("began as demo\n"), "{console}");

    host.remove(&name).await?;
    cloud.action(id, json!({"reboot": {"type": "HARD"}})).await?;
    cloud.wait_for(id, "ACTIVE").await?;
    let again = host.exec(&name, &["sh", "-c", SELF]).await?;
    ensure!(again == told, "{again} is not {told}");

    cloud.delete(id).await?;
    remove(&cloud, "image", &format!("/v2/images/{image}")).await?;
    remove(&cloud, "compute", &format!("/flavors/{flavor}")).await
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn what_must_not_be_wished_for_ends_the_build_with_its_name() -> Result<()> {
    let _platform = shared().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let flavor = flavor(&cloud, "greedy", json!({"docker:cap_add": "SYS_ADMIN"})).await?;
    let metadata = |name: &str| json!({"metadata": { name: "true" }});
    for (boot, words) in [
        (
            Boot { extra: metadata("docker_privileged"), ..small("greedy") },
            "server metadata docker_privileged",
        ),
        (
            Boot { extra: metadata("docker_network_mode"), ..small("greedy") },
            "server metadata docker_network_mode",
        ),
        (Boot { flavor: "greedy", ..small("greedy") }, "this host does not allow SYS_ADMIN"),
    ] {
        let id = cloud.boot(&boot).await?;
        let server = cloud.wait_for(&id, "ERROR").await?;
        let message = text(&server["fault"]["message"]);
        ensure!(message.contains(words), "not {words:?} but {message:?}");
        ensure!(host.instance(&id).await?.is_none(), "a container is left");
        cloud.delete(&id).await?;
    }
    remove(&cloud, "compute", &format!("/flavors/{flavor}")).await
}

/// What a file of the guest holds.
async fn read(host: &Host, name: &str, path: &str) -> Result<String> {
    host.exec(name, &["cat", path]).await
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_config_drive_says_what_the_metadata_service_says() -> Result<()> {
    let _platform = shared().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let mut lab = Lab::new(&cloud).await?;
    let (network, _) = lab.network("drive", "10.83.1.0/24", json!({})).await?;
    let user_data = "#!/bin/sh\necho user data ran >/tmp/ran\n";
    let extra = json!({"networks": [{ "uuid": network }], "config_drive": true, "metadata": {"colour": "green"},
        "user_data": BASE64_STANDARD.encode(user_data)});
    let [guest] = lab.guests([Boot { extra, ..small("drive") }]).await?;
    let name = guest.container();
    let server = cloud.server(&guest.id).await?.context("it is gone")?;
    ensure!(server["config_drive"] == "True", "{}", server["config_drive"]);

    let drive = "/config-drive/openstack/latest";
    ensure!(read(&host, &name, &format!("{drive}/user_data")).await? == user_data);
    let parsed = async |path: String| {
        Ok::<Value, anyhow::Error>(serde_json::from_str(&read(&host, &name, &path).await?)?)
    };
    let data = parsed(format!("{drive}/meta_data.json")).await?;
    ensure!(
        data["uuid"] == guest.id
            && data["meta"]["colour"] == "green"
            && text(&data["hostname"]).starts_with("drive"),
        "{data}"
    );
    let ports = parsed(format!("{drive}/network_data.json")).await?;
    ensure!(
        ports["links"][0]["vif_id"] == guest.port && ports["networks"][0]["network_id"] == network,
        "{ports}"
    );
    parsed(format!("{drive}/vendor_data.json")).await?;
    let ec2 = parsed("/config-drive/ec2/latest/meta-data.json".into()).await?;
    ensure!(ec2["local-ipv4"] == guest.address && ec2["placement"]["availability-zone"] == "nova", "{ec2}");

    // The same from the service, but for what is random each time; version by version.
    let versions = host.exec(&name, &["ls", "/config-drive/openstack"]).await?;
    ensure!(versions.lines().count() > 10, "{versions}");
    for version in versions.lines() {
        let path = format!("openstack/{version}/meta_data.json");
        let url = format!("http://169.254.169.254/{path}");
        let mut served: Value =
            serde_json::from_str(&host.exec(&name, &["wget", "-q", "-O", "-", &url]).await?)?;
        let mut kept = parsed(format!("/config-drive/{path}")).await?;
        for each in [&mut served, &mut kept] {
            each.as_object_mut().and_then(|each| each.remove("random_seed"));
        }
        ensure!(served == kept, "{version}: {served} is not {kept}");
    }
    let (code, _) = host.try_exec(&name, &["touch", &format!("{drive}/x")]).await?;
    ensure!(code != Some(0), "the guest may write to its config drive");
    becomes("the user data ran", || guest.runs(&host, &["test", "-e", "/tmp/ran"])).await?;

    let mounts = host.running_instance(&guest.id).await?.mounts.unwrap_or_default();
    let mount = mounts.into_iter().find(|mount| mount.destination.as_deref() == Some("/config-drive"));
    let folder = mount.and_then(|mount| mount.source).context("no mount")?;
    // It is there again with a container that has to be made anew, and goes with the server.
    host.remove(&name).await?;
    cloud.action(&guest.id, json!({"reboot": {"type": "HARD"}})).await?;
    cloud.wait_for(&guest.id, "ACTIVE").await?;
    ensure!(read(&host, &name, &format!("{drive}/user_data")).await? == user_data);
    lab.remove().await?;
    ensure!(!std::path::Path::new(&folder).exists(), "{folder} is left");
    Ok(())
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn files_and_password_of_the_request_are_in_the_guest() -> Result<()> {
    let _platform = alone().await;
    // The last one that knows files.
    let (cloud, host) = (Cloud::admin().await?.at("compute 2.56"), Host::new()?);
    let mut agent = PlainAgent::prepare(&cloud, "octo-guests", "inject_password = true").await?;
    agent.join(&cloud).await?;
    let file = |path: &str, text: &str| json!({"path": path, "contents": BASE64_STANDARD.encode(text)});
    let files =
        [file("/etc/app/deep/app.conf", "a = 1\n"), file("/etc/profile", "welcome\n"), file("motd", "hi\n")];
    let extra = json!({"availability_zone": "nova:octo-guests", "personality": files, "adminPass": "Test-0f-4-guest"});
    let server = cloud.boot_active(&Boot { extra, ..small("files") }).await?;
    let id = text(&server["id"]);
    let name = format!("nova-{id}");

    ensure!(read(&host, &name, "/etc/app/deep/app.conf").await? == "a = 1\n");
    ensure!(
        read(&host, &name, "/etc/profile").await? == "welcome\n"
            && read(&host, &name, "/motd").await? == "hi\n"
    );
    let paths = ["/etc", "/etc/app", "/etc/app/deep/app.conf", "/etc/shadow"];
    let modes = host.exec(&name, &[&["stat", "-c", "%a %u:%g"], &paths[..]].concat()).await?;
    ensure!(modes == "755 0:0\n755 0:0\n644 0:0\n600 0:0\n", "{modes}");
    let shadow = read(&host, &name, "/etc/shadow").await?;
    let root = shadow.lines().find_map(|line| line.strip_prefix("root:")).context("no root")?;
    let hash = root.split(':').next().unwrap_or_default();
    // The C library, here that of this machine, comes to the same.
    let perl = ["-e", "print crypt($ARGV[0], $ARGV[1])", "Test-0f-4-guest", hash];
    let own = std::process::Command::new("perl").args(perl).output()?.stdout;
    ensure!(own == hash.as_bytes(), "{} is not {hash}", String::from_utf8_lossy(&own));
    let container = format!("{:?}", host.running_instance(id).await?);
    ensure!(
        !container.contains("Test-0f-4-guest") && !agent.said().contains("Test-0f-4-guest"),
        "the password is told"
    );
    cloud.delete(id).await?;
    agent.leave(&cloud).await
}

/// Whether the guest `told` finds itself at the address.
async fn knows(host: &Host, name: &str, address: &str) -> Result<bool> {
    let line = format!("{address}\ttold");
    Ok(read(host, name, "/etc/hosts").await?.lines().any(|each| each == line))
}

async fn servers(host: &Host, name: &str) -> Result<String> {
    read(host, name, "/etc/resolv.conf").await
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn a_guest_learns_of_ports_that_come_and_go() -> Result<()> {
    let _platform = shared().await;
    let (cloud, host) = (Cloud::admin().await?, Host::new()?);
    let mut lab = Lab::new(&cloud).await?;
    let network = text(&lab.make("network", json!({"name": "told"})).await?["id"]).to_owned();
    // The second address must not be the first by chance.
    let pool = json!([{"start": "10.83.2.10", "end": "10.83.2.99"}]);
    let subnet = json!({"network_id": network, "ip_version": 4, "cidr": "10.83.2.0/24", "allocation_pools": pool,
        "dns_nameservers": ["10.83.2.3"]});
    let subnet = text(&lab.make("subnet", subnet).await?["id"]).to_owned();
    let port = text(&lab.make("port", json!({ "network_id": network })).await?["id"]).to_owned();
    let id = text(&cloud.boot_active(&small("told")).await?["id"]).to_owned();
    let name = format!("nova-{id}");
    ensure!(knows(&host, &name, "127.0.1.1").await?, "it does not know itself without a port");

    // When the request is answered, the guest knows.
    let attach = json!({"interfaceAttachment": { "port_id": port }});
    let attached = cloud.post("compute", &format!("/servers/{id}/os-interface"), attach).await?;
    let address = text(&attached["interfaceAttachment"]["fixed_ips"][0]["ip_address"]).to_owned();
    ensure!(
        knows(&host, &name, &address).await? && servers(&host, &name).await? == "nameserver 10.83.2.3\n",
        "it does not know the new port"
    );

    // What Neutron changes comes as an event.
    let second = json!({"fixed_ips": [{"subnet_id": subnet, "ip_address": "10.83.2.177"}]});
    lab.change("port", &port, second).await?;
    becomes("it knows the new address", || knows(&host, &name, "10.83.2.177")).await?;
    let addresses = host.exec(&name, &["ip", "-o", "-4", "address", "show"]).await?;
    ensure!(
        addresses.contains("10.83.2.177/24") && !addresses.contains(&format!("{address}/")),
        "{addresses}"
    );

    remove(&cloud, "compute", &format!("/servers/{id}/os-interface/{port}")).await?;
    becomes("it knows that the port is gone", || knows(&host, &name, "127.0.1.1")).await?;
    ensure!(servers(&host, &name).await?.is_empty(), "it keeps the name server");
    cloud.delete(&id).await?;
    lab.remove().await
}
