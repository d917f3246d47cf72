//! The server that hands disks out, and the disks that are on offer.

use std::collections::{BTreeSet, HashMap};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use common::docker::Image;
use common::error_chain::Chain;
use common::ids::InstanceUuid;
use common::shutdown::Shutdown;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::OnceCell;
use tokio_util::io::ReaderStream;

use super::spool::Spool;
use super::{Error, Offer, folder, hex, remove};
use crate::config::Config;
use crate::virt::Driver;

/// By the digest of the bearer's token, so that looking one up tells nothing of another.
type Spools = Arc<Mutex<HashMap<Vec<u8>, Arc<Spool>>>>;

/// Hands out the disks of this host's instances. It listens from the first offer on.
pub struct Depot {
    config: Arc<Config>,
    life: Shutdown,
    spools: Spools,
    server: OnceCell<Listening>,
}

/// The server of this run.
struct Listening {
    url: String,
    certificate: String,
}

/// A disk on offer; it is withdrawn, and its files are removed, when this is dropped.
pub struct Offered {
    /// What the destination has to know.
    pub offer: Offer,
    key: Vec<u8>,
    spool: Arc<Spool>,
    spools: Spools,
}

impl Offered {
    /// Looks whether the destination, which says that it has the disk, has asked for all parts of it.
    ///
    /// # Errors
    /// [`Error::LeftBehind`]
    pub fn was_taken(&self) -> Result<(), Error> {
        match &self.offer.ephemeral {
            Some(digest) if !self.spool.was_asked_for(hex(digest)) => Err(Error::LeftBehind),
            _ => Ok(()),
        }
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        self.spools.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl Depot {
    /// Nothing is on offer yet. What an earlier run left is removed.
    pub fn new(config: Arc<Config>, life: Shutdown) -> Self {
        remove(&folder(&config.state_path));
        Self { config, life, spools: Spools::default(), server: OnceCell::new() }
    }

    /// Offers an image, and the ephemeral disk of the instance with it. `base`: the layers that the destination will have from
    /// elsewhere.
    ///
    /// # Errors
    /// When the server cannot listen, or Docker does not hand the image out.
    pub async fn offer(
        &self,
        driver: &Driver,
        uuid: InstanceUuid,
        (image, base): (&Image, &[String]),
    ) -> Result<Offered, Error> {
        let server = self.server.get_or_try_init(|| async { self.listen() }).await?;
        let shared = image.layers.iter().zip(base).take_while(|(one, other)| one == other).count();
        let own = image.layers.iter().skip(shared).chain([&image.id]);
        let own: BTreeSet<String> = own.map(|digest| hex(digest).to_owned()).collect();
        let directory = folder(&self.config.state_path).join(format!("out-{uuid}"));
        let spool = Spool::new(driver.clone(), &image.id, directory);
        let mut size = spool.fill(&own).await?;
        let mut ephemeral = None;
        if let Some(content) = driver.ephemeral(uuid) {
            let (digest, bytes) = spool.add(content).await?;
            size += bytes;
            ephemeral = Some(format!("sha256:{digest}"));
        }
        let token = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        let key = Sha256::digest(&token).to_vec();
        let spool = Arc::new(spool);
        self.spools.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), Arc::clone(&spool));
        let offer = Offer {
            url: server.url.clone(),
            certificate: server.certificate.clone(),
            token,
            image: image.id.clone(),
            layers: image.layers.clone(),
            ephemeral,
            size,
        };
        Ok(Offered { offer, key, spool, spools: Arc::clone(&self.spools) })
    }

    /// Starts the server, with a key that nobody else has and that ends with the process.
    fn listen(&self) -> Result<Listening, Error> {
        let failed = |error: &dyn std::fmt::Display| Error::Serve(error.to_string());
        let address = match self.config.docker.migration_address.as_str() {
            "" => &self.config.my_ip,
            _ => &self.config.docker.migration_address,
        };
        let names = vec![address.clone()];
        let made = rcgen::generate_simple_self_signed(names).map_err(|e| failed(&e))?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let tls = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .map_err(|e| failed(&e))?;
        let listener =
            TcpListener::bind((address.as_str(), self.config.docker.migration_port)).map_err(|e| {
                failed(&format_args!("{address}: {e} ([docker] migration_address, migration_port)"))
            })?;
        let port = listener.local_addr().map_err(|e| failed(&e))?.port();
        let spools = web::Data::new(Arc::clone(&self.spools));
        let app = move || App::new().app_data(spools.clone()).route("/{digest}", web::get().to(hand_out));
        let server = HttpServer::new(app).workers(1).disable_signals().shutdown_timeout(1);
        let server = server.listen_rustls_0_23(listener, tls).map_err(|e| failed(&e))?.run();
        let (handle, closing) = (server.handle(), self.life.clone());
        self.life.spawn_service(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the server for disks that move ended");
            }
        });
        self.life.spawn_service(async move {
            closing.closed().await;
            handle.stop(false).await;
        });
        let host = if address.contains(':') { format!("[{address}]") } else { address.clone() };
        Ok(Listening { url: format!("https://{host}:{port}"), certificate: made.cert.pem() })
    }
}

/// One file of a disk, to the bearer of its token, from the byte on that he asks for.
async fn hand_out(
    request: HttpRequest,
    digest: web::Path<String>,
    spools: web::Data<Spools>,
) -> HttpResponse {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let token = header(AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    let key = Sha256::digest(token.unwrap_or_default()).to_vec();
    let spool = spools.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
    let Some(spool) = spool else { return HttpResponse::Unauthorized().finish() };
    if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return HttpResponse::NotFound().finish();
    }
    let from = header(RANGE).and_then(start_of).unwrap_or_default();
    let path = match spool.file(&digest).await {
        Ok(path) => path,
        Err(Error::Incomplete(_)) => return HttpResponse::NotFound().finish(),
        Err(error) => {
            tracing::warn!(error = %Chain(&error), "a file of a disk that moves is not there");
            return HttpResponse::InternalServerError().body(error.to_string());
        }
    };
    match stream(path, from).await {
        Ok(answer) => answer,
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}

async fn stream(path: PathBuf, from: u64) -> std::io::Result<HttpResponse> {
    let mut file = tokio::fs::File::open(&path).await?;
    let size = file.metadata().await?.len();
    let rest = size.saturating_sub(from);
    file.seek(std::io::SeekFrom::Start(from)).await?;
    let mut answer = if from > 0 { HttpResponse::PartialContent() } else { HttpResponse::Ok() };
    answer.insert_header((CONTENT_LENGTH, rest));
    if from > 0 && rest > 0 {
        answer.insert_header((CONTENT_RANGE, format!("bytes {from}-{}/{size}", size - 1)));
    }
    Ok(answer.no_chunking(rest).streaming(ReaderStream::new(file.take(rest))))
}

/// The first byte of `bytes=N-`.
fn start_of(range: &str) -> Option<u64> {
    range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}
