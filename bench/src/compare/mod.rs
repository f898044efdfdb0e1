//! Brokers side by side: the same load on each in turn, again and again, and how the first fares against each of the others.
//!
//! Every load is a `produce` or a `consume` as one could type it, run through the same code, so that a single figure can be repeated by hand.
//! The order of the brokers rotates from round to round, and a ratio is taken within a round: what the machine does to one it does to the
//! other. It starts no broker; `scripts/peers/` has scripts for that.

mod contender;
mod options;
mod ratios;
mod topics;

use std::collections::BTreeMap;

use ringmill_batch::Codec;

use crate::load::{self, Peer};
use crate::machine;
use crate::report::{Case, Report, Run};
use contender::Contender;
use options::Load;
use topics::Topics;

pub(crate) use options::CompareOptions;

/// Fewer runs than this say little about spread.
const RUNS_WANTED: u32 = 5;

/// One cell of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cell {
    load: Load,
    /// Which of the contenders.
    contender: usize,
}

/// What has been measured so far.
type Results = BTreeMap<Cell, Vec<Run>>;

/// Busier than this for as much as it can be busy, the load generator may be what holds a load back.
const CLIENT_BUSY_SHARE_MAX: f64 = 0.8;

/// Loads all brokers in alternating runs.
///
/// # Errors
/// The first load's that failed, with the broker's name.
pub(crate) fn run(options: &CompareOptions) -> Result<Report, String> {
    let contenders = &options.brokers;
    contender::check_names(contenders)?;
    let mut durabilities = Vec::new();
    let mut results = Results::new();
    // The first rounds warm up what starts cold, a JVM above all, and do not count.
    let unpaced = unpaced(options);
    let rounds = if unpaced.is_empty() { 0 } else { options.warm_up_runs + options.runs };
    for round in 0..rounds {
        let counted = round >= options.warm_up_runs;
        for load in unpaced.iter().copied() {
            run_round(options, load, round, None, counted.then_some(&mut results))?;
        }
        learn(contenders, &mut durabilities)?;
    }
    if options.loads.contains(&Load::Paced) {
        let rate = options.rate.or_else(|| half_of_the_slowest(&results));
        let rate = rate.ok_or("the paced load needs --rate where produce-1kb is not measured")?;
        for round in 0..options.runs {
            run_round(options, Load::Paced, round, Some(rate), Some(&mut results))?;
            learn(contenders, &mut durabilities)?;
        }
    }
    if !options.keep_topics {
        contenders.iter().try_for_each(|contender| delete_topics(options, contender))?;
    }
    let mut warnings = warnings(options, &durabilities);
    warnings.extend(busy_clients(options, &results));
    warnings.extend(load::slow_sockets());
    Ok(Report {
        command: "compare",
        conditions: conditions(options, &durabilities),
        cases: ratios::cases(contenders, &durabilities, &results),
        groups: Vec::new(),
        warnings,
        profiles: Vec::new(),
    })
}

/// Puts one load on each broker in its turn, and keeps the figures where `results` are wanted.
fn run_round(
    options: &CompareOptions,
    load: Load,
    round: u32,
    rate: Option<u64>,
    mut results: Option<&mut Results>,
) -> Result<(), String> {
    for contender in in_turn(options.brokers.len(), round) {
        let run = one_load(options, load, contender, rate)?;
        // What only fills the topic for a consume is not to be shown.
        if let Some(results) = results.as_deref_mut().filter(|_| options.loads.contains(&load)) {
            results.entry(Cell { load, contender }).or_default().push(run);
        }
    }
    Ok(())
}

/// The loads at full speed, in their order. What is consumed has to be produced, even where that is not to be shown, and is consumed next,
/// while it lies in the page cache of all brokers.
fn unpaced(options: &CompareOptions) -> Vec<Load> {
    let all = [Load::Produce1Kb, Load::Consume, Load::Produce100B];
    let wanted = |load: &Load| {
        let fills_the_topic = *load == Load::Produce1Kb && options.loads.contains(&Load::Consume);
        options.loads.contains(load) || fills_the_topic
    };
    all.into_iter().filter(wanted).collect()
}

/// All contenders, beginning with another one each round.
pub(crate) fn in_turn(count: usize, round: u32) -> impl Iterator<Item = usize> {
    (0..count).map(move |place| (place + round as usize) % count)
}

/// Runs one load on one broker.
fn one_load(options: &CompareOptions, load: Load, contender: usize, rate: Option<u64>) -> Result<Run, String> {
    let contender = &options.brokers[contender];
    let arguments = contender.arguments(options, load, rate);
    let named = |error: String| format!("{}, {}: {error}", contender.name, load.title());
    let report = load::typed(&arguments).map_err(named)?;
    let run = report.into_first_run().ok_or_else(|| named("nothing was measured".to_owned()))?;
    eprintln!("{}: {}", contender.name, arguments[1..].join(" "));
    Ok(run)
}

/// Half of the rate that the slowest broker reached with 1 KB: a load that all can bear.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate in bytes is positive and far below 2^53"
)]
fn half_of_the_slowest(results: &Results) -> Option<u64> {
    let rates = results.iter().filter(|(cell, _)| cell.load == Load::Produce1Kb);
    let slowest = rates.filter_map(|(_, runs)| median(runs, ratios::RATE)).min_by(f64::total_cmp)?;
    Some((slowest / 2.0) as u64)
}

