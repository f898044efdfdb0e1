//! Turns what the rounds measured into the rows of a report: what is to be shown, and how many times the first row's figure each has.

use crate::report::{Case, Metric, Run, Unit};

/// What one row measured, round by round; nothing where it could not.
pub(super) type Rounds = Vec<Option<Run>>;

/// What a report tells of a row.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    /// The metric that rows are compared by.
    pub(super) lead: &'a str,
    /// The one that says how it compares with the first row's.
    pub(super) ratio: &'static str,
    pub(super) metrics: &'a [&'a str],
}

/// A case for each row that was measured at least once. A ratio is taken within a round: what the machine does to one row it does to the
/// other.
pub(super) fn cases(names: &[&str], rows: &[Rounds], shown: &Shown<'_>) -> Vec<Case> {
    let first = rows.first().map_or(&[][..], Vec::as_slice);
    let case = |(name, rounds): (&&str, &Rounds)| {
        let runs = rounds.iter().enumerate().filter_map(|(round, run)| {
            let base = first.get(round).and_then(Option::as_ref);
            Some(with_ratio(run.as_ref()?, base, shown))
        });
        Case { name: (*name).to_owned(), runs: runs.collect() }
    };
    names.iter().zip(rows).map(case).filter(|case| !case.runs.is_empty()).collect()
}

/// The metrics to be shown, the ratio right behind the one that it is of.
fn with_ratio(run: &Run, base: Option<&Run>, shown: &Shown<'_>) -> Run {
    let Shown { lead, ratio, metrics } = *shown;
    let lead_of = |run: &Run| run.iter().find(|metric| metric.key == lead).map(|metric| metric.value);
    let times = base.and_then(lead_of).zip(lead_of(run)).filter(|(base, _)| *base > 0.0);
    let mut kept = Run::new();
    for metric in run.iter().filter(|metric| metrics.contains(&metric.key)) {
        kept.push(*metric);
        if let Some((base, own)) = times.filter(|_| metric.key == lead) {
            kept.push(Metric { key: ratio, unit: Unit::Ratio, value: own / base });
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: &str = "rate_bytes_per_s";
    const TIMES: &str = "times_ratio";
    const SHOWN: Shown<'_> = Shown { lead: RATE, ratio: TIMES, metrics: &[RATE, "records_per_s"] };

    fn run(rate: f64) -> Option<Run> {
        let metric = |key, unit, value| Metric { key, unit, value };
        Some(vec![
            metric("records_per_s", Unit::RecordsPerSecond, 1.0),
            metric(RATE, Unit::BytesPerSecond, rate),
            metric("max_us", Unit::Micros, 9.0),
        ])
    }

    #[test]
    fn a_ratio_is_taken_within_a_round_and_stands_behind_its_figure() {
        // The machine halves its speed in the second round; the ratio stays.
        let rows = [vec![run(200.0), run(100.0)], vec![run(800.0), run(400.0)]];
        let cases = cases(&["slow", "fast"], &rows, &SHOWN);
        let keys: Vec<&str> = cases[1].runs[0].iter().map(|metric| metric.key).collect();
        assert_eq!(keys, ["records_per_s", RATE, TIMES], "in the order measured, and only what is to be shown");
        assert_eq!((cases[0].median(TIMES), cases[1].median(TIMES)), (Some(1.0), Some(4.0)));
        assert_eq!(cases[1].runs.iter().filter(|run| (run[2].value - 4.0).abs() < 1e-9).count(), 2);
    }

    #[test]
    fn what_could_not_be_measured_is_left_out_and_compared_with_nothing() {
        let rows = [vec![None, None], vec![run(8.0), None], vec![None, None]];
        let cases = cases(&["first", "second", "third"], &rows, &SHOWN);
        assert_eq!(cases.iter().map(|case| case.name.as_str()).collect::<Vec<_>>(), ["second"]);
        assert_eq!((cases[0].runs.len(), cases[0].median(TIMES)), (1, None));
    }
}
