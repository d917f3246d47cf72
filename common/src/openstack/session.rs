//! Login at Keystone and what comes of it: a token, the service catalogue, and a new token in time
//! (Nova: keystoneauth1).
//!
//! A token is renewed by logging in again, never by exchanging it. Callers that meet 401 say which *generation* of the
//! token they used: the first one logs in, the others find a newer generation and go on with it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::Mutex;

use super::catalogue::Catalogue;
use super::error::Error;
use super::http::{self, Request};
use crate::contact::{Contact, Seen};
use crate::error_chain::Chain;
use crate::secret::Secret;

/// Keystone's type in the catalogue.
const IDENTITY: &str = "identity";

/// A token is renewed at the latest this long before it ends.
const LONGEST_MARGIN: Duration = Duration::from_secs(300);

/// What a user logs in with (keystoneauth's password plug-in, v3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `auth_url`, with or without `/v3`.
    pub auth_url: String,
    /// `username`
    pub username: String,
    /// `password`
    pub password: Secret,
    /// `project_name`
    pub project_name: String,
    /// `user_domain_id` or `user_domain_name`
    pub user_domain: Domain,
    /// `project_domain_id` or `project_domain_name`
    pub project_domain: Domain,
    /// `cafile`: trust these certificate authorities (PEM) instead of the system's.
    pub cafile: Option<PathBuf>,
    /// `insecure`: do not check certificates.
    pub insecure: bool,
}

/// A Keystone domain, by whatever the operator named it with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Domain {
    /// By its id.
    Id(String),
    /// By its name.
    Name(String),
}

/// Which endpoint of the catalogue a client of one service asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointFilter {
    /// `region_name`; any region when absent.
    pub region_name: Option<String>,
    /// `valid_interfaces`: the first that the catalogue has wins.
    pub valid_interfaces: Vec<String>,
    /// `endpoint_override`: this URL instead of the catalogue's.
    pub endpoint_override: Option<String>,
}

/// A login that renews itself; cheap to clone, clones share the token.
#[derive(Debug, Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    credentials: Credentials,
    client: Client,
    uploads: Client,
    contacts: std::sync::Mutex<BTreeMap<&'static str, Arc<Contact>>>,
    /// Held while somebody logs in, so that a crowd of callers makes one login.
    login: Mutex<Option<Arc<Login>>>,
}

/// One successful login.
#[derive(Debug)]
struct Login {
    token: Secret,
    catalogue: Catalogue,
    generation: u64,
    renew_at: Instant,
    ends_at: Instant,
}

impl Session {
    /// A session that logs in when it is first used.
    ///
    /// # Errors
    /// [`Error::CaFile`] when `cafile` cannot be read.
    pub fn new(credentials: Credentials) -> Result<Self, Error> {
        let (client, uploads) = (http::client(&credentials)?, http::upload_client(&credentials)?);
        let (contacts, login) = (std::sync::Mutex::default(), Mutex::new(None));
        Ok(Self { shared: Arc::new(Shared { credentials, client, uploads, contacts, login }) })
    }

    /// A client of one service of the catalogue (`placement`, `image`).
    pub fn service(&self, service_type: &'static str, filter: EndpointFilter) -> Service {
        Service { session: self.clone(), service_type, filter, contact: self.contact(service_type) }
    }

    /// What was seen of Keystone and of the services that were asked through this session, by catalogue type.
    pub fn contacts(&self) -> Vec<(&'static str, Seen)> {
        self.contact(IDENTITY);
        let contacts = self.shared.contacts.lock().unwrap_or_else(PoisonError::into_inner);
        contacts.iter().map(|(service, contact)| (*service, contact.seen())).collect()
    }

    fn contact(&self, service_type: &'static str) -> Arc<Contact> {
        let mut contacts = self.shared.contacts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(contacts.entry(service_type).or_default())
    }

