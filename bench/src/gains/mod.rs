//! What each thing gains on this machine: one factor at a time is changed, all else stays, and the report says why it comes out so.
//!
//! Disk and sockets are measured directly; everything else goes through brokers that this command starts itself, with loads that could be
//! typed one by one. The rows of a group are measured in turn, round by round, and a ratio is taken within a round.

mod amounts;
mod batches;
mod broker;
mod cache;
mod codecs;
mod durability;
mod options;
mod pages;
mod partitions;
mod plan;
mod ratios;
mod ring;
mod stage;
mod writes;
mod zero_copy;

use std::path::PathBuf;

use crate::compare::in_turn;
use crate::group::{Group, wrapped};
use crate::machine;
use crate::report::{Report, Run};

use amounts::Amounts;
use options::Factor;
pub(crate) use options::GainsOptions;
use plan::Plan;
use ratios::Rounds;
use stage::Stage;

/// Fewer runs than this have no middle.
const RUNS_WANTED: u32 = 3;

/// A plan and what its rows have measured so far.
struct Measured {
    plan: Plan,
    rows: Vec<Rounds>,
}

/// Measures the factors that were asked for.
///
/// # Errors
/// When there is no broker to start although one is needed, no directory to measure in, or nothing could be measured. A row that this
/// machine refuses only leaves a warning.
pub(crate) fn run(options: &GainsOptions) -> Result<Report, String> {
    let (factors, amounts) = (options.chosen(), options.amounts());
    let ringmill = broker_program(options, &factors)?;
    let stage = Stage::open(&options.dir, ringmill, amounts)?;
    let mut measured: Vec<Measured> = factors
        .iter()
        .flat_map(|factor| plans(*factor, &amounts))
        .map(|plan| Measured { rows: plan.rows.iter().map(|_| Rounds::new()).collect(), plan })
        .collect();
    let mut warnings = Vec::new();
    let steps = options.runs as usize * measured.iter().map(|one| one.rows.len()).sum::<usize>();
    let mut step = 0;
    // Round by round and not group by group, so that a slow minute of the machine falls on all of them.
    for round in 0..options.runs {
        for one in &mut measured {
            for place in in_turn(one.rows.len(), round) {
                step += 1;
                measure(&stage, one, place, &format!("{step}/{steps}"), &mut warnings);
            }
        }
    }
    let groups: Vec<Group> = measured.into_iter().map(group).filter(|group| !group.cases.is_empty()).collect();
    if groups.is_empty() {
        return Err(warnings.join("; "));
    }
    let conditions = conditions(options, &stage, &factors);
    warnings.extend(cautions(options));
    Ok(Report { command: "gains", conditions, cases: Vec::new(), groups, warnings, profiles: Vec::new() })
}

/// Every factor's groups, what each compares and between what.
pub(crate) fn list() -> String {
    use clap::ValueEnum;
    const LINE_LETTERS_MAX: usize = 76;
    let mut text = String::new();
    for factor in Factor::value_variants() {
        text.push_str(&format!("{}\n", factor.name()));
        for plan in plans(*factor, &Amounts::FULL) {
            let rows: Vec<&str> = plan.rows.iter().map(|row| row.name.as_str()).collect();
            let paragraph = format!("{}. {} Rows: {}.", plan.title, plan.compared, rows.join("; "));
            text.extend(wrapped(&paragraph, LINE_LETTERS_MAX).iter().map(|line| format!("  {line}\n")));
        }
    }
    text
}

fn plans(factor: Factor, amounts: &Amounts) -> Vec<Plan> {
    match factor {
        Factor::Writes => writes::plans(amounts),
        Factor::Batches => batches::plans(amounts),
        Factor::Durability => durability::plans(amounts),
        Factor::Sendfile => zero_copy::plans(amounts),
        Factor::Codecs => codecs::plans(amounts),
        Factor::Partitions => partitions::plans(amounts),
        Factor::Ring => ring::plans(amounts),
        Factor::Cache => cache::plans(amounts),
    }
}

/// The program to start, if one of the factors needs it: looked for before anything is measured in vain.
fn broker_program(options: &GainsOptions, factors: &[Factor]) -> Result<PathBuf, String> {
    let beside = || std::env::current_exe().map(|own| own.with_file_name("ringmill"));
    let program = match &options.ringmill {
        Some(program) => program.clone(),
        None => {
            beside().map_err(|error| format!("this program's own place is unknown: {error}; use --ringmill PATH"))?
        }
    };
    match factors.iter().find(|factor| factor.needs_broker()) {
        Some(factor) if !program.is_file() => Err(format!(
            "`{}` starts brokers, and {} is none: build it, say where it is with --ringmill PATH, or name only factors that need none",
            factor.name(),
            program.display()
        )),
        Some(_) | None => Ok(program),
    }
}

