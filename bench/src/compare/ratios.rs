//! The rows of a comparison: each broker under each load, and below them one broker against another.
//!
//! The first is set against each of the others, and others among themselves where they promise the same. A ratio is one broker's figure divided
//! by the other's in the same round. More is better for a rate, less for all else.

use super::options::Load;
use super::{Cell, Contender, Results};
use crate::report::{Case, Metric, Run, Unit};

pub(super) const RATE: &str = "rate_bytes_per_s";

/// What stands in a broker's row, where it was measured.
const SHOWN: [&str; 6] =
    ["records_per_s", RATE, "p99_us", "server_cpu_s_per_gb", "server_memory_bytes", "client_busy_percent"];

/// What is divided, and the quotient's name, which shares its column.
const DIVIDED: [(&str, &str); 4] = [
    (RATE, "rate_ratio"),
    ("p99_us", "p99_ratio"),
    ("server_cpu_s_per_gb", "server_cpu_ratio"),
    ("server_memory_bytes", "server_memory_ratio"),
];

/// All rows, load by load.
pub(super) fn cases(contenders: &[Contender], durabilities: &[String], results: &Results) -> Vec<Case> {
    let mut cases = Vec::new();
    for load in Load::ALL {
        let runs_of = |contender: usize| results.get(&Cell { load, contender }).map_or(&[][..], Vec::as_slice);
        if runs_of(0).is_empty() {
            continue;
        }
        for (place, (contender, durability)) in contenders.iter().zip(durabilities).enumerate() {
            let name = format!("{}: {}, {durability}", load.title(), contender.name);
            cases.push(Case { name, runs: runs_of(place).iter().map(shown).collect() });
        }
        for (one, other) in pairs(durabilities) {
            let durability = if durabilities[one] == durabilities[other] {
                format!("both {}", durabilities[one])
            } else {
                format!("{} against {}", durabilities[one], durabilities[other])
            };
            let name = format!("  {} / {}, {durability}", contenders[one].name, contenders[other].name);
            let rounds = runs_of(one).iter().zip(runs_of(other));
            cases.push(Case { name, runs: rounds.map(|(one, other)| quotients(one, other)).collect() });
        }
    }
    cases
}

/// Who is set against whom, as places in the order of the brokers.
fn pairs(durabilities: &[String]) -> Vec<(usize, usize)> {
    let all = (0..durabilities.len()).flat_map(|one| (one + 1..durabilities.len()).map(move |other| (one, other)));
    all.filter(|(one, other)| *one == 0 || durabilities[*one] == durabilities[*other]).collect()
}

fn shown(run: &Run) -> Run {
    SHOWN.iter().filter_map(|key| metric(run, key)).copied().collect()
}

fn quotients(one: &Run, other: &Run) -> Run {
    let quotient = |(key, ratio): &(&str, &'static str)| {
        let (one, other) = (metric(one, key)?, metric(other, key)?);
        // CPU time comes in steps of 10 ms: a short run may seem to have taken none.
        (one.value > 0.0 && other.value > 0.0).then(|| Metric {
            key: ratio,
            unit: Unit::Ratio,
            value: one.value / other.value,
        })
    };
    DIVIDED.iter().filter_map(quotient).collect()
}

fn metric<'a>(run: &'a Run, key: &str) -> Option<&'a Metric> {
    run.iter().find(|metric| metric.key == key)
}

#[cfg(test)]
mod tests {
    use super::super::contender;
    use super::*;

    fn run(rate: f64, cpu: Option<f64>) -> Run {
        let cpu = cpu.map(|value| Metric { key: "server_cpu_s_per_gb", unit: Unit::SecondsPerGb, value });
        std::iter::once(Metric { key: RATE, unit: Unit::BytesPerSecond, value: rate }).chain(cpu).collect()
    }

    #[test]
    fn the_first_meets_everyone_and_others_meet_their_like() {
        let durabilities = ["synced", "unsynced", "unsynced", "synced"].map(str::to_owned);
        assert_eq!(pairs(&durabilities), [(0, 1), (0, 2), (0, 3), (1, 2)]);
    }

    #[test]
    fn a_ratio_is_taken_within_a_round() {
        let contenders = ["mill=h:1", "kafka=h:2"].map(|text| contender::parse(text).unwrap());
        let durabilities = ["synced".to_owned(), "unsynced".to_owned()];
        let mut results = Results::new();
        let cell = |contender| Cell { load: Load::Consume, contender };
        // The machine halves its speed in the second round; the ratio stays.
        results.insert(cell(0), vec![run(800.0, Some(1.0)), run(400.0, None), run(800.0, Some(0.0))]);
        results.insert(cell(1), vec![run(200.0, Some(4.0)), run(100.0, Some(4.0)), run(200.0, Some(4.0))]);
        let cases = cases(&contenders, &durabilities, &results);
        let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(
            names,
            ["consume 1 KB: mill, synced", "consume 1 KB: kafka, unsynced", "  mill / kafka, synced against unsynced"]
        );
        assert_eq!(cases[2].median("rate_ratio"), Some(4.0));
        assert_eq!(cases[2].median("server_cpu_ratio"), Some(0.25), "a run without CPU time has no ratio");
        assert_eq!(cases[2].median("p99_ratio"), None);
    }
}
