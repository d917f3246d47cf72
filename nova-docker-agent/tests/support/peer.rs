//! An HTTP service that does what a test says, on a free port.

use std::sync::{Arc, Mutex};

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::Value;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
    /// The body as it came.
    pub(crate) bytes: web::Bytes,
}

impl Received {
    /// `GET /path`
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// What the test wants to be answered.
pub(crate) enum Answer {
    Json(u16, Value),
    Bytes(Vec<u8>),
    Empty(u16),
    /// JSON with a header.
    Header(u16, &'static str, String, Value),
    /// Some bytes, then a broken connection.
    Broken(Vec<u8>),
    /// The connection becomes a stream (`101 UPGRADED`), on which these bytes come and end.
    Stream(Vec<u8>),
    /// Nothing, for ever.
    Silence,
}

type Script = dyn Fn(&Received) -> Answer + Send + Sync;

/// A running peer; it ends with the test's runtime.
pub(crate) struct Peer {
    pub(crate) url: String,
    log: Arc<Mutex<Vec<Received>>>,
}

struct Shared {
    script: Box<Script>,
    log: Arc<Mutex<Vec<Received>>>,
}

impl Peer {
    /// Answers every request as `script` says. `script` gets the peer's own URL first.
    pub(crate) fn start<S>(script: impl FnOnce(String) -> S) -> Self
    where
        S: Fn(&Received) -> Answer + Send + Sync + 'static,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let shared = web::Data::new(Shared { script: Box::new(script(url.clone())), log: log.clone() });
        let app = move || App::new().app_data(shared.clone()).default_service(web::to(answer));
        let server = HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap().run();
        tokio::spawn(server);
        Self { url, log }
    }

    /// `GET /path` of all requests since the last call.
    pub(crate) fn take_lines(&self) -> Vec<String> {
        self.take().iter().map(Received::line).collect()
    }

    /// All requests since the last call.
    pub(crate) fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

async fn answer(request: HttpRequest, body: web::Bytes, shared: web::Data<Shared>) -> HttpResponse<BoxBody> {
    let text = |value: &actix_web::http::header::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let received = Received {
        method: request.method().to_string(),
        path: request.path().to_owned(),
        query: request.query_string().to_owned(),
        headers: request.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        bytes: body,
    };
    let answer = (shared.script)(&received);
    shared.log.lock().unwrap().push(received);
    let status = |code| StatusCode::from_u16(code).unwrap();
    match answer {
        Answer::Json(code, body) => HttpResponse::build(status(code)).json(body),
        Answer::Bytes(bytes) => HttpResponse::Ok().body(bytes),
        Answer::Empty(code) => HttpResponse::build(status(code)).finish(),
        Answer::Header(code, name, value, body) => {
            HttpResponse::build(status(code)).insert_header((name, value)).json(body)
        }
        Answer::Stream(bytes) => HttpResponse::SwitchingProtocols()
            .upgrade("tcp")
            .streaming(futures_util::stream::iter([Ok::<_, std::io::Error>(web::Bytes::from(bytes))])),
        Answer::Silence => std::future::pending().await,
        Answer::Broken(bytes) => {
            let parts = [Ok(web::Bytes::from(bytes)), Err(std::io::Error::other("broken on purpose"))];
            HttpResponse::Ok().streaming(futures_util::stream::iter(parts))
        }
    }
}
