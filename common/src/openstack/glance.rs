//! Glance: what an image is, and its bytes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;

use futures_util::{Stream, TryStreamExt};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio_util::bytes::Bytes;

use super::error::Error;
use super::http::Request;
use super::session::{EndpointFilter, Service, Session};

/// Records in a page of a list: as many as glance gives at most (`api_limit_max`).
const PAGE: u32 = 1000;

/// An image's record, as far as it is used. Glance leaves the sizes and hashes of an image without data null.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ImageRecord {
    /// Image id.
    pub id: String,
    /// `active`, `queued`, `deleted` …
    pub status: String,
    /// `docker` for ours.
    #[serde(default)]
    pub container_format: Option<String>,
    /// `raw` for ours.
    #[serde(default)]
    pub disk_format: Option<String>,
    /// Bytes.
    #[serde(default)]
    pub size: Option<u64>,
    /// MD5 of the data.
    #[serde(default)]
    pub checksum: Option<String>,
    /// Algorithm of `os_hash_value` (`sha512`).
    #[serde(default)]
    pub os_hash_algo: Option<String>,
    /// Hash of the data.
    #[serde(default)]
    pub os_hash_value: Option<String>,
    /// Everything else: the properties among it.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl ImageRecord {
    /// It has its data.
    pub fn is_active(&self) -> bool {
        self.status == "active"
    }

    /// A property that is text.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.more.get(name).and_then(Value::as_str)
    }

    /// All properties that are text.
    pub fn properties(&self) -> BTreeMap<String, String> {
        let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
        self.more.iter().filter_map(text).collect()
    }
}

/// A page of a list.
#[derive(Deserialize)]
struct Page {
    images: Vec<ImageRecord>,
    /// Path of the next one.
    #[serde(default)]
    next: Option<String>,
}

/// On whose behalf an image is read.
#[derive(Clone, Copy, Default)]
pub struct OnBehalf<'a> {
    /// Token of the user; the service's own when absent.
    pub user_token: Option<&'a str>,
    /// Nova's request id.
    pub request_id: Option<&'a str>,
}

impl std::fmt::Debug for OnBehalf<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnBehalf").field("request_id", &self.request_id).finish_non_exhaustive()
    }
}

/// Client of glance.
#[derive(Debug, Clone)]
pub struct Glance {
    service: Service,
}

impl Glance {
    /// A client that logs in through `session`.
    pub fn new(session: &Session, mut endpoint: EndpointFilter) -> Self {
        // Written with and without the version; the paths below bring their own.
        if let Some(url) = &mut endpoint.endpoint_override {
            *url = url.trim_end_matches('/').trim_end_matches("/v2").to_owned();
        }
        Self { service: session.service("image", endpoint) }
    }

    /// An image's record.
    ///
    /// # Errors
    /// 404 also for images that the user may not see.
    pub async fn show(&self, id: &str, behalf: OnBehalf<'_>) -> Result<ImageRecord, Error> {
        self.service.json(&get(&format!("/v2/images/{id}"), behalf)).await
    }

    /// An image's bytes as they come.
    ///
    /// # Errors
    /// As [`Glance::show`]; 204 (no data yet) is an empty stream.
    pub async fn download(
        &self,
        id: &str,
        behalf: OnBehalf<'_>,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>, Error> {
        let response = self.service.send(&get(&format!("/v2/images/{id}/file"), behalf)).await?;
        Ok(response.bytes_stream().map_err(io::Error::other))
    }

    /// All images that match `filters`: properties by their names, `sort` and the like.
    ///
    /// # Errors
    /// What glance says.
    pub async fn list(
        &self,
        filters: &[(&str, &str)],
        behalf: OnBehalf<'_>,
    ) -> Result<Vec<ImageRecord>, Error> {
        let query = filters.iter().map(|(name, value)| format!("&{name}={}", encoded(value)));
        let mut path = format!("/v2/images?limit={PAGE}{}", query.collect::<String>());
        let mut found = Vec::new();
        loop {
            let page: Page = self.service.json(&get(&path, behalf)).await?;
            found.extend(page.images);
            match page.next {
                Some(next) => path = next,
                None => return Ok(found),
            }
        }
    }

    /// Sets properties of an image, whether it has them or not, and takes those away whose value is None.
    ///
    /// # Errors
    /// As [`Glance::show`].
    pub async fn update(
        &self,
        id: &str,
        properties: &[(&str, Option<&str>)],
        behalf: OnBehalf<'_>,
    ) -> Result<ImageRecord, Error> {
        let change = |(name, value): &(&str, Option<&str>)| match value {
            Some(value) => json!({"op": "add", "path": format!("/{name}"), "value": value}),
            None => json!({"op": "remove", "path": format!("/{name}")}),
        };
        let path = format!("/v2/images/{id}");
        let request = Request {
            content_type: Some("application/openstack-images-v2.1-json-patch"),
            ..on_behalf(Method::PATCH, &path, behalf)
        };
        self.service.json(&request.json(properties.iter().map(change).collect())).await
    }

    /// Fills an image with `bytes` as they come: nothing of them is kept here.
    ///
    /// # Errors
    /// As [`Glance::show`]; 410 when the image is deleted meanwhile.
    pub async fn upload<S>(&self, id: &str, bytes: S, behalf: OnBehalf<'_>) -> Result<(), Error>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let path = format!("/v2/images/{id}/file");
        let request = on_behalf(Method::PUT, &path, behalf);
        self.service.upload(&request, reqwest::Body::wrap_stream(bytes)).await.map(drop)
    }

    /// Deletes an image.
    ///
    /// # Errors
    /// As [`Glance::show`].
    pub async fn delete(&self, id: &str, behalf: OnBehalf<'_>) -> Result<(), Error> {
        let path = format!("/v2/images/{id}");
        self.service.send(&on_behalf(Method::DELETE, &path, behalf)).await.map(drop)
    }
}

fn get<'a>(path: &'a str, behalf: OnBehalf<'a>) -> Request<'a> {
    on_behalf(Method::GET, path, behalf)
}

fn on_behalf<'a>(method: Method, path: &'a str, behalf: OnBehalf<'a>) -> Request<'a> {
    Request { user_token: behalf.user_token, request_id: behalf.request_id, ..Request::new(method, path) }
}

/// A value within a query.
fn encoded(value: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    value.bytes().fold(String::new(), |mut text, byte| {
        match keep(byte) {
            true => text.push(char::from(byte)),
            // Writing to a String cannot fail.
            false => drop(write!(text, "%{byte:02X}")),
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_one_value() {
        assert_eq!(encoded("daily & weekly/é"), "daily%20%26%20weekly%2F%C3%A9");
        assert_eq!(encoded("created_at:desc"), "created_at:desc");
    }
}
