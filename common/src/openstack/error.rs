//! What can go wrong with a REST service, with a sentence that names the request and repeats the service's own words.

use reqwest::Method;
use serde_json::Value;

/// Longest piece of a service's answer that is repeated.
const MAX_MESSAGE: usize = 400;

/// An error of a request to an OpenStack service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service answered, but not with success.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// No connection, or it broke.
    #[error("{method} {url} got no answer")]
    Unreachable {
        /// The request's method.
        method: Method,
        /// The request's URL.
        url: String,
        /// What the transport said.
        #[source]
        source: reqwest::Error,
    },
    /// The answer is not what the service's API promises.
    #[error("the answer to {method} {url} cannot be understood")]
    Malformed {
        /// The request's method.
        method: Method,
        /// The request's URL.
        url: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The catalogue has no such service.
    #[error("the service catalogue has no {wanted}; it has: {found}")]
    NoEndpoint {
        /// Service type, interfaces and region.
        wanted: String,
        /// Service types that are there.
        found: String,
    },
    /// `cafile` is not usable.
    #[error("cannot use the certificate authorities in {path}")]
    CaFile {
        /// `cafile`
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The HTTP client cannot be built.
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
}

/// A status that is not success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{method} {url} was answered {status}{}", self.reason())]
pub struct ApiError {
    /// The request's method.
    pub method: Method,
    /// The request's URL.
    pub url: String,
    /// HTTP status.
    pub status: u16,
    /// The service's own sentence; may be empty.
    pub message: String,
    /// placement's error code (`placement.concurrent_update`), Neutron's type (`IpAddressInUse`); empty elsewhere.
    pub code: String,
}

impl ApiError {
    /// Reads the body of a refused request.
    pub(super) fn new(method: Method, url: String, status: u16, body: &str) -> Self {
        let (message, code) = match serde_json::from_str(body) {
            Ok(json) => from_json(&json),
            Err(_) => (from_html(body), String::new()),
        };
        Self { method, url, status, message: shorten(&message), code }
    }

    fn reason(&self) -> String {
        if self.message.is_empty() { String::new() } else { format!(": {}", self.message) }
    }
}

impl Error {
    /// The HTTP status, when the service answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api(error) => Some(error.status),
            _ => None,
        }
    }

    /// Whether the service refused with this error code ([`ApiError::code`]).
    pub fn has_code(&self, code: &str) -> bool {
        matches!(self, Self::Api(error) if error.code == code)
    }

    /// Whether the service says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }
}

/// Keystone: `{"error": {"message"}}`; placement: `{"errors": [{"detail", "code"}]}`; Nova: `{"<fault>": {"message"}}`;
/// Neutron: `{"NeutronError": {"message", "type"}}`; older services: `{"message"}`.
fn from_json(body: &Value) -> (String, String) {
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let placement = &body["errors"][0];
    if placement.is_object() {
        return (text(placement, "detail"), text(placement, "code"));
    }
    let inner = body.as_object().and_then(|map| map.values().find(|value| value["message"].is_string()));
    let inner = inner.unwrap_or(body);
    (text(inner, "message"), text(inner, "type"))
}

/// glance and HAProxy answer with a page: its text without the tags.
fn from_html(body: &str) -> String {
    let body = body.split_once("<body>").map_or(body, |(_, body)| body);
    let mut inside_tag = false;
    body.chars()
        .map(|c| match c {
            '<' => {
                inside_tag = true;
                ' '
            }
            '>' => {
                inside_tag = false;
                ' '
            }
            _ if inside_tag => ' ',
            other => other,
        })
        .collect()
}

/// One line, not too long.
fn shorten(message: &str) -> String {
    let mut line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(MAX_MESSAGE) {
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &str) -> String {
        ApiError::new(Method::GET, "http://h/x".into(), 409, body).message
    }

    #[test]
    fn every_service_is_quoted() {
        let keystone =
            r#"{"error": {"code": 401, "message": "The request needs a login.", "title": "Unauthorized"}}"#;
        let placement = r#"{"errors": [{"status": 409, "title": "Conflict", "detail": "Another thread won.\n ",
                            "code": "placement.concurrent_update"}]}"#;
        let nova = r#"{"itemNotFound": {"code": 404, "message": "No such server."}}"#;
        let glance = "<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n  <h1>404 Not Found</h1>\n  \
                      No image found with ID 7<br /><br />\n\n\n </body>\n</html>";
        assert_eq!(message(keystone), "The request needs a login.");
        assert_eq!(message(placement), "Another thread won.");
        assert_eq!(message(nova), "No such server.");
        assert_eq!(message(glance), "404 Not Found No image found with ID 7");
        assert_eq!(message(""), "");
    }

    #[test]
    fn placement_says_which_conflict_it_is() {
        let body = r#"{"errors": [{"detail": "x", "code": "placement.concurrent_update"}]}"#;
        let error = ApiError::new(Method::PUT, "u".into(), 409, body);
        assert_eq!(error.code, "placement.concurrent_update");
    }

    #[test]
    fn neutron_says_which_of_its_exceptions_it_is() {
        let body = r#"{"NeutronError": {"type": "OverQuota", "message": "Quota exceeded.", "detail": ""}}"#;
        let error = ApiError::new(Method::POST, "u".into(), 409, body);
        assert_eq!((error.code.as_str(), error.message.as_str()), ("OverQuota", "Quota exceeded."));
    }

    #[test]
    fn the_sentence_names_request_status_and_cause() {
        let error = ApiError::new(Method::GET, "http://h/v3".into(), 503, "<html><body>Service Unavailable");
        assert_eq!(error.to_string(), "GET http://h/v3 was answered 503: Service Unavailable");
        let error = ApiError::new(Method::GET, "http://h/v3".into(), 500, "");
        assert_eq!(error.to_string(), "GET http://h/v3 was answered 500");
    }

    #[test]
    fn a_flood_is_cut_between_characters() {
        assert!(message(&"ü".repeat(10_000)).chars().count() <= MAX_MESSAGE + 1);
    }
}
