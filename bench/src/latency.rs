//! Latencies in an HDR histogram: three significant digits from a nanosecond to a minute.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::report::{Metric, Unit};

/// Longer ones count as this long.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// Latencies of one thread or, merged, of all.
#[derive(Clone, Debug)]
pub(crate) struct Latency {
    nanoseconds: Histogram<u64>,
}

impl Latency {
    pub(crate) fn new() -> Latency {
        let nanoseconds = Histogram::new_with_bounds(1, LATENCY_NS_MAX, SIGNIFICANT_DIGITS);
        Latency { nanoseconds: nanoseconds.expect("the bounds are constants that the histogram takes") }
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.nanoseconds.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn merge(&mut self, other: &Latency) {
        self.nanoseconds.add(&other.nanoseconds).expect("all histograms have the same bounds");
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.nanoseconds.is_empty()
    }

    /// A metric per quantile asked for; quantile 1 is the maximum.
    pub(crate) fn metrics(&self, quantiles: &[(&'static str, f64)]) -> Vec<Metric> {
        quantiles
            .iter()
            .map(|(key, quantile)| Metric { key, unit: Unit::Micros, value: self.micros_at(*quantile) })
            .collect()
    }

    #[expect(clippy::cast_precision_loss, reason = "at most a minute of nanoseconds, far below 2^53")]
    fn micros_at(&self, quantile: f64) -> f64 {
        self.nanoseconds.value_at_quantile(quantile) as f64 / 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_come_out_of_what_went_in() {
        let (mut latency, mut other) = (Latency::new(), Latency::new());
        for milliseconds in 1..=100 {
            latency.record(Duration::from_millis(milliseconds));
        }
        other.record(Duration::from_secs(1000));
        latency.merge(&other);
        let metrics = latency.metrics(&[("p50_us", 0.5), ("max_us", 1.0)]);
        assert!((metrics[0].value - 51_000.0).abs() < 1_000.0, "{metrics:?}");
        assert!((metrics[1].value - 60_000_000.0).abs() < 100_000.0, "{metrics:?}");
    }
}
