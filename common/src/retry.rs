//! The named waiting patterns of the agent: how long to wait before a thing is tried again.

use std::time::Duration;

/// Delays between attempts to reach a broker or a service: 1 s, 3 s, 5 s … up to 30 s, for ever.
///
/// These are oslo.messaging's defaults (`rabbit_retry_interval`, `rabbit_retry_backoff`, `rabbit_interval_max`), so
/// that a broker that comes back meets the load it knows.
pub fn connect() -> impl Iterator<Item = Duration> + Send {
    (0..).map(|attempt: u64| Duration::from_secs((1 + attempt.saturating_mul(2)).min(30)))
}

/// Delays between attempts at a write that lost a race (placement's generations): 4 more, 50 ms to 800 ms.
pub fn conflict() -> impl Iterator<Item = Duration> + Send {
    (0..4).map(|attempt: u32| Duration::from_millis(50 << (attempt * 4 / 3)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connecting_backs_off_to_half_a_minute_and_never_gives_up() {
        let seconds: Vec<u64> = connect().take(17).map(|d| d.as_secs()).collect();
        assert_eq!(seconds[..4], [1, 3, 5, 7]);
        assert_eq!(seconds[15..], [30, 30]);
    }

    #[test]
    fn conflicts_are_retried_for_about_a_second() {
        let total: Duration = conflict().sum();
        assert!(total < Duration::from_millis(1500), "{total:?}");
        assert_eq!(conflict().count(), 4);
    }
}
