//! 100,000 damaged messages, made from what a real Nova sent (`tests/wire`): none ends the agent, holds up those behind it or
//! stays in memory.

use std::panic;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::messaging::{Settlement, Subscription, Transport};
use serde_json::{Map, Value, json};

use crate::{Cloud, HOST};

/// How many, unless the environment says otherwise.
const MESSAGES: usize = 100_000;
/// The variable that says otherwise, and the one that chooses another series.
const COUNT: &str = "MUTATED_MESSAGES";
const SEED: &str = "MUTATED_SEED";

/// The queue that answers are sent to.
const ANSWERS: &str = "reply_of_a_test";

/// More than this at the end was kept; bytes.
const MOST_MEMORY: usize = 256 << 20;

/// After so many messages one that is whole must be answered.
const STRIDE: usize = 5_000;

/// A random series that is the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        // Half of them are what JSON is made of.
        match self.below(2) {
            0 => *self.pick(b"{}[]\",:\\0-e.tfn"),
            _ => u8::try_from(self.below(256)).unwrap(),
        }
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    fn value(&mut self) -> Value {
        match self.below(9) {
            0 => Value::Null,
            1 => json!(true),
            2 => json!(u64::MAX - self.below(3) as u64),
            3 => json!(-1.5e300),
            4 => json!([[], {}, null]),
            5 => {
                json!({"nova_object.name": "Instance", "nova_object.version": "3.0", "nova_object.data": {}})
            }
            6 => json!("\u{0}\u{1f600}'; --"),
            7 => json!("x".repeat(self.below(10_000))),
            _ => json!({}),
        }
    }
}

/// The payloads that a recorded nova-compute was sent.
fn recorded() -> Vec<Map<String, Value>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/wire");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "jsonl"));
    files.sort();
    let lines = files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect::<Vec<_>>().concat();
    let entries = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let requests = entries.filter(|entry| entry["kind"] == "request");
    requests.map(|entry| entry["message"].as_object().cloned().unwrap()).collect()
}

fn envelope(payload: &Value) -> Vec<u8> {
    json!({"oslo.version": "2.0", "oslo.message": payload.to_string()}).to_string().into_bytes()
}

/// A place in a tree: each step goes down one level, or stops there.
fn somewhere<'a>(value: &'a mut Value, random: &mut Random) -> &'a mut Value {
    let size = match value {
        Value::Object(fields) => fields.len(),
        Value::Array(values) => values.len(),
        _ => 0,
    };
    if size == 0 || random.below(6) == 0 {
        return value;
    }
    let index = random.below(size);
    let next = match value {
        Value::Object(fields) => fields.values_mut().nth(index),
        Value::Array(values) => values.get_mut(index),
        _ => None,
    };
    somewhere(next.unwrap(), random)
}

fn damage_fields(payload: &mut Value, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let other = random.value();
        match (somewhere(payload, random), random.below(3)) {
            (Value::Object(fields), 0) if !fields.is_empty() => {
                let gone = fields.keys().nth(random.below(fields.len())).cloned().unwrap();
                fields.remove(&gone);
            }
            (Value::Object(fields), 1) => drop(fields.insert("unknown".into(), other)),
            (found, _) => *found = other,
        }
    }
}

fn damage_bytes(body: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(6) {
        let at = random.below(body.len().max(1));
        match random.below(6) {
            0 => body.truncate(at),
            1 => body.insert(at.min(body.len()), random.byte()),
            2 if !body.is_empty() => drop(body.remove(at)),
            3 => {
                let piece = body[at.min(body.len())..(at + 40).min(body.len())].to_vec();
                body.extend(piece);
            }
            _ if !body.is_empty() => body[at] = random.byte(),
            _ => {}
        }
    }
}

