//! What each thing gains on this machine: one factor at a time is changed, all else stays, and the report says why it comes out so.
//!
//! It says what is compared; [`trials`](crate::trials) measures it.

mod batches;
mod cache;
mod codecs;
mod durability;
mod options;
mod ring;
mod writes;
mod zero_copy;

use clap::ValueEnum;

use crate::group::GAIN;
use crate::report::Report;
use crate::trials::{self, Amounts, OF_A_LOAD, Plan, Trials, partitions};

use options::Factor;
pub(crate) use options::GainsOptions;

/// Measures the factors that were asked for.
///
/// # Errors
/// As [`trials::run`].
pub(crate) fn run(options: &GainsOptions) -> Result<Report, String> {
    let (factors, amounts) = (options.chosen(), options.trials.amounts());
    trials::run(Trials {
        command: "gains",
        options: &options.trials,
        plans: factors.iter().flat_map(|factor| plans(*factor, &amounts)).collect(),
        through_broker: factors.iter().find(|factor| factor.needs_broker()).map(|factor| factor.name()),
        ratio: GAIN,
    })
}

/// Every factor's groups, what each compares and between what.
pub(crate) fn list() -> String {
    trials::list(Factor::value_variants().iter().map(|factor| (factor.name(), plans(*factor, &Amounts::FULL))))
}

fn plans(factor: Factor, amounts: &Amounts) -> Vec<Plan> {
    match factor {
        Factor::Writes => writes::plans(amounts),
        Factor::Batches => batches::plans(amounts),
        Factor::Durability => durability::plans(amounts),
        Factor::Sendfile => zero_copy::plans(amounts),
        Factor::Codecs => codecs::plans(amounts),
        Factor::Partitions => partitions::plans(factor.name(), OF_A_LOAD, amounts),
        Factor::Ring => ring::plans(amounts),
        Factor::Cache => cache::plans(amounts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_says_what_is_compared_and_why_and_fits_the_picture() {
        for plan in Factor::value_variants().iter().flat_map(|factor| plans(*factor, &Amounts::FULL)) {
            trials::check_plan(&plan);
        }
    }

    #[test]
    fn the_list_names_every_factor_in_lines_that_fit_a_terminal() {
        let list = list();
        for factor in Factor::value_variants() {
            assert!(list.lines().any(|line| line == factor.name()), "{list}");
        }
        assert!(list.contains("sendfile(2)") && list.lines().all(|line| line.chars().count() <= 78), "{list}");
    }
}
