//! The envelope: `{"oslo.version": "2.0", "oslo.message": "<JSON text>"}` and the two kinds of payload in it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Error, RemoteError, RequestContext};

/// The only envelope version there is.
const VERSION: &str = "2.0";

/// A request: call, cast or fanout.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Name of the method.
    pub method: String,
    /// Version the sender wants, `major.minor`.
    pub version: String,
    /// Namespace of the endpoint; none for the main one.
    pub namespace: Option<String>,
    /// Keyword arguments.
    pub args: Map<String, Value>,
    /// Who asked.
    pub context: RequestContext,
    /// Present when the sender waits for an answer: message id and reply queue.
    pub reply_to: Option<(String, String)>,
    /// Seconds the sender waits for a sign of life of a long call.
    pub monitor: Option<f64>,
    /// Identity of the message; the same when the broker delivers twice.
    pub unique_id: String,
}

/// An answer, or a sign of life when it is not `ending`.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Id of the call.
    pub msg_id: String,
    /// What the method returned, or why it failed.
    pub outcome: Result<Value, RemoteError>,
    /// False for a sign of life.
    pub ending: bool,
    /// Identity of the message.
    pub unique_id: String,
}

/// What an envelope can hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Somebody wants something.
    Request(Box<Request>),
    /// Somebody answers.
    Reply(Reply),
}

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "oslo.version", borrow)]
    version: std::borrow::Cow<'a, str>,
    #[serde(rename = "oslo.message", borrow)]
    message: std::borrow::Cow<'a, str>,
}

/// Reads a message body.
///
/// # Errors
/// [`Error::Malformed`] with what is wrong; never panics, whatever the bytes are.
pub fn decode(body: &[u8]) -> Result<Message, Error> {
    let malformed = |what: &str, error: serde_json::Error| Error::Malformed(format!("{what}: {error}"));
    let envelope: Envelope<'_> =
        serde_json::from_slice(body).map_err(|error| malformed("envelope", error))?;
    if !envelope.version.starts_with("2.") {
        return Err(Error::Malformed(format!("envelope version {}", envelope.version)));
    }
    let payload: Map<String, Value> =
        serde_json::from_str(&envelope.message).map_err(|error| malformed("payload", error))?;
    if payload.contains_key("method") {
        request(payload).map(|request| Message::Request(Box::new(request)))
    } else {
        reply(payload).map(Message::Reply)
    }
}

/// Writes a message body.
pub fn encode(message: &Message) -> Vec<u8> {
    let payload = match message {
        Message::Request(request) => request_payload(request),
        Message::Reply(reply) => reply_payload(reply),
    };
    let envelope = Envelope { version: VERSION.into(), message: Value::Object(payload).to_string().into() };
    // Two strings always serialise.
    serde_json::to_vec(&envelope).unwrap_or_default()
}

/// Takes `key` out of the payload as text.
fn text(payload: &mut Map<String, Value>, key: &str) -> Result<Option<String>, Error> {
    match payload.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(Error::Malformed(format!("{key} is no text: {}", kind(&other)))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn request(mut payload: Map<String, Value>) -> Result<Request, Error> {
    let missing = |key: &str| Error::Malformed(format!("{key} is missing"));
    let args = match payload.remove("args") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(args)) => args,
        Some(other) => return Err(Error::Malformed(format!("args is {}", kind(&other)))),
    };
    let msg_id = text(&mut payload, "_msg_id")?;
    let reply_queue = text(&mut payload, "_reply_q")?;
    Ok(Request {
        method: text(&mut payload, "method")?.ok_or_else(|| missing("method"))?,
        version: text(&mut payload, "version")?.unwrap_or_else(|| "1.0".into()),
        namespace: text(&mut payload, "namespace")?,
        args,
        reply_to: msg_id.zip(reply_queue),
        monitor: payload.remove("_timeout").and_then(|value| value.as_f64()),
        unique_id: text(&mut payload, "_unique_id")?.unwrap_or_default(),
        context: RequestContext::take_from(&mut payload),
    })
}

fn reply(mut payload: Map<String, Value>) -> Result<Reply, Error> {
    let missing = |key: &str| Error::Malformed(format!("neither a request nor a reply: {key} is missing"));
    let failure = match payload.remove("failure") {
        None | Some(Value::Null) => None,
        // A JSON string inside the payload; some releases also send the object itself.
        Some(Value::String(text)) => {
            Some(serde_json::from_str(&text).map_err(|error| Error::Malformed(format!("failure: {error}")))?)
        }
        Some(other) => Some(
            serde_json::from_value(other).map_err(|error| Error::Malformed(format!("failure: {error}")))?,
        ),
    };
    let result = payload.remove("result").unwrap_or(Value::Null);
    Ok(Reply {
        msg_id: text(&mut payload, "_msg_id")?.ok_or_else(|| missing("_msg_id"))?,
        outcome: failure.map_or(Ok(result), Err),
        ending: payload.get("ending").and_then(Value::as_bool).unwrap_or(false),
        unique_id: text(&mut payload, "_unique_id")?.unwrap_or_default(),
    })
}

