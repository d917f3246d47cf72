//! Two projects whose networks have the same addresses, and what one may not do with the other's things.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::cloud::{Boot, Cloud, octopenstack_ok, text};
use tests::network::{Guest, Lab, delete};

use crate::{shared, small};

/// The subnet of both, and the address that the guest of each has.
const SUBNET: &str = "10.82.9.0/24";
const ADDRESS: &str = "10.82.9.110";

/// A project with a member.
struct Tenant {
    cloud: Cloud,
    user: String,
}

impl Tenant {
    async fn new(admin: &Cloud, name: &str) -> Result<Self> {
        const PASSWORD: &str = "only-for-this-test";
        // A broken run may have left one.
        let name = &format!("{name}-{}", std::process::id());
        let project = admin.post("identity", "/projects", json!({"project": {"name": name}})).await?;
        let project = text(&project["project"]["id"]).to_owned();
        let user = json!({"user": {"name": name, "password": PASSWORD, "default_project_id": project}});
        let user = text(&admin.post("identity", "/users", user).await?["user"]["id"]).to_owned();
        let role = admin.get("identity", "/roles?name=member").await?;
        let role = text(&role["roles"][0]["id"]).to_owned();
        admin.put("identity", &format!("/projects/{project}/users/{user}/roles/{role}")).await?;
        let cloud = Cloud::login(&admin.catalogue_url("identity")?, name, PASSWORD, name).await?;
        Ok(Self { cloud, user })
    }

    async fn remove(self, admin: &Cloud) -> Result<()> {
        let groups = format!("/v2.0/security-groups?project_id={}", self.cloud.project_id);
        for group in tests::cloud::list(&admin.get("network", &groups).await?["security_groups"]) {
            delete(admin, "network", &format!("/v2.0/security-groups/{}", text(&group["id"]))).await?;
        }
        delete(admin, "identity", &format!("/users/{}", self.user)).await?;
        delete(admin, "identity", &format!("/projects/{}", self.cloud.project_id)).await
    }
}

#[tokio::test]
#[ignore = "needs the platform of ./octopenstack test"]
async fn two_projects_with_the_same_addresses_do_not_see_each_other() -> Result<()> {
    let _platform = shared().await;
    let admin = Cloud::admin().await?;
    let (first, second) =
        (Tenant::new(&admin, "tenant-one").await?, Tenant::new(&admin, "tenant-two").await?);
    let (mut one, mut two) = (Lab::new(&first.cloud).await?, Lab::new(&second.cloud).await?);
    let guest = guest(&mut one, "tenant-one").await?;
    let other = self::guest(&mut two, "tenant-two").await?;

    for (lab, guest, tenant, victim) in [(&one, &guest, &first, &other), (&two, &other, &second, &guest)] {
        let said = metadata(lab, guest, &[]).await?;
        ensure!(said["uuid"] == guest.id.as_str(), "{said}");
        ensure!(said["project_id"] == tenant.cloud.project_id.as_str(), "{said}");
        // Who claims to be another is still itself.
        let forged = format!("X-Instance-ID: {}", victim.id);
        let said = metadata(lab, guest, &["--header", &forged]).await?;
        ensure!(said["uuid"] == guest.id.as_str(), "with {forged}: {said}");
    }

    // Another project's port does not exist for a member. nova-api lets an administrator see it; the host does not use it.
    let theirs = json!({"networks": [{ "port": other.port }]});
    refused(&first.cloud, &theirs, &["400", &other.port, "could not be found"]).await?;
    let network =
        text(&admin.get("network", &format!("/v2.0/ports/{}", other.port)).await?["port"]["network_id"])
            .to_owned();
    let free = json!({"port": {"network_id": network, "name": "free"}});
    let free = text(&second.cloud.post("network", "/v2.0/ports", free).await?["port"]["id"]).to_owned();
    not_usable(&admin, &free).await?;
    delete(&second.cloud, "network", &format!("/v2.0/ports/{free}")).await?;

    one.remove().await?;
    two.remove().await?;
    first.remove(&admin).await?;
    second.remove(&admin).await
}

async fn guest(lab: &mut Lab<'_>, name: &str) -> Result<Guest> {
    let (network, _) = lab.network(name, SUBNET, json!({})).await?;
    let extra = json!({"networks": [{"uuid": network, "fixed_ip": ADDRESS}]});
    let [guest] = lab.guests([Boot { extra, ..small(name) }]).await?;
    ensure!(guest.address == ADDRESS, "{}", guest.address);
    Ok(guest)
}

/// As Nova does, the agent lets another host try; there is none, and the cause is in its log.
async fn not_usable(admin: &Cloud, port: &str) -> Result<()> {
    let id =
        admin.boot(&Boot { extra: json!({"networks": [{ "port": port }]}), ..small("not-usable") }).await?;
    let fault = admin.wait_for(&id, "ERROR").await?["fault"]["message"].to_string();
    ensure!(fault.contains("Exhausted all hosts"), "{fault}");
    let said = octopenstack_ok(&["logs", "--tail", "200", "nova-docker-agent"])?;
    ensure!(
        said.contains(&format!("Port {port} not usable for instance {id}")),
        "the agent's log has no cause"
    );
    let kept = admin.get("network", &format!("/v2.0/ports/{port}")).await?["port"].clone();
    ensure!(kept["device_id"] == "" && kept["binding:host_id"] == "", "{kept}");
    admin.delete(&id).await
}

async fn metadata(lab: &Lab<'_>, guest: &Guest, more: &[&str]) -> Result<Value> {
    let url = "http://169.254.169.254/openstack/latest/meta_data.json";
    let command = [&["wget", "-q", "-O", "-"], more, &[url]].concat();
    Ok(serde_json::from_str(&lab.host.exec(&guest.container(), &command).await?)?)
}

/// The API refuses such a boot, in a message with these words.
pub(crate) async fn refused(cloud: &Cloud, extra: &Value, words: &[&str]) -> Result<()> {
    let boot = Boot { extra: extra.clone(), ..small("refused") };
    let answer = cloud.boot(&boot).await;
    let message = answer.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(words.iter().all(|word| message.contains(word)), "not {words:?} but {message:?}");
    Ok(())
}
