//! Neutron: ports and what is needed to understand them.
//!
//! Lists are asked for by id, many ids in one request: the number of requests does not grow with what is asked about.
//! Requests without a user's token are the service's own, which may see and bind the ports of every project.

mod types;

use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::error::Error;
use super::glance::OnBehalf;
use super::http::Request;
use super::session::{EndpointFilter, Service, Session};

pub use types::{FixedIp, FloatingIp, HostRoute, Network, Port, SecurityGroup, Segment, Subnet};

/// Ids in one URL: servers refuse lines beyond 8 KiB.
const IDS_AT_ONCE: usize = 100;

/// `field=value` pairs of a list's query.
pub type Query<'a> = &'a [(&'a str, &'a str)];

/// Client of Neutron.
#[derive(Debug, Clone)]
pub struct Neutron {
    service: Service,
}

impl Neutron {
    /// A client that logs in through `session`.
    pub fn new(session: &Session, mut endpoint: EndpointFilter) -> Self {
        // Written with and without the version; the paths below bring their own.
        if let Some(url) = &mut endpoint.endpoint_override {
            *url = url.trim_end_matches('/').trim_end_matches("/v2.0").to_owned();
        }
        Self { service: session.service("network", endpoint) }
    }

    /// Ports by any fields (`device_id`, `binding:host_id`).
    ///
    /// # Errors
    /// Every status that is not success; so for all calls of this client.
    pub async fn ports(&self, query: Query<'_>) -> Result<Vec<Port>, Error> {
        self.list("ports", query, OnBehalf::default()).await
    }

    /// Ports of which `field` is one of `values`.
    ///
    /// # Errors
    /// As [`Neutron::ports`].
    pub async fn ports_by(&self, field: &str, values: &[&str], query: Query<'_>) -> Result<Vec<Port>, Error> {
        self.list_by("ports", (field, values), query, OnBehalf::default()).await
    }

    /// Makes a port.
    ///
    /// # Errors
    /// 409 with the codes `OverQuota`, `IpAddressGenerationFailure`, `IpAddressInUse` …
    pub async fn create_port(&self, port: Value, behalf: OnBehalf<'_>) -> Result<Port, Error> {
        self.one(Method::POST, "/v2.0/ports", ("port", port), behalf).await
    }

    /// Changes a port.
    ///
    /// # Errors
    /// 404 when it is gone.
    pub async fn update_port(&self, id: &str, port: Value, behalf: OnBehalf<'_>) -> Result<Port, Error> {
        self.one(Method::PUT, &format!("/v2.0/ports/{id}"), ("port", port), behalf).await
    }

    /// Deletes a port; one that is gone is fine. False when it was gone.
    ///
    /// # Errors
    /// As [`Neutron::ports`].
    pub async fn delete_port(&self, id: &str) -> Result<bool, Error> {
        let path = format!("/v2.0/ports/{id}");
        match self.service.send(&Request::new(Method::DELETE, &path)).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Networks by any fields, as far as the user may use them.
    ///
    /// # Errors
    /// As [`Neutron::ports`].
    pub async fn networks(&self, query: Query<'_>, behalf: OnBehalf<'_>) -> Result<Vec<Network>, Error> {
        self.list("networks", query, behalf).await
    }

    /// The networks with these ids, as far as the user may use them.
    ///
    /// # Errors
    /// As [`Neutron::ports`].
    pub async fn networks_by_id(&self, ids: &[&str], behalf: OnBehalf<'_>) -> Result<Vec<Network>, Error> {
        self.list_by("networks", ("id", ids), &[], behalf).await
    }

    /// All subnets of these networks.
    ///
    /// # Errors
    /// As [`Neutron::ports`].
    pub async fn subnets_of(&self, networks: &[&str]) -> Result<Vec<Subnet>, Error> {
        self.list_by("subnets", ("network_id", networks), &[], OnBehalf::default()).await
    }

    /// The floating addresses of these ports; none where Neutron has no router.
    ///
    /// # Errors
    /// As [`Neutron::ports`].
    pub async fn floating_ips_of(&self, ports: &[&str]) -> Result<Vec<FloatingIp>, Error> {
        match self.list_by("floatingips", ("port_id", ports), &[], OnBehalf::default()).await {
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            other => other,
        }
    }

    /// Security groups by any fields, as far as the user may use them.
    ///
    /// # Errors
    /// As [`Neutron::ports`].
    pub async fn security_groups(
        &self,
        query: Query<'_>,
        behalf: OnBehalf<'_>,
    ) -> Result<Vec<SecurityGroup>, Error> {
        self.list("security-groups", query, behalf).await
    }

    /// Aliases of the extensions that Neutron has (`dns-integration` …).
    ///
    /// # Errors
    /// As [`Neutron::ports`].
    pub async fn extensions(&self) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Extension {
            alias: String,
        }
        let found: Vec<Extension> = self.list("extensions", &[], OnBehalf::default()).await?;
        Ok(found.into_iter().map(|extension| extension.alias).collect())
    }