fn median(runs: &[Run], key: &str) -> Option<f64> {
    Case { name: String::new(), runs: runs.to_vec() }.median(key)
}

/// Where the load generator may be the limit, and not the broker.
fn busy_clients(options: &CompareOptions, results: &Results) -> Vec<String> {
    let mut warnings = Vec::new();
    let cores = std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1));
    for (cell, runs) in results {
        let Some(percent) = median(runs, "client_busy_percent") else { continue };
        let share = percent / 100.0 / f64::from(options.connections.min(cores));
        if share > CLIENT_BUSY_SHARE_MAX {
            let (load, name) = (cell.load.title(), &options.brokers[cell.contender].name);
            warnings.push(format!(
                "{load}, {name}: the load generator's threads were busy {:.0} % of the time, and may be the limit",
                share * 100.0
            ));
        }
    }
    warnings
}

/// Asks the brokers what their answers promise, once: as soon as there are topics to ask about, so that nothing is measured in vain.
fn learn(contenders: &[Contender], durabilities: &mut Vec<String>) -> Result<(), String> {
    if durabilities.is_empty() && !contenders.is_empty() {
        *durabilities = contenders.iter().map(durability).collect::<Result<_, _>>()?;
    }
    Ok(())
}

fn durability(contender: &Contender) -> Result<String, String> {
    match &contender.durability {
        Some(said) => Ok(said.clone()),
        None => match Peer::of(&contender.address) {
            Some(peer) => peer.durability().map_err(|error| format!("{}: {error}", contender.name)),
            None => Topics::connect(contender)?.durability(),
        },
    }
}

fn delete_topics(options: &CompareOptions, contender: &Contender) -> Result<(), String> {
    let Some(peer) = Peer::of(&contender.address) else { return Topics::connect(contender)?.delete() };
    let delete = |load: &Load| peer.delete(&contender.topic(*load), options.connections);
    Load::WRITTEN.iter().try_for_each(delete).map_err(|error| format!("{}: {error}", contender.name))
}

fn conditions(options: &CompareOptions, durabilities: &[String]) -> Vec<(&'static str, String)> {
    let mut conditions = machine::conditions();
    let brokers = options.brokers.iter().zip(durabilities).map(|(contender, durability)| {
        let settings: String = contender.settings.iter().map(|(name, value)| format!(", {name}={value}")).collect();
        format!("{} at {}, {durability}{settings}", contender.name, contender.address)
    });
    conditions.push(("brokers", brokers.collect::<Vec<_>>().join("; ")));
    conditions.push(("connections", format!("{}, {} partitions", options.connections, options.partitions())));
    conditions.push(("in_flight", options.in_flight.to_string()));
    let values = format!("{}, codec {}", options.payload_name(), options.codec);
    let (unpaced, paced) = (options.batch_records(Load::Produce1Kb), options.batch_records(Load::Paced));
    conditions.push(("batch", format!("{unpaced} records, paced {paced}; one batch a request, {values}, acks -1")));
    conditions.push(("bytes_of_a_run", options.bytes.to_string()));
    conditions.push(("runs", format!("{}, after {} that do not count", options.runs, options.warm_up_runs)));
    conditions
}

fn warnings(options: &CompareOptions, durabilities: &[String]) -> Vec<String> {
    let mut warnings = Vec::new();
    if options.runs < RUNS_WANTED {
        warnings.push(format!("{} runs say little about spread: --runs {RUNS_WANTED} or more", options.runs));
    }
    let (first, others) = durabilities.split_first().expect("a comparison has brokers");
    if !others.is_empty() && !others.contains(first) {
        warnings.push(format!("{} is {first} and no other broker is: none promises the same", options.brokers[0].name));
    }
    if options.codec != Codec::None && options.brokers.iter().any(|contender| Peer::of(&contender.address).is_some()) {
        warnings.push("brokers of other protocols get their values uncompressed".to_owned());
    }
    if options.brokers.iter().any(|contender| contender.pid.is_none()) {
        warnings.push("CPU and memory of a broker need its pid: NAME=ADDRESS,pid=N".to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use crate::report::{Metric, Unit};

    use super::*;

    #[test]
    fn every_broker_is_first_in_its_turn() {
        let order = |round| in_turn(3, round).collect::<Vec<_>>();
        assert_eq!([order(0), order(1), order(2), order(3)], [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
    }

    #[test]
    fn the_paced_load_is_one_that_the_slowest_can_bear() {
        let run = |value| vec![Metric { key: ratios::RATE, unit: Unit::BytesPerSecond, value }];
        let mut results = Results::new();
        results.insert(Cell { load: Load::Produce1Kb, contender: 0 }, vec![run(900.0), run(100.0), run(800.0)]);
        results.insert(Cell { load: Load::Produce1Kb, contender: 1 }, vec![run(300.0)]);
        results.insert(Cell { load: Load::Produce100B, contender: 1 }, vec![run(20.0)]);
        assert_eq!(half_of_the_slowest(&results), Some(150));
        assert_eq!(half_of_the_slowest(&Results::new()), None);
    }
}
