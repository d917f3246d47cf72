//! What the agent did lately, for the operator's page: requests by method with their times, and what failed. It is kept in
//! memory only, in a bounded amount of it; Prometheus keeps the numbers for longer (`metrics.rs`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::ids::InstanceUuid;
use jiff::Timestamp;
use serde::Serialize;

use crate::metrics::Outcome;

/// How many times of a method are kept for its quantiles.
const KEPT_TIMES: usize = 256;

/// How many failures are kept.
const KEPT_FAILURES: usize = 50;

/// The longest sentence of a failure, in characters.
const MAX_SENTENCE: usize = 500;

/// Seconds over which the rate of a method is taken.
const SPAN: usize = 60;

/// One method.
#[derive(Debug, Default)]
struct Record {
    ok: u64,
    refused: u64,
    errors: u64,
    times: VecDeque<Duration>,
    rate: Rate,
}

/// How many in the last minute, second by second.
#[derive(Debug)]
struct Rate {
    seconds: [u32; SPAN],
    /// The second, from the start of the agent, that was counted last.
    last: u64,
}

impl Default for Rate {
    fn default() -> Self {
        Self { seconds: [0; SPAN], last: 0 }
    }
}

impl Rate {
    /// Forgets what is older than a minute at second `now`.
    fn forget(&mut self, now: u64) {
        let passed = now.saturating_sub(self.last).min(SPAN as u64);
        for second in 1..=passed {
            self.seconds[slot(self.last + second)] = 0;
        }
        self.last = self.last.max(now);
    }

    fn count(&mut self, now: u64) {
        self.forget(now);
        self.seconds[slot(now)] += 1;
    }

    fn per_minute(&mut self, now: u64) -> u32 {
        self.forget(now);
        self.seconds.iter().sum()
    }
}

fn slot(second: u64) -> usize {
    usize::try_from(second % SPAN as u64).unwrap_or_default()
}

/// A method as the page shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MethodReport {
    /// Nova's name of it.
    pub method: &'static str,
    /// Since the start of the agent.
    pub count: u64,
    /// Of them, those that the agent refused.
    pub refused: u64,
    /// Of them, those that failed.
    pub errors: u64,
    /// In the last minute.
    pub per_minute: u32,
    /// Median time, in milliseconds, of the last ones.
    pub p50_ms: f64,
    /// The time within which nine of ten were done.
    pub p90_ms: f64,
    /// The time within which 99 of 100 were done.
    pub p99_ms: f64,
}

/// Something that failed or was refused.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failure {
    /// When.
    pub time: Timestamp,
    /// The RPC or the periodic task.
    pub what: String,
    /// Nova's request id; none of what nobody asked for.
    pub request_id: Option<String>,
    /// The instance it was about.
    pub instance_uuid: Option<InstanceUuid>,
    /// A limit of the agent or a mistake of the user, no failure.
    pub refused: bool,
    /// What the user is told.
    pub message: String,
}

/// The memory of all this; one per agent.
#[derive(Debug)]
pub struct Activity {
    started: Instant,
    methods: Mutex<BTreeMap<&'static str, Record>>,
    failures: Mutex<VecDeque<Failure>>,
}

impl Default for Activity {
    fn default() -> Self {
        Self { started: Instant::now(), methods: Mutex::default(), failures: Mutex::default() }
    }
}

impl Activity {
    /// Counts a request.
    pub fn count(&self, method: &'static str, outcome: Outcome, took: Duration) {
        let now = self.started.elapsed().as_secs();
        let mut methods = lock(&self.methods);
        let record = methods.entry(method).or_default();
        match outcome {
            Outcome::Ok => record.ok += 1,
            Outcome::Refused => record.refused += 1,
            Outcome::Error => record.errors += 1,
        }
        if record.times.len() == KEPT_TIMES {
            record.times.pop_front();
        }
        record.times.push_back(took);
        record.rate.count(now);
    }

