//! Servers in Nova.

use std::time::{Duration, Instant};

use common::openstack::http::Request;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{COMPUTE, Cloud, Error};

/// What to boot.
pub(crate) struct NewServer<'a> {
    /// Name; with a `count` over 1 Nova appends `-1`, `-2` …
    pub(crate) name: &'a str,
    /// Image id.
    pub(crate) image: &'a str,
    /// Flavor id.
    pub(crate) flavor: &'a str,
    /// Compute host it must run on; the scheduler chooses when there is none.
    pub(crate) host: Option<&'a str>,
    /// How many, in one request.
    pub(crate) count: u32,
    /// Where it is connected, and who may enter; nowhere and nobody when there is none.
    pub(crate) access: Option<Access<'a>>,
}

/// A server's network, and who may enter it.
pub(crate) struct Access<'a> {
    /// Network id.
    pub(crate) network: &'a str,
    /// Name of a security group.
    pub(crate) security_group: &'a str,
    /// Name of a key pair.
    pub(crate) key: &'a str,
}

/// A server as nova-api shows it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Server {
    /// Its uuid.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// `ACTIVE`, `BUILD`, `ERROR` …
    #[serde(default)]
    pub(crate) status: String,
    #[serde(default, rename = "OS-EXT-STS:task_state")]
    task_state: Option<String>,
    /// The compute host it runs on.
    #[serde(default, rename = "OS-EXT-SRV-ATTR:host")]
    pub(crate) host: Option<String>,
    #[serde(default)]
    fault: Option<Fault>,
}

#[derive(Debug, Clone, Deserialize)]
struct Fault {
    message: String,
}

#[derive(Deserialize)]
struct One {
    server: Server,
}

#[derive(Deserialize)]
struct Many {
    servers: Vec<Server>,
}

#[derive(Deserialize)]
struct Accepted {
    server: Id,
}

#[derive(Deserialize)]
struct Id {
    id: String,
}

/// A server that was asked for.
pub(crate) struct Asked {
    /// Its uuid (of the first, when several were asked for).
    pub(crate) id: String,
    /// Nova's request id: the context of all RPCs made for it.
    pub(crate) request_id: String,
}

impl Cloud {
    /// Asks Nova for servers; they build when this returns.
    ///
    /// # Errors
    /// When nova-api refuses.
    pub(crate) async fn boot(&self, new: &NewServer<'_>) -> Result<Asked, Error> {
        let mut server = json!({"name": new.name, "imageRef": new.image, "flavorRef": new.flavor,
            "networks": "none"});
        if let Some(access) = &new.access {
            server["networks"] = json!([{ "uuid": access.network }]);
            server["security_groups"] = json!([{ "name": access.security_group }]);
            server["key_name"] = Value::from(access.key);
        }
        if let Some(host) = new.host {
            // The scheduler still runs and claims in placement, but has one candidate.
            server["availability_zone"] = Value::from(format!("nova:{host}"));
        }
        if new.count > 1 {
            server["min_count"] = Value::from(new.count);
            server["max_count"] = Value::from(new.count);
        }
        let request = Request::new(Method::POST, "/servers").microversion(COMPUTE);
        let response = self.compute.send(&request.json(json!({"server": server}))).await?;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let request_id = header("x-compute-request-id").unwrap_or_default().to_owned();
        let accepted: Accepted = read(response).await?;
        Ok(Asked { id: accepted.server.id, request_id })
    }