/// Measures a row once more, and says how it went. A reason that a row fails for is kept once, however often it does.
fn measure(stage: &Stage, one: &mut Measured, place: usize, progress: &str, warnings: &mut Vec<String>) {
    let (title, row, rounds) = (one.plan.title, &one.plan.rows[place], &mut one.rows[place]);
    match (row.measure)(stage) {
        Ok(run) => {
            eprintln!("{progress} {title}: {}: {}", row.name, lead_of(&run, one.plan.lead));
            rounds.push(Some(run));
        }
        Err(error) => {
            eprintln!("{progress} {title}: {}: {error}", row.name);
            let warning = format!("`{title}: {}` could not be measured: {error}", row.name);
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
            rounds.push(None);
        }
    }
}

fn lead_of(run: &Run, lead: &str) -> String {
    run.iter().find(|metric| metric.key == lead).map_or_else(String::new, |metric| metric.show())
}

fn group(Measured { plan, rows }: Measured) -> Group {
    let names: Vec<&str> = plan.rows.iter().map(|row| row.name.as_str()).collect();
    let cases = ratios::cases(&names, &rows, plan.lead, plan.shown);
    let Plan { factor, title, compared, why, lead, .. } = plan;
    Group { factor: factor.name(), title, compared, why, lead, cases }
}

fn conditions(options: &GainsOptions, stage: &Stage, factors: &[Factor]) -> Vec<(&'static str, String)> {
    let mut conditions = machine::conditions();
    conditions.push(("directory", options.dir.display().to_string()));
    conditions.push(("file_system", machine::file_system(&options.dir)));
    if factors.iter().any(|factor| factor.needs_broker()) {
        let started = "started for each row on an empty directory, with cubic on its sockets, all else by default";
        conditions.push(("broker", format!("{}, {started}", stage.ringmill.display())));
    }
    let Amounts { bytes, time_max, .. } = stage.amounts;
    conditions.push(("bytes_of_a_run", format!("{bytes}, or what goes in {} s", time_max.as_secs_f64())));
    conditions.push(("runs", options.runs.to_string()));
    conditions
}

/// What keeps the figures from meaning much.
fn cautions(options: &GainsOptions) -> Vec<String> {
    let mut cautions = Vec::new();
    if options.quick {
        cautions
            .push("--quick moves too little for a figure to mean anything: it shows that everything works".to_owned());
    }
    if cfg!(debug_assertions) {
        cautions.push("this is a debug build: build with --release to measure".to_owned());
    }
    if options.runs < RUNS_WANTED {
        cautions.push(format!("a median of {} says little: --runs {RUNS_WANTED} or more", options.runs));
    }
    cautions
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::plan::Row;
    use super::*;
    use crate::report::rate;

    #[test]
    fn every_group_says_what_is_compared_and_why_and_fits_the_picture() {
        for plan in Factor::value_variants().iter().flat_map(|factor| plans(*factor, &Amounts::FULL)) {
            let title = plan.title;
            assert!(plan.rows.len() >= 2 && plan.compared.ends_with('.') && plan.why.ends_with('.'), "{title}");
            assert!(plan.shown.contains(&plan.lead), "{title}");
            assert!(plan.compared.len() < 264, "more than two lines in the picture: {}", plan.compared);
            assert!(plan.rows.iter().all(|row| row.name.len() <= 34), "{title}: a name is longer than its place");
            assert!(!plan.why.contains("  ") && !plan.compared.contains("  "), "{title}");
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

    #[test]
    fn a_row_that_fails_is_named_once_and_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let stage = Stage::open(dir.path(), PathBuf::new(), Amounts::QUICK).unwrap();
        let fails = Row::new("fails", |_| Err("no such thing".to_owned()));
        let works = Row::new("works", |_| Ok(vec![rate(10, std::time::Duration::from_secs(1))]));
        let mut plan = plans(Factor::Sendfile, &Amounts::QUICK).remove(0);
        plan.rows = vec![works, fails];
        let mut one = Measured { plan, rows: vec![Rounds::new(), Rounds::new()] };
        let mut warnings = Vec::new();
        for _ in 0..3 {
            (0..2).for_each(|place| measure(&stage, &mut one, place, "1/6", &mut warnings));
        }
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("fails") && warnings[0].contains("no such thing"), "{warnings:?}");
        let group = group(one);
        assert_eq!(group.cases.len(), 1);
        assert_eq!(group.cases[0].runs.len(), 3);
    }
}
