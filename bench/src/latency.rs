//! Latencies in an HDR histogram: three significant digits from a nanosecond to a minute.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::report::{Metric, Unit};

/// Longer ones count as this long.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

const NS_PER_MS: f64 = 1e6;
/// What three digits take: the next power of two above 2 × 10³.
const SUB_BUCKETS: u32 = 2048;
/// How finely a histogram file steps: so many lines for each halving of what is left to 100 %.
const HGRM_STEPS_PER_HALF: u32 = 5;

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

    /// The distribution as HdrHistogram's own tools print and plot it, in milliseconds.
    pub(crate) fn to_hgrm(&self) -> String {
        let histogram = &self.nanoseconds;
        let mut text =
            format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
        let mut count = 0;
        for step in histogram.iter_quantiles(HGRM_STEPS_PER_HALF) {
            count += step.count_since_last_iteration();
            let (value, quantile) = (milliseconds(step.value_iterated_to()), step.quantile_iterated_to());
            text.push_str(&format!("{value:12.3} {quantile:2.12} {count:10}"));
            if quantile < 1.0 {
                text.push_str(&format!(" {:14.2}", 1.0 / (1.0 - quantile)));
            }
            text.push('\n');
        }
        text.push_str(&format!(
            "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]\n#[Max     = {:12.3}, Total count    = {count:12}]\n#[Buckets = {:12}, SubBuckets     = {:12}]\n",
            histogram.mean() / NS_PER_MS,
            histogram.stdev() / NS_PER_MS,
            milliseconds(histogram.max()),
            histogram.buckets(),
            SUB_BUCKETS,
        ));
        text
    }

    /// Quantiles (0 to 1) with what they did not exceed in microseconds, closer together towards the end.
    pub(crate) fn quantiles(&self) -> Vec<(f64, f64)> {
        let steps = self.nanoseconds.iter_quantiles(HGRM_STEPS_PER_HALF);
        steps.map(|step| (step.quantile_iterated_to(), milliseconds(step.value_iterated_to()) * 1e3)).collect()
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.nanoseconds.reset();
    }

    /// A metric per quantile asked for; quantile 1 is the maximum.
    pub(crate) fn metrics(&self, quantiles: &[(&'static str, f64)]) -> Vec<Metric> {
        quantiles
            .iter()
            .map(|(key, quantile)| Metric { key, unit: Unit::Micros, value: self.micros_at(*quantile) })
            .collect()
    }

    /// What the quantile (0 to 1) of all latencies did not exceed, in microseconds.
    #[expect(clippy::cast_precision_loss, reason = "at most a minute of nanoseconds, far below 2^53")]
    pub(crate) fn micros_at(&self, quantile: f64) -> f64 {
        self.nanoseconds.value_at_quantile(quantile) as f64 / 1e3
    }
}

#[expect(clippy::cast_precision_loss, reason = "at most a minute of nanoseconds, far below 2^53")]
fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / NS_PER_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_file_ends_at_the_maximum_with_all_counted() {
        let mut latency = Latency::new();
        for milliseconds in 1..=1000 {
            latency.record(Duration::from_millis(milliseconds));
        }
        let text = latency.to_hgrm();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]);
        let median = lines.iter().find(|line| line.get(1) == Some(&"0.500000000000")).unwrap();
        assert_eq!((median[2], median[3]), ("500", "2.00"), "{text}");
        assert!((median[0].parse::<f64>().unwrap() - 500.0).abs() < 1.0, "{text}");
        let last = lines.iter().rfind(|line| !line[0].starts_with('#')).unwrap();
        assert_eq!(last[1..], ["1.000000000000", "1000"], "{text}");
        assert!(text.contains("Total count    =         1000]"), "{text}");
    }

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
