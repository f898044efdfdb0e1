//! Turns what the rounds measured into the rows of a report: what is to be shown, and how many times the first row's figure each has.

use crate::group::GAIN;
use crate::report::{Case, Metric, Run, Unit};

/// What one row measured, round by round; nothing where it could not.
pub(super) type Rounds = Vec<Option<Run>>;

/// A case for each row that was measured at least once. A ratio is taken within a round: what the machine does to one row it does to the
/// other.
pub(super) fn cases(names: &[&str], rows: &[Rounds], lead: &str, shown: &[&str]) -> Vec<Case> {
    let first = rows.first().map_or(&[][..], Vec::as_slice);
    let case = |(name, rounds): (&&str, &Rounds)| {
        let runs = rounds.iter().enumerate().filter_map(|(round, run)| {
            let base = first.get(round).and_then(Option::as_ref);
            Some(with_gain(run.as_ref()?, base, lead, shown))
        });
        Case { name: (*name).to_owned(), runs: runs.collect() }
    };
    names.iter().zip(rows).map(case).filter(|case| !case.runs.is_empty()).collect()
}

/// The metrics to be shown, the ratio right behind the one that it is of.
fn with_gain(run: &Run, base: Option<&Run>, lead: &str, shown: &[&str]) -> Run {
    let lead_of = |run: &Run| run.iter().find(|metric| metric.key == lead).map(|metric| metric.value);
    let gain = base.and_then(lead_of).zip(lead_of(run)).filter(|(base, _)| *base > 0.0);
    let mut kept = Run::new();
    for metric in run.iter().filter(|metric| shown.contains(&metric.key)) {
        kept.push(*metric);
        if let Some((base, own)) = gain.filter(|_| metric.key == lead) {
            kept.push(Metric { key: GAIN, unit: Unit::Ratio, value: own / base });
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: &str = "rate_bytes_per_s";

    fn run(rate: f64) -> Option<Run> {
        let metric = |key, unit, value| Metric { key, unit, value };
        Some(vec![
            metric("records_per_s", Unit::RecordsPerSecond, 1.0),
            metric(RATE, Unit::BytesPerSecond, rate),
            metric("max_us", Unit::Micros, 9.0),
        ])
    }

    #[test]
    fn a_gain_is_taken_within_a_round_and_stands_behind_its_figure() {
        // The machine halves its speed in the second round; the ratio stays.
        let rows = [vec![run(200.0), run(100.0)], vec![run(800.0), run(400.0)]];
        let cases = cases(&["slow", "fast"], &rows, RATE, &[RATE, "records_per_s"]);
        let keys: Vec<&str> = cases[1].runs[0].iter().map(|metric| metric.key).collect();
        assert_eq!(keys, ["records_per_s", RATE, GAIN], "in the order measured, and only what is to be shown");
        assert_eq!((cases[0].median(GAIN), cases[1].median(GAIN)), (Some(1.0), Some(4.0)));
        assert_eq!(cases[1].runs.iter().filter(|run| (run[2].value - 4.0).abs() < 1e-9).count(), 2);
    }

    #[test]
    fn what_could_not_be_measured_is_left_out_and_compared_with_nothing() {
        let rows = [vec![None, None], vec![run(8.0), None], vec![None, None]];
        let cases = cases(&["first", "second", "third"], &rows, RATE, &[RATE]);
        assert_eq!(cases.iter().map(|case| case.name.as_str()).collect::<Vec<_>>(), ["second"]);
        assert_eq!((cases[0].runs.len(), cases[0].median(GAIN)), (1, None));
    }
}
