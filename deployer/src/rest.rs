//! OpenStack's REST APIs as the deployer needs them: log in once, find an endpoint, send JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use common::secret::Secret;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

/// A call may take this long; Keystone's first answers after a start are slow on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An API that did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No answer.
    #[error("{method} {url}: no answer")]
    NoAnswer { method: Method, url: String, source: reqwest::Error },
    /// A refusal, with the service's own sentence.
    #[error("{method} {url} was refused with {status}: {message}")]
    Refused { method: Method, url: String, status: StatusCode, message: String },
    /// An answer without something it must have.
    #[error("{url} answered without {missing}")]
    Incomplete { url: String, missing: String },
}

impl Error {
    pub(crate) fn status(&self) -> Option<StatusCode> {
        if let Error::Refused { status, .. } = self { Some(*status) } else { None }
    }
}

/// Who logs in where.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    /// Keystone's URL with `/v3`.
    pub(crate) url: String,
    pub(crate) user: String,
    pub(crate) project: String,
    pub(crate) password: Secret,
}

/// A session: token and catalogue.
#[derive(Clone)]
pub(crate) struct Session {
    http: Client,
    token: Secret,
    /// Public endpoints by service type.
    endpoints: BTreeMap<String, String>,
}

/// The HTTP client of all calls: a platform is not reached through a proxy.
pub(crate) fn client() -> Client {
    common::tls::install();
    Client::builder()
        .timeout(PATIENCE)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap_or_default()
}

impl Session {
    /// Logs in with a password.
    pub(crate) async fn login(http: &Client, login: &Login) -> Result<Session, Error> {
        let domain = json!({ "id": "default" });
        let body = json!({ "auth": {
            "identity": { "methods": ["password"], "password": { "user": {
                "name": login.user, "domain": domain, "password": login.password.reveal() } } },
            "scope": { "project": { "name": login.project, "domain": domain } } } });
        let url = format!("{}/auth/tokens", login.url);
        let answer = send(http.post(&url).json(&body), Method::POST, &url).await?;
        let header = answer.headers().get("X-Subject-Token").and_then(|token| token.to_str().ok());
        let token = header
            .map(Secret::new)
            .ok_or_else(|| Error::Incomplete { url: url.clone(), missing: "a token".into() })?;
        let answer: Value = json_of(answer, &Method::POST, &url).await?;
        Ok(Session { http: http.clone(), token, endpoints: public_endpoints(&answer) })
    }

    /// Public URL of a service type.
    pub(crate) fn endpoint(&self, kind: &str) -> Result<&str, Error> {
        let missing = || Error::Incomplete {
            url: "the catalogue".into(),
            missing: format!("a public endpoint of type {kind}"),
        };
        self.endpoints.get(kind).map(String::as_str).ok_or_else(missing)
    }

    /// A request with our token; `Value::Null` when the answer has no body.
    pub(crate) async fn call(&self, method: Method, url: &str, body: Option<&Value>) -> Result<Value, Error> {
        self.call_at(method, url, body, None).await
    }

    /// The same with a microversion, e.g. `compute 2.96`.
    pub(crate) async fn call_at(
        &self,
        method: Method,
        url: &str,
        body: Option<&Value>,
        version: Option<&str>,
    ) -> Result<Value, Error> {
        let mut request = self.http.request(method.clone(), url).header("X-Auth-Token", self.token.reveal());
        if let Some(version) = version {
            request = request.header("OpenStack-API-Version", version);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = send(request, method.clone(), url).await?;
        if answer.status() == StatusCode::NO_CONTENT || answer.content_length() == Some(0) {
            return Ok(Value::Null);
        }
        json_of(answer, &method, url).await
    }

    /// Sends a stream as the body; no limit on the time.
    pub(crate) async fn upload(&self, url: &str, body: reqwest::Body) -> Result<(), Error> {
        let request = self
            .http
            .put(url)
            .header("X-Auth-Token", self.token.reveal())
            .header("Content-Type", "application/octet-stream")
            .timeout(Duration::from_secs(3600))
            .body(body);
        send(request, Method::PUT, url).await.map(drop)
    }
}

async fn send(
    request: reqwest::RequestBuilder,
    method: Method,
    url: &str,
) -> Result<reqwest::Response, Error> {
    let no_answer = |source| Error::NoAnswer { method: method.clone(), url: url.to_owned(), source };
    let answer = request.send().await.map_err(no_answer)?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let text = answer.text().await.unwrap_or_default();
    Err(Error::Refused { method, url: url.to_owned(), status, message: sentence(&text) })
}

async fn json_of(answer: reqwest::Response, method: &Method, url: &str) -> Result<Value, Error> {
    answer.json().await.map_err(|source| Error::NoAnswer {
        method: method.clone(),
        url: url.to_owned(),
        source,
    })
}

/// The service's own sentence: OpenStack wraps it in one object whose key differs (`error`, `badRequest`, `NeutronError` …).
fn sentence(text: &str) -> String {
    let parsed: Option<Value> = serde_json::from_str(text).ok();
    let message = parsed.as_ref().and_then(|value| {
        let inner = value.as_object()?.values().next()?;
        inner["message"].as_str().or_else(|| inner[0]["detail"].as_str())
    });
    message.unwrap_or(text).trim().chars().take(500).collect()
}

fn public_endpoints(answer: &Value) -> BTreeMap<String, String> {
    let mut endpoints = BTreeMap::new();
    for service in answer["token"]["catalog"].as_array().into_iter().flatten() {
        let public = service["endpoints"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|endpoint| endpoint["interface"] == "public");
        if let (Some(kind), Some(url)) =
            (service["type"].as_str(), public.and_then(|endpoint| endpoint["url"].as_str()))
        {
            endpoints.insert(kind.to_owned(), url.trim_end_matches('/').to_owned());
        }
    }
    endpoints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_own_sentence_is_shown() {
        assert_eq!(sentence(r#"{"error": {"code": 401, "message": "Wrong password."}}"#), "Wrong password.");
        assert_eq!(sentence(r#"{"errors": [{"detail": "No such provider."}]}"#), "No such provider.");
        assert_eq!(sentence("<html>502</html>"), "<html>502</html>");
    }
}