    /// The URL of a terminal in a server, good for one visit.
    ///
    /// # Errors
    /// When Nova gives none.
    pub(crate) async fn serial_console(&self, id: &str) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Answer {
            remote_console: Console,
        }
        #[derive(Deserialize)]
        struct Console {
            url: String,
        }
        let path = format!("/servers/{id}/remote-consoles");
        let body = json!({"remote_console": {"protocol": "serial", "type": "serial"}});
        let request = Request::new(Method::POST, &path).microversion(COMPUTE).json(body);
        Ok(self.compute.json::<Answer>(&request).await?.remote_console.url)
    }

    /// The server; `None` when there is none (any more).
    ///
    /// # Errors
    /// When nova-api answers anything but the server or 404.
    pub(crate) async fn server(&self, id: &str) -> Result<Option<Server>, Error> {
        let path = format!("/servers/{id}");
        match self.compute.json::<One>(&Request::new(Method::GET, &path).microversion(COMPUTE)).await {
            Ok(one) => Ok(Some(one.server)),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The servers whose name begins so. `status` limits them.
    ///
    /// # Errors
    /// When nova-api does not answer.
    pub(crate) async fn servers(&self, prefix: &str, status: Option<&str>) -> Result<Vec<Server>, Error> {
        let status = status.map(|status| format!("&status={status}")).unwrap_or_default();
        let path = format!("/servers?name=%5E{prefix}&limit=1000{status}");
        let many: Many = self.compute.json(&Request::new(Method::GET, &path).microversion(COMPUTE)).await?;
        Ok(many.servers)
    }

    /// Waits until the server is ACTIVE or in ERROR. It looks at a list, for which nova-api asks nobody: to show one server it
    /// asks Neutron for its groups.
    async fn wait_settled(&self, id: &str, poll: Duration, limit: Duration) -> Result<(), Error> {
        let start = Instant::now();
        while !self.is_listed(id, "&status=ACTIVE&status=ERROR").await? {
            if start.elapsed() > limit {
                return Err(late(id, self.server(id).await?, "ACTIVE", limit));
            }
            tokio::time::sleep(poll).await;
        }
        Ok(())
    }

    /// Waits until the server is ACTIVE, looking at it every `poll`.
    ///
    /// # Errors
    /// [`Error::Failed`] when it goes to ERROR, [`Error::Deadline`] when it does neither in time.
    pub(crate) async fn wait_active(
        &self,
        id: &str,
        poll: Duration,
        limit: Duration,
    ) -> Result<Server, Error> {
        self.wait_settled(id, poll, limit).await?;
        match self.server(id).await? {
            Some(server) if server.status == "ACTIVE" => Ok(server),
            Some(server) if server.status == "ERROR" => {
                let fault = server.fault.map(|fault| fault.message).unwrap_or_default();
                Err(Error::Failed { name: server.name, fault })
            }
            other => Err(late(id, other, "ACTIVE", limit)),
        }
    }

    /// Deletes a server and waits until nova-api no longer lists it.
    ///
    /// # Errors
    /// [`Error::Deadline`] when it stays.
    pub(crate) async fn delete(&self, id: &str, poll: Duration, limit: Duration) -> Result<(), Error> {
        self.delete_request(id).await?;
        let start = Instant::now();
        while self.is_listed(id, "").await? {
            if start.elapsed() > limit {
                return Err(late(id, self.server(id).await?, "deleted", limit));
            }
            tokio::time::sleep(poll).await;
        }
        Ok(())
    }

    /// Gives a server another port on a network; the port's id.
    ///
    /// # Errors
    /// When nova-api refuses, or the compute host fails.
    pub(crate) async fn attach_interface(&self, server: &str, network: &str) -> Result<String, Error> {
        let path = format!("/servers/{server}/os-interface");
        let body = json!({"interfaceAttachment": { "net_id": network }});
        let request = Request::new(Method::POST, &path).microversion(COMPUTE).json(body);
        let made: Value = self.compute.json(&request).await?;
        Ok(made["interfaceAttachment"]["port_id"].as_str().unwrap_or_default().to_owned())
    }

    /// Takes a port from a server and waits until it is gone, looking every `poll`.
    ///
    /// # Errors
    /// [`Error::Deadline`] when it stays.
    pub(crate) async fn detach_interface(
        &self,
        server: &str,
        port: &str,
        poll: Duration,
        limit: Duration,
    ) -> Result<(), Error> {
        let path = format!("/servers/{server}/os-interface/{port}");
        let delete = Request::new(Method::DELETE, &path).microversion(COMPUTE);
        self.compute.send(&delete).await?;
        let start = Instant::now();
        let look = Request::new(Method::GET, &path).microversion(COMPUTE);
        loop {
            match self.compute.send(&look).await {
                Err(error) if error.status() == Some(404) => return Ok(()),
                other => drop(other?),
            }
            if start.elapsed() > limit {
                return Err(late(server, self.server(server).await?, "without the port", limit));
            }
            tokio::time::sleep(poll).await;
        }
    }

    /// Whether nova-api lists the server with this further filter.
    async fn is_listed(&self, id: &str, filter: &str) -> Result<bool, Error> {
        let path = format!("/servers?uuid={id}&all_tenants=1{filter}");
        let many: Many = self.compute.json(&Request::new(Method::GET, &path).microversion(COMPUTE)).await?;
        Ok(!many.servers.is_empty())
    }

    /// Asks Nova to delete a server; one that is gone already is fine.
    ///
    /// # Errors
    /// When nova-api refuses.
    pub(crate) async fn delete_request(&self, id: &str) -> Result<(), Error> {
        let path = format!("/servers/{id}");
        match self.compute.send(&Request::new(Method::DELETE, &path).microversion(COMPUTE)).await {
            Ok(_) => Ok(()),
            Err(error) if error.status() == Some(404) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

async fn read<T: serde::de::DeserializeOwned>(response: reqwest::Response) -> Result<T, Error> {
    let url = response.url().to_string();
    response.json().await.map_err(|source| {
        common::openstack::Error::Malformed { method: Method::POST, url, source: Box::new(source) }.into()
    })
}

fn late(id: &str, server: Option<Server>, wanted: &'static str, limit: Duration) -> Error {
    let (name, status, task) = match server {
        Some(server) => (server.name, server.status, server.task_state.unwrap_or_else(|| "none".to_owned())),
        None => (id.to_owned(), "gone".to_owned(), "none".to_owned()),
    };
    Error::Deadline { name, status, task, wanted, seconds: limit.as_secs() }
}