    /// The login to use now.
    async fn current(&self) -> Result<Arc<Login>, Error> {
        let mut held = self.shared.login.lock().await;
        let now = Instant::now();
        match held.as_ref() {
            Some(login) if now < login.renew_at => Ok(login.clone()),
            Some(login) if now < login.ends_at => match self.log_in(login.generation + 1).await {
                Ok(new) => Ok(held.insert(new).clone()),
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "cannot renew the token yet");
                    Ok(login.clone())
                }
            },
            other => {
                let generation = other.map_or(0, |login| login.generation + 1);
                Ok(held.insert(self.log_in(generation).await?).clone())
            }
        }
    }

    /// The login to use after `stale` was refused.
    async fn renewed(&self, stale: u64) -> Result<Arc<Login>, Error> {
        let mut held = self.shared.login.lock().await;
        match held.as_ref() {
            Some(login) if login.generation > stale => Ok(login.clone()),
            _ => Ok(held.insert(self.log_in(stale + 1).await?).clone()),
        }
    }

    async fn log_in(&self, generation: u64) -> Result<Arc<Login>, Error> {
        let credentials = &self.shared.credentials;
        let url = format!("{}/auth/tokens", identity_v3(&credentials.auth_url));
        let request = self.shared.client.post(&url).json(&login_body(credentials));
        let response = http::send(&Method::POST, &url, request, true).await;
        let contact = self.contact(IDENTITY);
        // Who may not log in is no better off than who does not reach Keystone.
        let response = response.inspect(|_| contact.answered()).inspect_err(|e| contact.failed(&Chain(e)))?;
        let malformed = |why: &str| Error::Malformed {
            method: Method::POST,
            url: url.clone(),
            source: why.to_owned().into(),
        };
        let token = response.headers().get("X-Subject-Token").and_then(|token| token.to_str().ok());
        let token = Secret::new(token.ok_or_else(|| malformed("there is no X-Subject-Token header"))?);
        let answer: answer::Body = http::json(Method::POST, response).await?;
        let lifetime =
            answer.token.lifetime().ok_or_else(|| malformed("the token's times are not usable"))?;
        tracing::debug!(user = credentials.username, seconds = lifetime.as_secs(), "logged in at Keystone");
        let now = Instant::now();
        let margin = (lifetime / 10).min(LONGEST_MARGIN);
        Ok(Arc::new(Login {
            token,
            catalogue: Catalogue::new(answer.token.catalog),
            generation,
            renew_at: now + lifetime - margin,
            ends_at: now + lifetime,
        }))
    }
}

/// A client of one OpenStack service.
#[derive(Debug, Clone)]
pub struct Service {
    session: Session,
    service_type: &'static str,
    filter: EndpointFilter,
    contact: Arc<Contact>,
}

impl Service {
    /// Sends a request and returns the answer once its headers are there.
    ///
    /// A 401 makes one new login and one repetition.
    ///
    /// # Errors
    /// [`Error::Api`] for every status that is not success.
    pub async fn send(&self, request: &Request<'_>) -> Result<Response, Error> {
        let login = self.session.current().await?;
        match self.send_with(&login, request).await {
            Err(error) if error.status() == Some(401) => {
                let login = self.session.renewed(login.generation).await?;
                self.send_with(&login, request).await
            }
            // A service that was added to the cloud after our login.
            Err(Error::NoEndpoint { .. }) => {
                let login = self.session.renewed(login.generation).await?;
                self.send_with(&login, request).await
            }
            other => other,
        }
    }

    /// Sends a request and reads the JSON answer.
    ///
    /// # Errors
    /// As [`Service::send`], and [`Error::Malformed`] for an answer of another form.
    pub async fn json<T: DeserializeOwned>(&self, request: &Request<'_>) -> Result<T, Error> {
        let response = self.send(request).await?;
        http::json(request.method.clone(), response).await
    }

    /// Sends `body` as it comes, as `application/octet-stream`. Nothing is repeated: the body is gone after one try.
    ///
    /// # Errors
    /// As [`Service::send`].
    pub async fn upload(&self, request: &Request<'_>, body: reqwest::Body) -> Result<Response, Error> {
        let login = self.session.current().await?;
        let url = self.url(&login, request.path)?;
        let builder = prepare(&self.session.shared.uploads, (&login, &url), request);
        let builder = builder.header("Content-Type", "application/octet-stream").body(body);
        let answer = http::send_once(&request.method, &url, builder).await;
        note(&self.contact, &answer);
        answer
    }

    /// The address of a path below this service's endpoint.
    fn url(&self, login: &Login, path: &str) -> Result<String, Error> {
        let endpoint = match &self.filter.endpoint_override {
            Some(url) => url.as_str(),
            None => login.catalogue.endpoint(self.service_type, &self.filter)?,
        };
        Ok(format!("{}{path}", endpoint.trim_end_matches('/')))
    }

