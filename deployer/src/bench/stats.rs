//! Medians and percentiles of measured times; pure.

use std::time::Duration;

/// Times of one figure.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples(Vec<Duration>);

impl Samples {
    pub(super) fn push(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// The middle one, the mean of the two middle ones of an even number; zero of none.
    pub(super) fn median(&self) -> Duration {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => Duration::ZERO,
            length if length % 2 == 1 => sorted[middle],
            _ => (sorted[middle - 1] + sorted[middle]) / 2,
        }
    }

    /// The sample that nine of ten do not exceed.
    pub(super) fn p90(&self) -> Duration {
        let sorted = self.sorted();
        sorted.get((sorted.len() * 9).div_ceil(10).saturating_sub(1)).copied().unwrap_or_default()
    }

    fn sorted(&self) -> Vec<Duration> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted
    }
}

/// `a` in units of `b`; infinite when `b` is nothing, so that a figure without a measurement never looks good.
pub(super) fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(milliseconds: &[u64]) -> Samples {
        Samples(milliseconds.iter().map(|&ms| Duration::from_millis(ms)).collect())
    }

    #[test]
    fn the_median_is_the_middle_of_the_sorted_samples() {
        assert_eq!(samples(&[30, 10, 20]).median(), Duration::from_millis(20));
        assert_eq!(samples(&[40, 10, 20, 30]).median(), Duration::from_millis(25));
        assert_eq!(samples(&[]).median(), Duration::ZERO);
    }

    #[test]
    fn one_of_ten_exceeds_the_p90() {
        assert_eq!(samples(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 100]).p90(), Duration::from_millis(9));
        assert_eq!(samples(&[7]).p90(), Duration::from_millis(7));
    }

    #[test]
    fn a_ratio_to_nothing_is_never_good() {
        assert!(ratio(1.0, 0.0).is_infinite());
        assert!((ratio(1.0, 4.0) - 0.25).abs() < f64::EPSILON);
    }
}