fn damage_envelope(payload: &Value, random: &mut Random) -> Vec<u8> {
    let text = payload.to_string();
    let whole = match random.below(7) {
        0 => json!({"oslo.message": text}),
        1 => json!({"oslo.version": random.value(), "oslo.message": text}),
        2 => json!({"oslo.version": "2.0", "oslo.message": payload}),
        3 => {
            json!({"oslo.version": "2.0", "oslo.message": json!({"oslo.version": "2.0", "oslo.message": text}).to_string()})
        }
        4 => json!({"oslo.version": "3.0", "oslo.message": text}),
        5 => payload.clone(),
        _ => {
            return ["[".repeat(random.below(5000)), "{\"a\":".repeat(random.below(5000))]
                .concat()
                .into_bytes();
        }
    };
    whole.to_string().into_bytes()
}

/// One damaged message.
fn mutated(seeds: &[Map<String, Value>], number: usize, random: &mut Random) -> Vec<u8> {
    let mut payload = random.pick(seeds).clone();
    if payload.contains_key("_reply_q") {
        payload.insert("_reply_q".into(), json!(ANSWERS));
    }
    // The others are second deliveries, if they can be read at all.
    if random.below(4) == 0 {
        payload.insert("_unique_id".into(), json!(format!("{number:032x}")));
    }
    if random.below(4) == 0 {
        let other = random.pick(seeds)["method"].clone();
        payload.insert("method".into(), other);
    }
    let mut payload = Value::Object(payload);
    match random.below(10) {
        0 => damage_envelope(&payload, random),
        1..=3 => {
            damage_fields(&mut payload, random);
            envelope(&payload)
        }
        _ => {
            let mut body = envelope(&payload);
            damage_bytes(&mut body, random);
            body
        }
    }
}

/// Panics in the product so far; those of tests are their own failure.
fn count_panics() -> &'static AtomicUsize {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if info.location().is_some_and(|at| !at.file().contains("tests/")) {
            PANICS.fetch_add(1, Ordering::Relaxed);
        }
        before(info);
    }));
    &PANICS
}

/// Bytes of this process in memory.
fn memory() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn setting(name: &str) -> Option<usize> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_messages_do_not_end_the_agent_or_hold_up_others() {
    let panics = count_panics();
    let cloud = Cloud::running(HOST).await;
    let seeds = recorded();
    for seed in &seeds {
        // Some are about the host.
        let Some(row) = seed["args"]["instance"]["nova_object.data"].as_object() else { continue };
        let uuid = row["uuid"].as_str().unwrap();
        cloud.docker(|docker| docker.put(uuid, HOST, true));
        cloud.nova.with(|db| db.instances.insert(uuid.to_owned(), row.clone()));
    }
    let answers = Subscription::Reply { queue: ANSWERS.into() };
    let mut answers = cloud.nova.broker.subscribe(vec![answers]).await.unwrap();
    tokio::spawn(async move { while answers.recv().await.is_some() {} });

    let (count, seed) = (setting(COUNT).unwrap_or(MESSAGES), setting(SEED).unwrap_or(0x0c70));
    let mut random = Random(0x2545_f491_4f6c_dd1d ^ seed as u64);
    let before = memory();
    for number in 0..count {
        let message = mutated(&seeds, number, &mut random);
        cloud.nova.broker.inject(&format!("compute.{HOST}"), message).await;
        if number % STRIDE == 0 {
            let answer = cloud.nova.call(HOST, "get_host_uptime", json!({})).await;
            assert!(answer.is_ok(), "after {number} messages: {answer:?}");
            // What peers were told is the test's, not the agent's.
            cloud.nova.with(|db| (db.log.clear(), db.fanouts.clear()));
            cloud.placement.take();
            cloud.engine.take();
        }
    }
    let answer = cloud.nova.call(HOST, "set_host_enabled", json!({"enabled": true})).await;
    assert_eq!(answer.unwrap(), json!("enabled"));
    assert_eq!(panics.load(Ordering::Relaxed), 0, "the log above says where");
    // Whatever is changed here: many have to be read and many have to be thrown away.
    let settled = cloud.nova.broker.settled();
    let taken = settled.iter().filter(|each| **each == Settlement::Ack).count();
    assert!((count / 10..count * 9 / 10).contains(&taken), "{taken} of {count} were requests");
    let grown = memory().saturating_sub(before);
    assert!(grown < MOST_MEMORY, "{} MiB were kept", grown >> 20);
}
