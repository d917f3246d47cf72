//! How long a service was busy, by the log of the load balancer that all requests pass (HAProxy's `option httplog`).

use std::time::Duration;

use futures_util::TryStreamExt;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use super::Error;
use crate::engine::Docker;

/// The load balancer's service.
pub(crate) const SERVICE: &str = "haproxy";

/// Lines that are looked at: more than one boot makes.
const LINES: &str = "1000";

/// The load balancer.
pub(crate) struct Front<'a> {
    docker: &'a Docker,
    container: &'a str,
}

/// When a request came and when its answer was sent, in milliseconds since 1970.
type Span = (i64, i64);

impl<'a> Front<'a> {
    /// That in `container`.
    pub(crate) fn new(docker: &'a Docker, container: &'a str) -> Self {
        Self { docker, container }
    }

    /// How long requests to `service` were on their way between two times; side by side ones count once. Those that are not
    /// answered yet do not count.
    ///
    /// # Errors
    /// When Docker does not hand the log out.
    pub(super) async fn busy(
        &self,
        service: &str,
        (from, to): (Timestamp, Timestamp),
    ) -> Result<Duration, Error> {
        let lines: Vec<String> = self.docker.lines(self.container, LINES, false, false).try_collect().await?;
        let spans = lines.iter().filter_map(|line| span(line, service)).collect();
        Ok(covered(spans, (from.as_millisecond(), to.as_millisecond())))
    }
}

/// Reads `client [date] frontend backend/server TR/Tw/Tc/Tr/Ta …`.
fn span(line: &str, service: &str) -> Option<Span> {
    let mut words = line.split_whitespace().skip(1);
    let (date, frontend, _, times) = (words.next()?, words.next()?, words.next()?, words.next()?);
    if frontend != service {
        return None;
    }
    let date = DateTime::strptime("[%d/%b/%Y:%H:%M:%S%.f]", date).ok()?;
    let from = date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond();
    // A sign before it: more came after the line was written.
    let total: i64 = times.rsplit('/').next()?.trim_start_matches('+').parse().ok()?;
    Some((from, from + total.max(0)))
}

/// What the spans cover of the time from `first` to `last`.
fn covered(mut spans: Vec<Span>, (first, last): Span) -> Duration {
    spans.sort_unstable();
    let (mut covered, mut until) = (0, first);
    for (from, to) in spans {
        let (from, to) = (from.max(until), to.min(last));
        covered += (to - from).max(0);
        until = until.max(to);
    }
    Duration::from_millis(covered.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "172.31.251.141:33136 [25/Nov/2026:23:01:43.845] neutron neutron/neutron 0/0/0/10/12 200 152 - - \
                        ---- 13/3/0/0/0 0/0 \"GET /v2.0/ports?fields=device_id HTTP/1.1\"";

    #[test]
    fn a_line_tells_when_a_request_was_on_its_way() {
        let from = "2026-11-25T23:01:43.845Z".parse::<Timestamp>().unwrap().as_millisecond();
        assert_eq!(span(LINE, "neutron"), Some((from, from + 12)));
        assert_eq!(span(&LINE.replace("/10/12", "/10/+12"), "neutron"), Some((from, from + 12)));
        assert_eq!(span(LINE, "glance"), None);
        assert_eq!(span("[NOTICE] (1) : Loading success.", "neutron"), None);
    }

    #[test]
    fn requests_side_by_side_count_once_and_only_within_the_time() {
        let millis = Duration::from_millis;
        assert_eq!(covered(vec![], (0, 100)), millis(0));
        assert_eq!(covered(vec![(30, 40), (10, 20)], (0, 100)), millis(20));
        assert_eq!(covered(vec![(10, 30), (20, 40), (22, 25)], (0, 100)), millis(30));
        assert_eq!(covered(vec![(-20, 10), (90, 120), (130, 140)], (0, 100)), millis(20));
    }
}
