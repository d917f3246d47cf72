//! Keystone and whatever service a test scripts, behind one address.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::peer::{Answer, Peer, Received};

/// What the test decides about Keystone.
#[derive(Default)]
pub(crate) struct Keystone {
    /// Logins so far; the token of the nth is `token-n`.
    pub(crate) logins: AtomicU32,
    /// Tokens below this number are refused with 401.
    pub(crate) oldest_valid: AtomicU32,
    /// Seconds that a token lives; 3600 when 0.
    pub(crate) lifetime: AtomicU32,
    /// Logins are refused with this status; 0 means not.
    pub(crate) refuse: AtomicU32,
    /// Logins that were refused.
    pub(crate) refused: AtomicU32,
}

/// Keystone at `/identity`, the scripted service at `/service` (as placement, image and network).
pub(crate) fn start(
    keystone: Arc<Keystone>,
    script: impl Fn(&Received) -> Answer + Send + Sync + 'static,
) -> Peer {
    Peer::start(|url| {
        move |request: &Received| {
            if request.path == "/identity/v3/auth/tokens" {
                return log_in(&keystone, &url);
            }
            let token =
                request.header("X-Service-Token").or(request.header("X-Auth-Token")).unwrap_or_default();
            let number: u32 = token.strip_prefix("token-").and_then(|n| n.parse().ok()).unwrap_or(0);
            if number == 0 || number < keystone.oldest_valid.load(Ordering::SeqCst) {
                return Answer::Json(401, json!({ "error": { "message": "The request needs a login." } }));
            }
            let mut request = request.clone();
            request.path = request.path.trim_start_matches("/service").to_owned();
            script(&request)
        }
    })
}

fn log_in(keystone: &Keystone, url: &str) -> Answer {
    let refuse = keystone.refuse.load(Ordering::SeqCst);
    if refuse != 0 {
        keystone.refused.fetch_add(1, Ordering::SeqCst);
        let status = u16::try_from(refuse).unwrap();
        return Answer::Json(status, json!({ "error": { "message": "The password is wrong." } }));
    }
    let number = keystone.logins.fetch_add(1, Ordering::SeqCst) + 1;
    let lifetime = match keystone.lifetime.load(Ordering::SeqCst) {
        0 => 3600,
        seconds => i64::from(seconds),
    };
    let issued = jiff::Timestamp::UNIX_EPOCH;
    let expires = jiff::Timestamp::from_second(lifetime).unwrap();
    let body = json!({ "token": {
        "issued_at": issued.to_string(), "expires_at": expires.to_string(),
        "catalog": [entry("placement", url), entry("image", url), entry("network", url)],
    } });
    Answer::Header(201, "X-Subject-Token", format!("token-{number}"), body)
}

fn entry(service_type: &str, url: &str) -> Value {
    json!({ "type": service_type, "name": service_type, "endpoints": [
        { "interface": "public", "region_id": "RegionOne", "url": "http://127.0.0.1:1/not-this-one" },
        { "interface": "internal", "region_id": "RegionOne", "url": format!("{url}/service/") },
    ] })
}