    /// Keeps a failure; the oldest goes for it. A sentence that is too long is cut.
    pub fn failed(&self, mut failure: Failure) {
        if let Some((end, _)) = failure.message.char_indices().nth(MAX_SENTENCE) {
            failure.message.truncate(end);
            failure.message.push('…');
        }
        let mut failures = lock(&self.failures);
        if failures.len() == KEPT_FAILURES {
            failures.pop_front();
        }
        failures.push_back(failure);
    }

    /// Every method that was asked for, by name.
    pub fn methods(&self) -> Vec<MethodReport> {
        let now = self.started.elapsed().as_secs();
        lock(&self.methods).iter_mut().map(|(method, record)| record.report(method, now)).collect()
    }

    /// The failures that are kept, the latest first.
    pub fn failures(&self) -> Vec<Failure> {
        lock(&self.failures).iter().rev().cloned().collect()
    }
}

impl Record {
    fn report(&mut self, method: &'static str, now: u64) -> MethodReport {
        let mut times: Vec<Duration> = self.times.iter().copied().collect();
        times.sort_unstable();
        let milliseconds = |share| quantile(&times, share).as_secs_f64() * 1000.0;
        MethodReport {
            method,
            count: self.ok + self.refused + self.errors,
            refused: self.refused,
            errors: self.errors,
            per_minute: self.rate.per_minute(now),
            p50_ms: milliseconds(50),
            p90_ms: milliseconds(90),
            p99_ms: milliseconds(99),
        }
    }
}

/// The time within which `share` of 100 were done; `times` are sorted.
fn quantile(times: &[Duration], share: usize) -> Duration {
    let rank = (times.len() * share).div_ceil(100);
    times.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while it was held cannot have left a number half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(message: &str) -> Failure {
        Failure {
            time: Timestamp::UNIX_EPOCH,
            what: "stop_instance".into(),
            request_id: None,
            instance_uuid: None,
            refused: false,
            message: message.into(),
        }
    }

    #[test]
    fn a_method_is_counted_by_outcome_with_its_times() {
        let activity = Activity::default();
        for milliseconds in 1..=100 {
            activity.count("stop_instance", Outcome::Ok, Duration::from_millis(milliseconds));
        }
        activity.count("stop_instance", Outcome::Refused, Duration::from_millis(100));
        activity.count("stop_instance", Outcome::Error, Duration::from_millis(100));
        let report = activity.methods().remove(0);
        assert_eq!((report.count, report.refused, report.errors, report.per_minute), (102, 1, 1, 102));
        assert_eq!((report.p50_ms, report.p90_ms, report.p99_ms), (51.0, 92.0, 100.0));
    }

    #[test]
    fn quantiles_of_few_times_are_some_of_them() {
        let times = [1, 2].map(Duration::from_millis);
        assert_eq!(quantile(&times, 50), times[0]);
        assert_eq!(quantile(&times, 99), times[1]);
        assert_eq!(quantile(&[], 99), Duration::ZERO);
    }

    #[test]
    fn a_minute_is_all_that_a_rate_remembers() {
        let mut rate = Rate::default();
        rate.count(10);
        rate.count(10);
        rate.count(40);
        assert_eq!(rate.per_minute(69), 3);
        assert_eq!(rate.per_minute(70), 1);
        assert_eq!(rate.per_minute(99), 1);
        assert_eq!(rate.per_minute(100), 0);
        rate.count(10_000);
        assert_eq!(rate.per_minute(10_000), 1);
    }

    #[test]
    fn a_flood_of_requests_and_failures_is_bounded() {
        let activity = Activity::default();
        for number in 0..1000 {
            activity.count("stop_instance", Outcome::Ok, Duration::ZERO);
            activity.failed(failure(&number.to_string()));
        }
        activity.failed(failure(&"ü".repeat(100_000)));
        assert_eq!(activity.methods.lock().unwrap()["stop_instance"].times.len(), KEPT_TIMES);
        let failures = activity.failures();
        assert_eq!((failures.len(), failures[1].message.as_str()), (KEPT_FAILURES, "999"));
        assert_eq!(failures[0].message.chars().count(), MAX_SENTENCE + 1);
    }
}
