//! The server in the metadata namespace: passes requests on to nova-metadata and says who asks, as Neutron's metadata
//! agent does (`neutron.agent.metadata.agent.MetadataProxyHandler`).

use std::net::{IpAddr, TcpListener};
use std::sync::PoisonError;
use std::time::Duration;

use actix_web::http::{Method, StatusCode, header};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use common::error_chain::Chain;
use common::secret::Secret;
use common::shutdown::Shutdown;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, Url};
use sha2::Sha256;

use super::{Error, Identities, Identity};
use crate::image::hex;

/// Time to reach nova-metadata.
const CONNECT: Duration = Duration::from_secs(5);

/// Time that nova-metadata may take; it may ask services for vendor data itself.
const ANSWER: Duration = Duration::from_secs(60);

/// The largest body that a guest may send: Nova takes 1020 bytes of password.
const MAX_REQUEST: usize = 64 * 1024;

/// The largest answer that is passed on: user data is 64 KiB at most, vendor data has no limit of Nova's.
const MAX_ANSWER: usize = 16 << 20;

/// Connections at a time, over all guests.
const MAX_CONNECTIONS: usize = 256;

/// What the handler needs.
struct Proxy {
    client: Client,
    nova: Url,
    secret: Secret,
    identities: Identities,
}

/// Serves on `listener` until `life` closes.
pub(super) fn serve(
    listener: TcpListener,
    (url, secret): (&str, &Secret),
    identities: Identities,
    life: &Shutdown,
) -> Result<(), Error> {
    let nova = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let nova = nova.ok_or_else(|| Error::Url(url.to_owned()))?;
    let serving = |error: reqwest::Error| Error::Serve(std::io::Error::other(error));
    // The environment's proxies are for the world outside.
    let client = Client::builder().no_proxy().connect_timeout(CONNECT).timeout(ANSWER);
    let client = client.redirect(reqwest::redirect::Policy::none()).build().map_err(serving)?;
    let proxy = web::Data::new(Proxy { client, nova, secret: secret.clone(), identities });
    let app = move || {
        App::new()
            .app_data(proxy.clone())
            .app_data(web::PayloadConfig::new(MAX_REQUEST))
            .default_service(web::to(pass_on))
    };
    let server = HttpServer::new(app)
        .workers(1)
        .max_connections(MAX_CONNECTIONS)
        .client_request_timeout(Duration::from_secs(10))
        .disable_signals()
        .shutdown_timeout(1)
        .listen(listener)
        .map_err(Error::Serve)?
        .run();
    let handle = server.handle();
    let closing = life.clone();
    life.spawn_service(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "the metadata server ended");
        }
    });
    life.spawn_service(async move {
        closing.closed().await;
        handle.stop(false).await;
    });
    Ok(())
}

async fn pass_on(request: HttpRequest, body: web::Bytes, proxy: web::Data<Proxy>) -> HttpResponse {
    let method = request.method();
    if ![Method::GET, Method::HEAD, Method::POST, Method::PUT].contains(method) {
        return HttpResponse::MethodNotAllowed().finish();
    }
    let peer = request.peer_addr().map(|peer| peer.ip());
    let Some((identity, peer)) = peer.and_then(|peer| Some((proxy.identity(peer)?, peer))) else {
        return HttpResponse::NotFound().body("no instance has this address");
    };
    match proxy.ask(&request, body, &identity, peer).await {
        Ok(answer) => answer,
        Err(problem) => {
            tracing::warn!(instance_uuid = %identity.instance, problem, "cannot answer for nova-metadata");
            HttpResponse::ServiceUnavailable()
                .body("The metadata service does not answer. Try again later.\n")
        }
    }
}

impl Proxy {
    fn identity(&self, peer: IpAddr) -> Option<Identity> {
        let IpAddr::V4(peer) = peer else { return None };
        self.identities.read().unwrap_or_else(PoisonError::into_inner).get(&peer).cloned()
    }

    async fn ask(
        &self,
        request: &HttpRequest,
        body: web::Bytes,
        identity: &Identity,
        peer: IpAddr,
    ) -> Result<HttpResponse, String> {
        let mut url = self.nova.clone();
        url.set_path(request.path());
        url.set_query(Some(request.query_string()).filter(|query| !query.is_empty()));
        let method =
            reqwest::Method::from_bytes(request.method().as_str().as_bytes()).map_err(|e| e.to_string())?;
        // Nothing of the guest's headers but what the body and the wanted answer are: the rest is for us to say.
        let mut asked = self
            .client
            .request(method, url)
            .header("X-Instance-ID", identity.instance.to_string())
            .header("X-Tenant-ID", &identity.project_id)
            .header("X-Forwarded-For", identity.address.unwrap_or(peer).to_string())
            .header("X-Instance-ID-Signature", signature(&self.secret, &identity.instance.to_string()));
        for name in [header::ACCEPT, header::CONTENT_TYPE] {
            if let Some(value) = request.headers().get(&name) {
                asked = asked.header(name.as_str(), value.as_bytes());
            }
        }
        let answer = asked.body(body).send().await.map_err(|error| Chain(&error).to_string())?;
        passed_back(answer).await
    }
}

/// nova-metadata's answer: status, type and body.
async fn passed_back(mut answer: reqwest::Response) -> Result<HttpResponse, String> {
    let status = StatusCode::from_u16(answer.status().as_u16()).map_err(|error| error.to_string())?;
    let mut back = HttpResponse::build(status);
    if let Some(kind) = answer.headers().get(reqwest::header::CONTENT_TYPE) {
        back.insert_header((header::CONTENT_TYPE, kind.as_bytes()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| Chain(&error).to_string())? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            return Err(format!("its answer is longer than {MAX_ANSWER} bytes"));
        }
    }
    Ok(back.body(body))
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
