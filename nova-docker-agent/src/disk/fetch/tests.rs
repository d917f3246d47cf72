//! A source that breaks off, lies, or is another one: over real TLS, as the depot serves it.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use futures_util::stream;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};

use super::*;

const DISK: &[u8] = b"the first half and the second half";
const HALF: usize = 17;

/// What the source was asked for: the header `Range` of each request.
type Asked = Arc<Mutex<Vec<Option<String>>>>;

/// The first request gets half of the disk and a broken connection, the next what it asks for.
async fn hand_out(request: HttpRequest, asked: web::Data<Asked>) -> HttpResponse {
    let range = request.headers().get("range").map(|value| value.to_str().unwrap().to_owned());
    let mut asked = asked.lock().unwrap();
    asked.push(range.clone());
    if asked.len() == 1 {
        let half = stream::iter([Ok(web::Bytes::from_static(&DISK[..HALF]))]);
        // What was sent is on its way before the connection breaks.
        let broken = stream::once(async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Err(io::Error::other("the cable is out"))
        });
        return HttpResponse::Ok().no_chunking(DISK.len() as u64).streaming(half.chain(broken));
    }
    let from = range.map_or(0, |range| range["bytes=".len()..].trim_end_matches('-').parse().unwrap());
    HttpResponse::PartialContent().body(&DISK[from..])
}

fn source(asked: &Asked) -> Offer {
    common::tls::install();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let tls = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = web::Data::new(Arc::clone(asked));
    let app = move || App::new().app_data(asked.clone()).route("/{digest}", web::get().to(hand_out));
    let server = HttpServer::new(app).workers(1).disable_signals();
    tokio::spawn(server.listen_rustls_0_23(listener, tls).unwrap().run());
    Offer {
        url: format!("https://127.0.0.1:{port}"),
        certificate: made.cert.pem(),
        token: "secret".into(),
        image: digest_of(DISK),
        layers: Vec::new(),
        ephemeral: None,
        size: DISK.len() as u64,
    }
}

fn digest_of(bytes: &[u8]) -> String {
    let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hash}")
}

fn arriving() -> Arriving {
    let directory = std::env::temp_dir().join(format!("fetch-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&directory).unwrap();
    Arriving(directory)
}

#[tokio::test]
async fn a_broken_transfer_goes_on_where_it_broke() {
    let (asked, here) = (Asked::default(), arriving());
    let offer = source(&asked);
    Source::new(&offer).unwrap().get(&offer.image, &here.0).await.unwrap();
    assert_eq!(std::fs::read(here.0.join(hex(&offer.image))).unwrap(), DISK);
    assert_eq!(*asked.lock().unwrap(), [None, Some(format!("bytes={HALF}-"))]);
}

#[tokio::test]
async fn what_is_something_else_is_refused() {
    let (asked, here) = (Asked::default(), arriving());
    let offer = source(&asked);
    let other = digest_of(b"another disk");
    let refused = Source::new(&offer).unwrap().get(&other, &here.0).await.unwrap_err();
    assert!(matches!(refused, Error::Digest { digest } if digest == other));
}

#[tokio::test]
async fn a_source_with_another_certificate_gets_no_token() {
    let (asked, here) = (Asked::default(), arriving());
    let offer = source(&asked);
    let foreign = Offer { certificate: source(&asked).certificate, ..offer };
    let refused = Source::new(&foreign).unwrap().go_on(hex(&foreign.image), &here.0.join("x")).await;
    assert!(refused.unwrap_err().contains("certificate"));
    assert!(asked.lock().unwrap().is_empty(), "nothing was asked");
}
