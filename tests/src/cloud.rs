//! A user's view of the cloud under test: Keystone, Nova, Glance and Placement over their public REST API, plus
//! the deployer's binary. Live tests see only what an operator or a tenant sees.

use std::{
    collections::BTreeMap,
    process::{Command, Output},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// How long one state change may take before a test gives up.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// Names the running test platform; set by `octopenstack test`.
const BINARY: &str = "OCTOPENSTACK_TEST_BINARY";
const ARGUMENTS: &str = "OCTOPENSTACK_TEST_ARGUMENTS";

/// The compute microversion the tests speak: the newest of Nova 34 that needs no networks API of its own.
const COMPUTE: &str = "compute 2.96";

/// Runs the deployer against the test platform.
///
/// # Errors
/// When the binary is not named in the environment or cannot be started.
pub fn octopenstack(arguments: &[&str]) -> Result<Output> {
    let binary = std::env::var(BINARY)
        .with_context(|| format!("{BINARY} is not set: live tests are run by ./octopenstack test"))?;
    let platform: Vec<String> = serde_json::from_str(&std::env::var(ARGUMENTS).unwrap_or("[]".into()))?;
    Command::new(&binary)
        .args(platform)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .with_context(|| format!("cannot run {binary}"))
}

/// The output of a deployer command that must succeed.
///
/// # Errors
/// When the command ends with another status than 0; the message holds what it said.
pub fn octopenstack_ok(arguments: &[&str]) -> Result<String> {
    let output = octopenstack(arguments)?;
    let talk = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "octopenstack {arguments:?} ended with {}: {talk}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// One authenticated session.
pub struct Cloud {
    http: reqwest::Client,
    token: String,
    catalogue: BTreeMap<String, String>,
    microversion: &'static str,
    /// The project the session is scoped to.
    pub project_id: String,
}

/// What a test wants to boot; the rest is the smallest that works.
#[derive(Clone)]
pub struct Boot<'a> {
    /// The server's name.
    pub name: &'a str,
    /// The image's name.
    pub image: &'a str,
    /// The flavor's name.
    pub flavor: &'a str,
    /// Further keys of the `server` in the request, over the ones above.
    pub extra: Value,
    /// The scheduler's hints; none when null.
    pub hints: Value,
}

impl Cloud {
    /// Logs in with the credentials `octopenstack openrc` prints.
    ///
    /// # Errors
    /// When no platform runs or Keystone refuses the login.
    pub async fn admin() -> Result<Self> {
        let rc = openrc(&octopenstack_ok(&["openrc"])?);
        let get = |name: &str| rc.get(name).cloned().with_context(|| format!("openrc prints no {name}"));
        let (url, project) = (get("OS_AUTH_URL")?, get("OS_PROJECT_NAME")?);
        let cloud = Self::login(&url, &get("OS_USERNAME")?, &get("OS_PASSWORD")?, &project).await?;
        cloud.without_quota().await?;
        Ok(cloud)
    }

    /// The same session at another microversion of Nova's, as `compute 2.56`.
    #[must_use]
    pub fn at(self, microversion: &'static str) -> Self {
        Self { microversion, ..self }
    }

    /// Tests run side by side in one project: Nova's default of ten instances would let one fail for another.
    async fn without_quota(&self) -> Result<()> {
        let path = format!("/os-quota-sets/{}", self.project_id);
        let none = json!({"quota_set": {"instances": -1, "cores": -1, "ram": -1}});
        self.put_body("compute", &path, none).await.map(drop)
    }

    /// Logs in as any user of the Default domain.
    ///
    /// # Errors
    /// When Keystone refuses the login.
    pub async fn login(auth_url: &str, user: &str, password: &str, project: &str) -> Result<Self> {
        common::tls::install();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(120)).build()?;
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": user, "domain": {"id": "default"}, "password": password}}},
            "scope": {"project": {"name": project, "domain": {"id": "default"}}}}});
        let answer = http.post(format!("{auth_url}/auth/tokens")).json(&body).send().await?;
        ensure!(answer.status() == StatusCode::CREATED, "login of {user}: {}", answer.status());
        let token = answer.headers()["X-Subject-Token"].to_str()?.to_owned();
        let token_body: Value = answer.json().await?;
        let mut catalogue = BTreeMap::new();
        for service in list(&token_body["token"]["catalog"]) {
            for endpoint in list(&service["endpoints"]) {
                if endpoint["interface"] == "public" {
                    let url = text(&endpoint["url"]).trim_end_matches('/').to_owned();
                    catalogue.insert(text(&service["type"]).to_owned(), url);
                }
            }
        }
        let project_id = text(&token_body["token"]["project"]["id"]).to_owned();
        Ok(Self { http, token, catalogue, microversion: COMPUTE, project_id })
    }

    /// A request to the service of a catalogue type (`compute`, `image`, `placement`, `identity`).
    ///
    /// # Errors
    /// When the service is not in the catalogue or does not answer; a status of 400 or more is an answer.
    pub async fn request(
        &self,
        method: Method,
        service: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<(StatusCode, Value)> {
        let url = self.catalogue.get(service).with_context(|| format!("no {service} in the catalogue"))?;
        let mut request =
            self.http.request(method, format!("{url}{path}")).header("X-Auth-Token", &self.token).header(
                "OpenStack-API-Version",
                if service == "placement" { "placement 1.39" } else { self.microversion },
            );
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let bytes = answer.bytes().await?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }

    /// A GET that must succeed.
    ///
    /// # Errors
    /// On any other status than 200.
    pub async fn get(&self, service: &str, path: &str) -> Result<Value> {
        let (status, body) = self.request(Method::GET, service, path, None).await?;
        ensure!(status == StatusCode::OK, "GET {service} {path}: {status} {body}");
        Ok(body)
    }

    /// A POST that must succeed.
    ///
    /// # Errors
    /// On a status of 300 or more.
    pub async fn post(&self, service: &str, path: &str, body: Value) -> Result<Value> {
        let (status, answer) = self.request(Method::POST, service, path, Some(body)).await?;
        ensure!(status.is_success(), "POST {service} {path}: {status} {answer}");
        Ok(answer)
    }

    /// A PUT without a body that must succeed.
    ///
    /// # Errors
    /// On a status of 300 or more.
    pub async fn put(&self, service: &str, path: &str) -> Result<()> {
        let (status, answer) = self.request(Method::PUT, service, path, None).await?;
        ensure!(status.is_success(), "PUT {service} {path}: {status} {answer}");
        Ok(())
    }

    /// A PUT with a body that must succeed.
    ///
    /// # Errors
    /// On a status of 300 or more.
    pub async fn put_body(&self, service: &str, path: &str, body: Value) -> Result<Value> {
        let (status, answer) = self.request(Method::PUT, service, path, Some(body)).await?;
        ensure!(status.is_success(), "PUT {service} {path}: {status} {answer}");
        Ok(answer)
    }

    /// The public URL of a service by its type.
    ///
    /// # Errors
    /// When it is not in the catalogue.
    pub fn catalogue_url(&self, service: &str) -> Result<String> {
        self.catalogue.get(service).cloned().with_context(|| format!("no {service} in the catalogue"))
    }

    /// Uploads a `docker save` archive and returns the image's id.
    ///
    /// # Errors
    /// When glance refuses it.
    pub async fn upload_image(&self, name: &str, container_format: &str, archive: Vec<u8>) -> Result<String> {
        self.upload_described(name, json!({ "container_format": container_format }), archive).await
    }

    /// As [`Cloud::upload_image`], with further properties; Docker's format unless they say otherwise.
    ///
    /// # Errors
    /// When glance refuses it.
    pub async fn upload_described(&self, name: &str, more: Value, archive: Vec<u8>) -> Result<String> {
        let mut properties = json!({"name": name, "container_format": "docker", "disk_format": "raw"});
        merge(&mut properties, &more);
        let image = self.post("image", "/v2/images", properties).await?;
        let id = text(&image["id"]).to_owned();
        let url = &self.catalogue["image"];
        let answer = self
            .http
            .put(format!("{url}/v2/images/{id}/file"))
            .header("X-Auth-Token", &self.token)
            .header("Content-Type", "application/octet-stream")
            .body(archive)
            .send()
            .await?;
        ensure!(answer.status().is_success(), "upload of {name}: {}", answer.status());
        Ok(id)
    }

    /// The bytes of an image.
    ///
    /// # Errors
    /// When glance does not hand them out.
    pub async fn download_image(&self, id: &str) -> Result<Vec<u8>> {
        let url = format!("{}/v2/images/{id}/file", self.catalogue["image"]);
        let answer = self.http.get(url).header("X-Auth-Token", &self.token).send().await?;
        Ok(answer.error_for_status()?.bytes().await?.to_vec())
    }

    /// The id of an image or flavor by its name.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn image_id(&self, name: &str) -> Result<String> {
        by_name(&self.get("image", "/v2/images?limit=200").await?["images"], name)
    }

    /// See [`Cloud::image_id`].
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn flavor_id(&self, name: &str) -> Result<String> {
        by_name(&self.get("compute", "/flavors?is_public=None").await?["flavors"], name)
    }

    /// Asks Nova for a server without networks and returns its id.
    ///
    /// # Errors
    /// When nova-api refuses.
    pub async fn boot(&self, boot: &Boot<'_>) -> Result<String> {
        let mut server = json!({"name": boot.name, "imageRef": self.image_id(boot.image).await?,
            "flavorRef": self.flavor_id(boot.flavor).await?, "networks": "none"});
        merge(&mut server, &boot.extra);
        let mut body = json!({"server": server});
        if !boot.hints.is_null() {
            body["os:scheduler_hints"] = boot.hints.clone();
        }
        let answer = self.post("compute", "/servers", body).await?;
        Ok(text(&answer["server"]["id"]).to_owned())
    }

    /// The server as the API shows it; `None` when there is none (any more).
    ///
    /// # Errors
    /// When nova-api answers neither 200 nor 404.
    pub async fn server(&self, id: &str) -> Result<Option<Value>> {
        match self.request(Method::GET, "compute", &format!("/servers/{id}"), None).await? {
            (StatusCode::OK, body) => Ok(Some(body["server"].clone())),
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, body) => bail!("GET server {id}: {status} {body}"),
        }
    }

    /// Waits until the server has the status and no task is left.
    ///
    /// # Errors
    /// When it goes to ERROR instead (with its fault), or on the deadline.
    pub async fn wait_for(&self, id: &str, status: &str) -> Result<Value> {
        let start = Instant::now();
        loop {
            let server = self.server(id).await?.with_context(|| format!("server {id} is gone"))?;
            let idle = server["OS-EXT-STS:task_state"].is_null();
            if server["status"] == status && idle {
                return Ok(server);
            }
            ensure!(server["status"] != "ERROR" || status == "ERROR", "server {id}: {}", server["fault"]);
            ensure!(
                start.elapsed() < DEADLINE,
                "server {id} is {} ({}) and not {status} after {DEADLINE:?}",
                server["status"],
                server["OS-EXT-STS:task_state"]
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Boots and waits until it is ACTIVE.
    ///
    /// # Errors
    /// See [`Cloud::boot`] and [`Cloud::wait_for`].
    pub async fn boot_active(&self, boot: &Boot<'_>) -> Result<Value> {
        let id = self.boot(boot).await?;
        self.wait_for(&id, "ACTIVE").await
    }

    /// A server action (`os-stop`, `reboot` …) that must be accepted.
    ///
    /// # Errors
    /// When nova-api refuses.
    pub async fn action(&self, id: &str, action: Value) -> Result<Value> {
        self.post("compute", &format!("/servers/{id}/action"), action).await
    }

    /// Deletes a server and waits until the API no longer knows it.
    ///
    /// # Errors
    /// When nova-api refuses, or on the deadline.
    pub async fn delete(&self, id: &str) -> Result<()> {
        let (status, body) = self.request(Method::DELETE, "compute", &format!("/servers/{id}"), None).await?;
        ensure!(
            status == StatusCode::NO_CONTENT || status == StatusCode::NOT_FOUND,
            "delete {id}: {status} {body}"
        );
        self.wait_deleted(id).await
    }

    /// Waits until the API no longer knows the server.
    ///
    /// # Errors
    /// On the deadline.
    pub async fn wait_deleted(&self, id: &str) -> Result<()> {
        let start = Instant::now();
        while let Some(server) = self.server(id).await? {
            ensure!(
                start.elapsed() < DEADLINE,
                "server {id} is still {} after {DEADLINE:?}",
                server["status"]
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// The events of the newest action of that name, e.g. `create`, with the action's own message.
    ///
    /// # Errors
    /// When there is no such action.
    pub async fn action_events(&self, id: &str, action: &str) -> Result<(Value, Vec<Value>)> {
        let actions = self.get("compute", &format!("/servers/{id}/os-instance-actions")).await?;
        let found = list(&actions["instanceActions"])
            .into_iter()
            .find(|each| each["action"] == action)
            .with_context(|| format!("server {id} has no action {action}: {actions}"))?;
        let path = format!("/servers/{id}/os-instance-actions/{}", text(&found["request_id"]));
        let detail = self.get("compute", &path).await?["instanceAction"].clone();
        let events = list(&detail["events"]);
        Ok((detail, events))
    }

    /// What placement holds for a consumer (an instance's uuid): provider to resources.
    ///
    /// # Errors
    /// When placement does not answer.
    pub async fn allocations(&self, consumer: &str) -> Result<Value> {
        Ok(self.get("placement", &format!("/allocations/{consumer}")).await?["allocations"].clone())
    }
}

/// `export NAME=value` lines as a map; quotes around values are dropped.
fn openrc(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
        .collect()
}

/// A JSON array's items; nothing when it is none.
pub fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// A JSON string; empty when it is none.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn by_name(items: &Value, name: &str) -> Result<String> {
    let found = list(items).into_iter().find(|item| item["name"] == name);
    Ok(text(&found.with_context(|| format!("nothing is called {name} in {items}"))?["id"]).to_owned())
}

fn merge(into: &mut Value, from: &Value) {
    if let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) {
        into.extend(from.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openrc_lines_become_a_map() {
        let rc = openrc("# comment\nexport OS_USERNAME=admin\nexport OS_PASSWORD='a=b'\n");
        assert_eq!(rc["OS_USERNAME"], "admin");
        assert_eq!(rc["OS_PASSWORD"], "a=b");
    }
}
