//! Asks nova-metadata on behalf of an instance, with the headers that Neutron's metadata agent sends
//! (`neutron.agent.metadata.agent.MetadataProxyHandler`).

use std::net::IpAddr;
use std::time::Duration;

use common::error_chain::Chain;
use common::secret::Secret;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, Method, RequestBuilder, Response, Url};
use sha2::Sha256;

use super::{Error, Identity};
use crate::image::hex;

/// Time to reach nova-metadata.
const CONNECT: Duration = Duration::from_secs(5);

/// Time that nova-metadata may take; it may ask services for vendor data itself.
const ANSWER: Duration = Duration::from_secs(60);

/// The largest answer that is taken: user data is 64 KiB at most, vendor data has no limit of Nova's.
const MAX_ANSWER: usize = 16 << 20;

/// nova-metadata. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct NovaMetadata {
    client: Client,
    url: Url,
    secret: Secret,
}

impl NovaMetadata {
    /// `url`: `http://HOST:8775`; `secret`: `[neutron] metadata_proxy_shared_secret`.
    pub(super) fn new(url: &str, secret: &Secret) -> Result<Self, Error> {
        let parsed = Url::parse(url).ok();
        let usable = parsed.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let parsed = usable.ok_or_else(|| Error::Url(url.to_owned()))?;
        // The environment's proxies are for the world outside.
        let client = Client::builder().no_proxy().connect_timeout(CONNECT).timeout(ANSWER);
        let client = client.redirect(reqwest::redirect::Policy::none()).build();
        let client = client.map_err(|error| Error::Serve(std::io::Error::other(error)))?;
        Ok(Self { client, url: parsed, secret: secret.clone() })
    }

    /// A request that says who asks. `peer`: the instance's address if it has no port.
    pub(super) fn request(
        &self,
        method: Method,
        (path, query): (&str, &str),
        identity: &Identity,
        peer: IpAddr,
    ) -> RequestBuilder {
        let mut url = self.url.clone();
        url.set_path(path);
        url.set_query(Some(query).filter(|query| !query.is_empty()));
        let instance = identity.instance.to_string();
        self.client
            .request(method, url)
            .header("X-Instance-ID", &instance)
            .header("X-Tenant-ID", &identity.project_id)
            .header("X-Forwarded-For", identity.address.unwrap_or(peer).to_string())
            .header("X-Instance-ID-Signature", signature(&self.secret, &instance))
    }

    /// What an instance would read at `path`; None when there is nothing.
    pub(super) async fn read(&self, path: &str, identity: &Identity) -> Result<Option<Vec<u8>>, Error> {
        let failed = |why: String| Error::Answer { path: path.to_owned(), why };
        let nowhere = IpAddr::from([127, 0, 0, 1]);
        let answer = self.request(Method::GET, (path, ""), identity, nowhere).send().await;
        let answer = answer.map_err(|error| failed(Chain(&error).to_string()))?;
        match answer.status().as_u16() {
            200 => Ok(Some(body(answer).await.map_err(failed)?)),
            404 => Ok(None),
            status => Err(failed(format!("it answers with status {status}"))),
        }
    }
}

/// The body of an answer.
pub(super) async fn body(mut answer: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| Chain(&error).to_string())? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            return Err(format!("its answer is longer than {MAX_ANSWER} bytes"));
        }
    }
    Ok(body)
}

/// What proves to nova-metadata that we know the shared secret: HMAC-SHA256 of the instance's uuid, in hexadecimal.
fn signature(secret: &Secret, instance: &str) -> String {
    // HMAC takes keys of any length.
    let keyed = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes());
    keyed.map_or_else(|_| String::new(), |keyed| hex(&keyed.chain_update(instance).finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_that_nova_computes() {
        // python3 -c 'import hmac; print(hmac.new(b"sekret", b"2d206834-…", "sha256").hexdigest())'
        let signed = signature(&Secret::new("sekret"), "2d206834-23ab-4b5d-a236-4608f438a9e2");
        assert_eq!(signed, "ed692539aac224437851d3480841d26c0dee726a633e09cdf128ce7e76c407ec");
    }
}
