//! The server in the metadata namespace: passes requests on to nova-metadata and says who asks.

use std::net::{IpAddr, TcpListener};
use std::sync::PoisonError;
use std::time::Duration;

use actix_web::http::{Method, StatusCode, header};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use common::error_chain::Chain;
use common::shutdown::Shutdown;

use super::nova::{self, NovaMetadata};
use super::{Error, Identities, Identity};
use crate::builds::Builds;

/// The largest body that a guest may send: Nova takes 1020 bytes of password.
const MAX_REQUEST: usize = 64 * 1024;

/// Connections at a time, over all guests.
const MAX_CONNECTIONS: usize = 256;

/// How long a guest's question may wait while builds wait for their turn: an answer costs the control plane as much as a tenth of
/// a boot. cloud-init asks again after ten seconds.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What the handler needs.
pub(super) struct Proxy {
    pub(super) nova: NovaMetadata,
    pub(super) identities: Identities,
    pub(super) builds: Builds,
}

/// Serves on `listener` until `life` closes.
pub(super) fn serve(listener: TcpListener, proxy: Proxy, life: &Shutdown) -> Result<(), Error> {
    let proxy = web::Data::new(proxy);
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
    proxy.builds.let_pass_for(LONGEST_WAIT).await;
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
        let method =
            reqwest::Method::from_bytes(request.method().as_str().as_bytes()).map_err(|e| e.to_string())?;
        // Nothing of the guest's headers but what the body and the wanted answer are: the rest is for us to say.
        let mut asked = self.nova.request(method, (request.path(), request.query_string()), identity, peer);
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
async fn passed_back(answer: reqwest::Response) -> Result<HttpResponse, String> {
    let status = StatusCode::from_u16(answer.status().as_u16()).map_err(|error| error.to_string())?;
    let mut back = HttpResponse::build(status);
    if let Some(kind) = answer.headers().get(reqwest::header::CONTENT_TYPE) {
        back.insert_header((header::CONTENT_TYPE, kind.as_bytes()));
    }
    Ok(back.body(nova::body(answer).await?))
}