fn request_payload(request: &Request) -> Map<String, Value> {
    let mut payload = Map::new();
    payload.insert("method".into(), request.method.clone().into());
    payload.insert("args".into(), Value::Object(request.args.clone()));
    payload.insert("version".into(), request.version.clone().into());
    if let Some(namespace) = &request.namespace {
        payload.insert("namespace".into(), namespace.clone().into());
    }
    if let Some((msg_id, queue)) = &request.reply_to {
        payload.insert("_msg_id".into(), msg_id.clone().into());
        payload.insert("_reply_q".into(), queue.clone().into());
        payload.insert("_timeout".into(), request.monitor.map_or(Value::Null, Value::from));
    }
    payload.insert("_unique_id".into(), request.unique_id.clone().into());
    request.context.put_into(&mut payload);
    payload
}

fn reply_payload(reply: &Reply) -> Map<String, Value> {
    let (result, failure) = match &reply.outcome {
        Ok(value) => (value.clone(), Value::Null),
        Err(error) => (Value::Null, serde_json::to_string(error).unwrap_or_default().into()),
    };
    let mut payload = Map::new();
    payload.insert("result".into(), result);
    payload.insert("failure".into(), failure);
    payload.insert("ending".into(), reply.ending.into());
    payload.insert("_msg_id".into(), reply.msg_id.clone().into());
    payload.insert("_unique_id".into(), reply.unique_id.clone().into());
    payload
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn call() -> Request {
        let mut message = Map::new();
        message.insert("_context_request_id".into(), json!("req-1"));
        Request {
            method: "get_console_output".into(),
            version: "6.0".into(),
            namespace: None,
            args: json!({"tail_length": 10}).as_object().unwrap().clone(),
            context: RequestContext::take_from(&mut message),
            reply_to: Some(("id".into(), "reply_1".into())),
            monitor: Some(60.0),
            unique_id: "u".into(),
        }
    }

    #[test]
    fn a_call_is_written_as_oslo_writes_it() {
        let body = encode(&Message::Request(Box::new(call())));
        let envelope: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(envelope["oslo.version"], "2.0");
        let payload: Value = serde_json::from_str(envelope["oslo.message"].as_str().unwrap()).unwrap();
        assert_eq!(
            payload,
            json!({"method": "get_console_output", "args": {"tail_length": 10}, "version": "6.0",
                   "_msg_id": "id", "_reply_q": "reply_1", "_timeout": 60.0, "_unique_id": "u",
                   "_context_request_id": "req-1"})
        );
    }

    #[test]
    fn a_failure_travels_as_text_inside_the_reply() {
        let reply = Reply {
            msg_id: "id".into(),
            outcome: Err(RemoteError::builtin("NotImplementedError", "no")),
            ending: true,
            unique_id: "u".into(),
        };
        let body = encode(&Message::Reply(reply.clone()));
        let envelope: Value = serde_json::from_slice(&body).unwrap();
        let payload: Value = serde_json::from_str(envelope["oslo.message"].as_str().unwrap()).unwrap();
        assert!(payload["failure"].is_string() && payload["result"].is_null());
        assert_eq!(decode(&body).unwrap(), Message::Reply(reply));
    }

    #[test]
    fn foreign_messages_are_told_apart_from_ours() {
        for (body, wrong) in [
            (&b"\xff\x00"[..], "envelope"),
            (b"[]", "envelope"),
            (br#"{"event_type": "compute.instance.create"}"#, "oslo.version"),
            (br#"{"oslo.version": "3.0", "oslo.message": "{}"}"#, "envelope version 3.0"),
            (br#"{"oslo.version": "2.0", "oslo.message": "nothing"}"#, "payload"),
            (br#"{"oslo.version": "2.0", "oslo.message": "{}"}"#, "_msg_id is missing"),
            (br#"{"oslo.version": "2.0", "oslo.message": "{\"method\": 1}"}"#, "method is no text"),
            (
                br#"{"oslo.version": "2.0", "oslo.message": "{\"method\": \"a\", \"args\": []}"}"#,
                "args is a list",
            ),
        ] {
            let error = decode(body).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error} should name {wrong}");
        }
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".*", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn requests_survive_the_wire(method in "[a-z_]{1,20}", args in prop::collection::btree_map(".*", json_value(), 0..4)) {
            let request = Request { method, args: args.into_iter().collect(), ..call() };
            let message = Message::Request(Box::new(request));
            prop_assert_eq!(decode(&encode(&message)).unwrap(), message);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }

    /// Flips, drops and doubles bytes of a real message: whatever comes out is a message or an error.
    #[test]
    fn ten_thousand_damaged_messages_do_no_harm() {
        let body = encode(&Message::Request(Box::new(call())));
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed % below as u64).unwrap()
        };
        for _ in 0..10_000 {
            let mut damaged = body.clone();
            for _ in 0..=random(4) {
                let at = random(damaged.len());
                match random(3) {
                    0 => damaged[at] = u8::try_from(random(256)).unwrap(),
                    1 => drop(damaged.remove(at)),
                    _ => damaged.insert(at, b'"'),
                }
            }
            let _ = decode(&damaged);
        }
    }
}
