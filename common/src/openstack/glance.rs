//! Glance: what an image is, and its bytes.

use std::io;

use futures_util::{Stream, TryStreamExt};
use reqwest::Method;
use serde::Deserialize;
use tokio_util::bytes::Bytes;

use super::error::Error;
use super::http::Request;
use super::session::{EndpointFilter, Service, Session};

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

    /// Deletes an image: one that nova-api made for a snapshot that cannot be taken.
    ///
    /// # Errors
    /// As [`Glance::show`].
    pub async fn delete(&self, id: &str, behalf: OnBehalf<'_>) -> Result<(), Error> {
        let path = format!("/v2/images/{id}");
        let request = Request {
            user_token: behalf.user_token,
            request_id: behalf.request_id,
            ..Request::new(Method::DELETE, &path)
        };
        self.service.send(&request).await.map(drop)
    }
}

fn get<'a>(path: &'a str, behalf: OnBehalf<'a>) -> Request<'a> {
    Request {
        user_token: behalf.user_token,
        request_id: behalf.request_id,
        ..Request::new(Method::GET, path)
    }
}