    async fn send_with(&self, login: &Login, request: &Request<'_>) -> Result<Response, Error> {
        let url = self.url(login, request.path)?;
        let mut builder = prepare(&self.session.shared.client, (login, &url), request);
        if let Some(content_type) = request.content_type {
            builder = builder.header("Content-Type", content_type);
        }
        if let Some(body) = &request.body {
            builder = builder.json(body);
        }
        let answer = http::send(&request.method, &url, builder, request.method.is_idempotent()).await;
        note(&self.contact, &answer);
        answer
    }
}

/// Notes whether a service answered. What it refuses is answered; 5xx comes from one that cannot work, or from the load
/// balancer before it.
fn note<T>(contact: &Contact, answer: &Result<T, Error>) {
    match answer {
        Err(error) if error.status().is_none_or(|status| status >= 500) => contact.failed(&Chain(error)),
        _ => contact.answered(),
    }
}

/// All of a request but its body.
fn prepare(client: &Client, (login, url): (&Login, &str), request: &Request<'_>) -> RequestBuilder {
    let mut builder = client.request(request.method.clone(), url);
    builder = match request.user_token {
        Some(user) => builder.header("X-Auth-Token", user).header("X-Service-Token", login.token.reveal()),
        None => builder.header("X-Auth-Token", login.token.reveal()),
    };
    if let Some(microversion) = request.microversion {
        builder = builder.header("OpenStack-API-Version", microversion);
    }
    if let Some(id) = request.request_id {
        builder = builder.header("X-Openstack-Request-Id", id);
    }
    builder.header("Accept", "application/json, */*;q=0.1")
}

/// `auth_url` is written with and without the version, with and without a slash.
fn identity_v3(auth_url: &str) -> String {
    let base = auth_url.trim_end_matches('/');
    format!("{}/v3", base.trim_end_matches("/v3"))
}

fn login_body(credentials: &Credentials) -> serde_json::Value {
    let domain = |domain: &Domain| match domain {
        Domain::Id(id) => json!({ "id": id }),
        Domain::Name(name) => json!({ "name": name }),
    };
    json!({ "auth": {
        "identity": { "methods": ["password"], "password": { "user": {
            "name": credentials.username,
            "password": credentials.password.reveal(),
            "domain": domain(&credentials.user_domain),
        } } },
        "scope": { "project": {
            "name": credentials.project_name,
            "domain": domain(&credentials.project_domain),
        } },
    } })
}

/// Keystone's answer to a login, as far as it is used.
mod answer {
    use std::time::Duration;

    use serde::Deserialize;

    use crate::openstack::catalogue::Entry;

    #[derive(Deserialize)]
    pub(super) struct Body {
        pub(super) token: Token,
    }

    #[derive(Deserialize)]
    pub(super) struct Token {
        issued_at: jiff::Timestamp,
        expires_at: jiff::Timestamp,
        #[serde(default)]
        pub(super) catalog: Vec<Entry>,
    }

    impl Token {
        /// How long it lives. Both times are Keystone's, so a wrong clock on this machine does not matter.
        pub(super) fn lifetime(&self) -> Option<Duration> {
            Duration::try_from(self.expires_at.duration_since(self.issued_at)).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_url_is_completed() {
        for url in ["http://h:5000", "http://h:5000/", "http://h:5000/v3", "http://h:5000/v3/"] {
            assert_eq!(identity_v3(url), "http://h:5000/v3");
        }
        assert_eq!(identity_v3("https://h/identity"), "https://h/identity/v3");
    }

    #[test]
    fn credentials_print_without_the_password() {
        let credentials = Credentials {
            auth_url: "http://h".into(),
            username: "nova".into(),
            password: Secret::new("hunter2"),
            project_name: "service".into(),
            user_domain: Domain::Id("default".into()),
            project_domain: Domain::Name("Default".into()),
            cafile: None,
            insecure: false,
        };
        assert!(!format!("{credentials:?}").contains("hunter2"));
        let body = login_body(&credentials).to_string();
        assert!(
            body.contains(r#""domain":{"id":"default"}"#) && body.contains(r#""domain":{"name":"Default"}"#)
        );
    }
}
