//! One HTTP request as every OpenStack service wants it.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use reqwest::{Certificate, Client, Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{ApiError, Error};
use super::session::Credentials;

/// Time to make a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time without a single byte from the service after which the connection counts as lost.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// As [`READ_TIMEOUT`], while a body is being sent: the service says nothing until it has all of it.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(3600);

/// The largest part of an error page that is read.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// A request to a service, before the session adds address and tokens.
pub struct Request<'a> {
    /// HTTP method.
    pub method: Method,
    /// Path below the service's endpoint, with its query (`/resource_providers?in_tree=…`).
    pub path: &'a str,
    /// Value of `OpenStack-API-Version` (`placement 1.36`); none for services without microversions.
    pub microversion: Option<&'a str>,
    /// Nova's request id, so that the services' logs can be joined.
    pub request_id: Option<&'a str>,
    /// Act as this user: the user's token goes out together with the service's (Nova: `service_auth`).
    pub user_token: Option<&'a str>,
    /// JSON body.
    pub body: Option<Value>,
    /// What the body is when it is not called `application/json`.
    pub content_type: Option<&'a str>,
}

/// Without token and body, which may hold secrets.
impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl<'a> Request<'a> {
    /// A request without a body, as the service itself.
    pub fn new(method: Method, path: &'a str) -> Self {
        Self {
            method,
            path,
            microversion: None,
            request_id: None,
            user_token: None,
            body: None,
            content_type: None,
        }
    }

    /// Adds a JSON body.
    #[must_use]
    pub fn json(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// Adds a microversion.
    #[must_use]
    pub fn microversion(mut self, microversion: &'a str) -> Self {
        self.microversion = Some(microversion);
        self
    }
}

/// Builds the HTTP client of a session: few kept connections, no proxy from the environment.
///
/// # Errors
/// [`Error::CaFile`] when `cafile` cannot be read.
pub(super) fn client(credentials: &Credentials) -> Result<Client, Error> {
    client_with(credentials, READ_TIMEOUT)
}

/// As [`client`], for requests with a long body.
///
/// # Errors
/// As [`client`].
pub(super) fn upload_client(credentials: &Credentials) -> Result<Client, Error> {
    client_with(credentials, UPLOAD_TIMEOUT)
}

fn client_with(credentials: &Credentials, read_timeout: Duration) -> Result<Client, Error> {
    let builder = || {
        Client::builder()
            .user_agent(concat!("octopenstack/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(read_timeout)
            .pool_max_idle_per_host(4)
            .pool_idle_timeout(Duration::from_secs(30))
            .tls_danger_accept_invalid_certs(credentials.insecure)
            .no_proxy()
    };
    if let Some(path) = &credentials.cafile {
        let wrong = |source| Error::CaFile { path: path.clone(), source };
        let pem = std::fs::read(path).map_err(|e| wrong(e.into()))?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|e| wrong(e.into()))?;
        return builder().tls_certs_only(certificates).build().map_err(Error::Client);
    }
    // A machine without any certificate authority (a small container) still reaches plain HTTP endpoints.
    builder().build().or_else(|_| builder().tls_certs_only([]).build()).map_err(Error::Client)
}

/// Sends a request. When no connection can be made, one whose repetition does no harm (`repeatable`) is tried again.
///
/// # Errors
/// [`Error::Api`] for every status that is not success.
pub(super) async fn send(
    method: &Method,
    url: &str,
    request: RequestBuilder,
    repeatable: bool,
) -> Result<Response, Error> {
    let unreachable =
        |source: reqwest::Error| Error::Unreachable { method: method.clone(), url: url.to_owned(), source };
    let attempt = || async {
        // Bodies are JSON in memory, so that there always is a copy to send.
        match request.try_clone() {
            Some(request) => request.send().await.map_err(unreachable),
            None => {
                Err(Error::Malformed { method: method.clone(), url: url.to_owned(), source: "body".into() })
            }
        }
    };
    let again = ExponentialBuilder::default().with_min_delay(Duration::from_millis(200)).with_max_times(3);
    let worthwhile = |error: &Error| {
        repeatable && matches!(error, Error::Unreachable { source, .. } if source.is_connect())
    };
    answered(method, url, attempt.retry(again).when(worthwhile).await?).await
}

/// Sends a request whose body cannot be sent twice.
///
/// # Errors
/// As [`send`].
pub(super) async fn send_once(
    method: &Method,
    url: &str,
    request: RequestBuilder,
) -> Result<Response, Error> {
    let unreachable =
        |source: reqwest::Error| Error::Unreachable { method: method.clone(), url: url.to_owned(), source };
    answered(method, url, request.send().await.map_err(unreachable)?).await
}

/// The answer, or the service's refusal as an error.
async fn answered(method: &Method, url: &str, response: Response) -> Result<Response, Error> {
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status().as_u16();
    Err(ApiError::new(method.clone(), url.to_owned(), status, &error_body(response).await).into())
}

/// The beginning of an error page, however long it is.
async fn error_body(mut response: Response) -> String {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() >= MAX_ERROR_BODY {
            break;
        }
    }
    String::from_utf8_lossy(&body).into_owned()
}

/// Reads a JSON answer.
///
/// # Errors
/// [`Error::Malformed`] when it is something else.
pub(super) async fn json<T: DeserializeOwned>(method: Method, response: Response) -> Result<T, Error> {
    let url = response.url().to_string();
    response.json().await.map_err(|source| Error::Malformed { method, url, source: source.into() })
}
