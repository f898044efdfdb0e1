//! What growing costs: the same load on more partitions, connections, producers and backlog, and with larger records, each table with the
//! broker's memory beside its speed.
//!
//! It says what is compared; [`trials`](crate::trials) measures it.

mod backlog;
mod connections;
mod idle;
mod options;
mod partitions;
mod producers;
mod records;

use clap::ValueEnum;

use crate::group::TO_FIRST;
use crate::open_files;
use crate::report::Report;
use crate::trials::{self, Amounts, MEMORY_AT_END, Plan, RATE, Trials};

use options::Factor;
pub(crate) use options::GrowthOptions;

const P99: &str = "p99_us";
const BROKER_CPU: &str = "server_cpu_s_per_gb";

/// What is shown of a load: what it reached, and what it took of the broker.
const SHOWN: &[&str] = &[RATE, "p50_us", P99, BROKER_CPU, "server_memory_bytes", MEMORY_AT_END, "client_busy_percent"];

/// Measures the factors that were asked for.
///
/// # Errors
/// As [`trials::run`].
pub(crate) fn run(options: &GrowthOptions) -> Result<Report, String> {
    let open_files = open_files::allow_all();
    let (factors, amounts) = (options.chosen(), options.trials.amounts());
    let mut report = trials::run(Trials {
        command: "growth",
        options: &options.trials,
        plans: factors.iter().flat_map(|factor| plans(*factor, &amounts)).collect(),
        through_broker: factors.first().map(|factor| factor.name()),
        ratio: TO_FIRST,
    })?;
    if factors.contains(&Factor::Connections) {
        report.warnings.extend(open_files::lacking(open_files));
    }
    Ok(report)
}

/// Every factor's groups, what each compares and between what.
pub(crate) fn list() -> String {
    trials::list(Factor::value_variants().iter().map(|factor| (factor.name(), plans(*factor, &Amounts::FULL))))
}

fn plans(factor: Factor, amounts: &Amounts) -> Vec<Plan> {
    match factor {
        Factor::Partitions => partitions::plans(amounts),
        Factor::Connections => connections::plans(amounts),
        Factor::Producers => producers::plans(amounts),
        Factor::Backlog => backlog::plans(amounts),
        Factor::Records => records::plans(amounts),
    }
}

/// Before the clock of a load with many connections starts, so that opening them is not what is measured.
fn warm_up(amounts: &Amounts) -> String {
    const PART: u32 = 10;
    format!("--warm-up {}ms", (amounts.time_max / PART).as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_says_what_grows_and_why_it_matters_and_shows_memory() {
        for plan in Factor::value_variants().iter().flat_map(|factor| plans(*factor, &Amounts::FULL)) {
            trials::check_plan(&plan);
            assert!(plan.shown.contains(&MEMORY_AT_END), "{}", plan.title);
        }
    }

    #[test]
    fn the_list_names_every_factor_with_its_first_and_its_last_row() {
        let list = list();
        for factor in Factor::value_variants() {
            assert!(list.lines().any(|line| line == factor.name()), "{list}");
        }
        let text = list.split_whitespace().collect::<Vec<_>>().join(" ");
        for rows in [
            "Rows: 1 partition;",
            "1,000 partitions.",
            "1,000 connections.",
            "10,000 idle connections.",
            "64 producers.",
            "50 GB of backlog.",
            "100 B;",
        ] {
            assert!(text.contains(rows), "no {rows} in {text}");
        }
        assert!(list.lines().all(|line| line.chars().count() <= 78), "{list}");
    }
}
