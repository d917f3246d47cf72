//! Who may see the operator's page: whoever knows its password (HTTP Basic).

use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse, web};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::secret::Secret;
use hmac::digest::InvalidLength;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The user's name.
const USER: &str = "operator";

/// How long a wrong password waits for its answer: that slows down who tries many.
const PENALTY: Duration = Duration::from_millis(500);

/// What is said when there is no password.
const CLOSED: &str = "The operator's page is off: set [docker] page_password in the agent's configuration.\n";

/// A page of its own code only, which nobody frames or keeps.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// What is to be done with a visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Let in.
    Welcome,
    /// Asked for the password.
    Stranger,
    /// Sent away: there is no password.
    Closed,
}

/// Compares what visitors say with the password.
pub(super) struct Guard {
    key: [u8; 32],
    /// Of user and password, under the key, which nobody has: how long a comparison takes tells nothing of the password.
    expected: Option<Vec<u8>>,
}

impl Guard {
    /// `password`: without one nobody is let in.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub(super) fn new(password: Option<&Secret>) -> std::io::Result<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| std::io::Error::other(error.to_string()))?;
        let mut guard = Self { key, expected: None };
        if let Some(password) = password {
            let login = format!("{USER}:{}", password.reveal());
            let sealed = guard.seal(login.as_bytes()).map_err(std::io::Error::other)?;
            guard.expected = Some(sealed.finalize().into_bytes().to_vec());
        }
        Ok(guard)
    }

    fn seal(&self, login: &[u8]) -> Result<Hmac<Sha256>, InvalidLength> {
        let mut mac = Hmac::new_from_slice(&self.key)?;
        mac.update(login);
        Ok(mac)
    }

    /// `authorization`: the header of that name.
    fn judge(&self, authorization: Option<&HeaderValue>) -> Verdict {
        let Some(expected) = &self.expected else { return Verdict::Closed };
        let said = authorization.and_then(|value| value.to_str().ok());
        let encoded = said.and_then(|said| said.split_once(' '));
        let encoded = encoded.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
        let login = encoded.and_then(|(_, encoded)| STANDARD.decode(encoded.trim()).ok());
        let right = login.and_then(|login| Some(self.seal(&login).ok()?.verify_slice(expected).is_ok()));
        if right == Some(true) { Verdict::Welcome } else { Verdict::Stranger }
    }
}

/// Lets in who has the password, and gives every answer the page's headers.
pub(super) async fn ask(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let said = request.headers().get(header::AUTHORIZATION);
    let verdict = match request.app_data::<web::Data<Guard>>() {
        Some(guard) => guard.judge(said),
        None => Verdict::Closed,
    };
    let mut answer = match verdict {
        Verdict::Welcome => next.call(request).await?.map_into_boxed_body(),
        Verdict::Closed => request.into_response(HttpResponse::Forbidden().body(CLOSED)),
        Verdict::Stranger => {
            if said.is_some() {
                tracing::warn!(from = ?request.peer_addr(), "a wrong password for the operator's page");
                tokio::time::sleep(PENALTY).await;
            }
            let challenge =
                (header::WWW_AUTHENTICATE, "Basic realm=\"nova-docker-agent\", charset=\"UTF-8\"");
            request.into_response(HttpResponse::Unauthorized().insert_header(challenge).finish())
        }
    };
    for (name, value) in HEADERS {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(password: Option<&str>, authorization: Option<&str>) -> Verdict {
        let guard = Guard::new(password.map(Secret::new).as_ref()).unwrap();
        guard.judge(authorization.map(|text| HeaderValue::from_str(text).unwrap()).as_ref())
    }

    fn basic(login: &str) -> String {
        format!("Basic {}", STANDARD.encode(login))
    }

    #[test]
    fn only_the_password_opens() {
        let right = basic("operator:hunter2!ü");
        assert_eq!(judged(Some("hunter2!ü"), Some(&right)), Verdict::Welcome);
        assert_eq!(judged(Some("hunter2!ü"), Some(&right.replace("Basic", "basic"))), Verdict::Welcome);
        for wrong in [
            basic("operator:hunter2!"),
            basic("operator:hunter2!üx"),
            basic("admin:hunter2!ü"),
            basic("operator:"),
            basic(""),
            right.replace("Basic", "Bearer"),
            right.replace("Basic ", ""),
            "Basic %%%".into(),
            "Basic".into(),
        ] {
            assert_eq!(judged(Some("hunter2!ü"), Some(&wrong)), Verdict::Stranger, "{wrong}");
        }
        assert_eq!(judged(Some("hunter2!ü"), None), Verdict::Stranger);
    }

    #[test]
    fn without_a_password_nobody_is_let_in() {
        for said in [None, Some(basic("operator:")), Some(basic(":")), Some(basic(""))] {
            assert_eq!(judged(None, said.as_deref()), Verdict::Closed);
        }
    }
}