    /// Id of the network that Neutron keeps for users who ask for `auto`, made if there is none yet.
    ///
    /// # Errors
    /// 409 when the cloud is not prepared for it.
    pub async fn auto_allocated_network(&self, project: &str, behalf: OnBehalf<'_>) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Topology {
            id: String,
        }
        #[derive(Deserialize)]
        struct Body {
            auto_allocated_topology: Topology,
        }
        let path = format!("/v2.0/auto-allocated-topology/{project}");
        let body: Body = self.service.json(&request(Method::GET, &path, behalf)).await?;
        Ok(body.auto_allocated_topology.id)
    }

    async fn one<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        (name, body): (&str, Value),
        behalf: OnBehalf<'_>,
    ) -> Result<T, Error> {
        let request = request(method.clone(), path, behalf).json(json!({ name: body }));
        let mut answer: Map<String, Value> = self.service.json(&request).await?;
        read(method, path, answer.remove(name))
    }

    async fn list<T: DeserializeOwned>(
        &self,
        collection: &str,
        query: Query<'_>,
        behalf: OnBehalf<'_>,
    ) -> Result<Vec<T>, Error> {
        let path = path_of(collection, query.iter().copied());
        let mut answer: Map<String, Value> = self.service.json(&request(Method::GET, &path, behalf)).await?;
        read(Method::GET, &path, answer.remove(&collection.replace('-', "_")))
    }

    async fn list_by<T: DeserializeOwned>(
        &self,
        collection: &str,
        (field, values): (&str, &[&str]),
        query: Query<'_>,
        behalf: OnBehalf<'_>,
    ) -> Result<Vec<T>, Error> {
        let mut found = Vec::new();
        // No value means nothing, not everything.
        for some in values.chunks(IDS_AT_ONCE) {
            let query: Vec<_> =
                some.iter().map(|value| (field, *value)).chain(query.iter().copied()).collect();
            found.extend(self.list(collection, &query, behalf).await?);
        }
        Ok(found)
    }
}

fn request<'a>(method: Method, path: &'a str, behalf: OnBehalf<'a>) -> Request<'a> {
    Request { user_token: behalf.user_token, request_id: behalf.request_id, ..Request::new(method, path) }
}

fn path_of<'a>(collection: &str, query: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let pairs: Vec<String> = query.map(|(field, value)| format!("{field}={}", encoded(value))).collect();
    match pairs.is_empty() {
        true => format!("/v2.0/{collection}"),
        false => format!("/v2.0/{collection}?{}", pairs.join("&")),
    }
}

/// What stands for itself in a query stays; everything else becomes `%XX`.
fn encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    let parts = value.bytes().map(|byte| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    parts.collect()
}

fn read<T: DeserializeOwned>(method: Method, path: &str, value: Option<Value>) -> Result<T, Error> {
    let malformed = |source| Error::Malformed { method: method.clone(), url: path.to_owned(), source };
    let value = value.ok_or_else(|| malformed("the answer lacks what was asked for".into()))?;
    serde_json::from_value(value).map_err(|source| malformed(source.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_written_so_that_any_value_survives() {
        let query =
            [("device_owner", "network:dhcp"), ("fixed_ips", "ip_address=10.0.0.3"), ("name", "a b&c")];
        assert_eq!(
            path_of("ports", query.into_iter()),
            "/v2.0/ports?device_owner=network:dhcp&fixed_ips=ip_address%3D10.0.0.3&name=a%20b%26c"
        );
        assert_eq!(path_of("networks", [].into_iter()), "/v2.0/networks");
    }
}
