//! Rows set side by side: groups that differ in one thing, measured in turn, round by round, with every ratio taken within a round.
//!
//! Disk and sockets are measured directly; everything else goes through brokers that the command starts itself, with loads that could be
//! typed one by one. What is compared, and why it comes out so, is for [`gains`](crate::gains) and [`growth`](crate::growth) to say.

mod amounts;
mod broker;
mod options;
mod pages;
pub(crate) mod partitions;
mod plan;
mod ratios;
mod room;
mod stage;

use crate::compare::in_turn;
use crate::group::{Group, wrapped};
use crate::machine;
use crate::report::{Report, Run};

pub(crate) use amounts::Amounts;
pub(crate) use broker::{Broker, MEMORY_AT_END};
pub(crate) use options::TrialOptions;
pub(crate) use pages::drop_pages;
pub(crate) use plan::{OF_A_LOAD, Plan, RATE, Row};
use ratios::Rounds;
pub(crate) use stage::Stage;

/// What a command wants measured.
pub(crate) struct Trials<'a> {
    pub(crate) command: &'static str,
    pub(crate) options: &'a TrialOptions,
    pub(crate) plans: Vec<Plan>,
    /// A factor among them that goes through a broker, if one does.
    pub(crate) through_broker: Option<&'static str>,
    /// The metric that sets a row beside the first of its group.
    pub(crate) ratio: &'static str,
}

/// A plan and what its rows have measured so far.
struct Measured {
    plan: Plan,
    rows: Vec<Rounds>,
}

/// Measures every row as often as was asked for.
///
/// # Errors
/// When there is no broker to start although one is needed, no directory to measure in, or nothing could be measured. A row that this
/// machine refuses only leaves a warning.
pub(crate) fn run(trials: Trials<'_>) -> Result<Report, String> {
    let Trials { command, options, plans, through_broker, ratio } = trials;
    let ringmill = options.broker_program(through_broker)?;
    let stage = Stage::open(&options.dir, ringmill, options.amounts())?;
    let room_bytes = room::bytes_below(&options.dir)?;
    let mut warnings = Vec::new();
    let mut measured: Vec<Measured> =
        plans.into_iter().map(|plan| Measured::new(leave_out(plan, room_bytes, &mut warnings))).collect();
    let steps = options.runs as usize * measured.iter().map(|one| one.rows.len()).sum::<usize>();
    let mut step = 0;
    // Round by round and not group by group, so that a slow minute of the machine falls on all of them.
    for round in 0..options.runs {
        for one in &mut measured {
            for place in in_turn(one.rows.len(), round) {
                step += 1;
                one.measure(&stage, place, &format!("{step}/{steps}"), &mut warnings);
            }
        }
    }
    let groups: Vec<Group> =
        measured.into_iter().map(|one| one.into_group(ratio)).filter(|group| !group.cases.is_empty()).collect();
    if groups.is_empty() {
        return Err(warnings.join("; "));
    }
    let conditions = conditions(options, &stage, through_broker.is_some());
    warnings.extend(options.cautions());
    Ok(Report { command, conditions, cases: Vec::new(), groups, warnings, profiles: Vec::new() })
}

/// Every factor's groups, what each compares and between what.
pub(crate) fn list(factors: impl IntoIterator<Item = (&'static str, Vec<Plan>)>) -> String {
    const LINE_LETTERS_MAX: usize = 76;
    let mut text = String::new();
    for (factor, plans) in factors {
        text.push_str(&format!("{factor}\n"));
        for plan in plans {
            let rows: Vec<&str> = plan.rows.iter().map(|row| row.name.as_str()).collect();
            let paragraph = format!("{}. {} Rows: {}.", plan.title, plan.compared, rows.join("; "));
            text.extend(wrapped(&paragraph, LINE_LETTERS_MAX).iter().map(|line| format!("  {line}\n")));
        }
    }
    text
}

/// The plan without the rows that the disk has no room for.
fn leave_out(mut plan: Plan, room_bytes: u64, warnings: &mut Vec<String>) -> Plan {
    let title = plan.title;
    plan.rows.retain(|row| {
        let fits = row.disk_bytes <= room_bytes;
        if !fits {
            let (needed, found) = (room::show(row.disk_bytes), room::show(room_bytes));
            warnings.push(format!(
                "`{title}: {}` is left out: it needs {needed} of disk, and a broker may fill {found} here: --dir on a larger disk",
                row.name
            ));
        }
        fits
    });
    plan
}

impl Measured {
    fn new(plan: Plan) -> Measured {
        Measured { rows: plan.rows.iter().map(|_| Rounds::new()).collect(), plan }
    }

    /// Measures a row once more, and says how it went. A reason that a row fails for is kept once, however often it does.
    fn measure(&mut self, stage: &Stage, place: usize, progress: &str, warnings: &mut Vec<String>) {
        let (title, row, rounds) = (self.plan.title, &self.plan.rows[place], &mut self.rows[place]);
        match (row.measure)(stage) {
            Ok(run) => {
                eprintln!("{progress} {title}: {}: {}", row.name, lead_of(&run, self.plan.lead));
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

    fn into_group(self, ratio: &'static str) -> Group {
        let Measured { plan: Plan { factor, title, compared, why, lead, shown, rows }, rows: measured } = self;
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        let cases = ratios::cases(&names, &measured, &ratios::Shown { lead, ratio, metrics: shown });
        Group { factor, title, compared, why, lead, ratio, cases }
    }
}

fn lead_of(run: &Run, lead: &str) -> String {
    run.iter().find(|metric| metric.key == lead).map_or_else(String::new, |metric| metric.show())
}

fn conditions(options: &TrialOptions, stage: &Stage, through_broker: bool) -> Vec<(&'static str, String)> {
    let mut conditions = machine::conditions();
    conditions.push(("directory", options.dir.display().to_string()));
    conditions.push(("file_system", machine::file_system(&options.dir)));
    if through_broker {
        let started = "started for each row on an empty directory, with cubic on its sockets, all else by default";
        conditions.push(("broker", format!("{}, {started}", stage.ringmill.display())));
    }
    let Amounts { bytes, time_max } = stage.amounts;
    conditions.push(("bytes_of_a_run", format!("{bytes}, or what goes in {} s", time_max.as_secs_f64())));
    conditions.push(("runs", options.runs.to_string()));
    conditions
}

/// What every plan keeps to, so that its table, its picture and its explanation can be read.
#[cfg(test)]
pub(crate) fn check_plan(plan: &Plan) {
    let title = plan.title;
    assert!(plan.rows.len() >= 2 && plan.compared.ends_with('.') && plan.why.ends_with('.'), "{title}");
    assert!(plan.shown.contains(&plan.lead), "{title}");
    assert!(plan.compared.len() < 264, "more than two lines in the picture: {}", plan.compared);
    assert!(plan.rows.iter().all(|row| row.name.len() <= 34), "{title}: a name is longer than its place");
    assert!(!plan.why.contains("  ") && !plan.compared.contains("  "), "{title}");
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::report::rate;

    fn plan() -> Plan {
        Plan {
            factor: "factor",
            title: "Title",
            compared: String::new(),
            why: "",
            lead: RATE,
            shown: &[RATE],
            rows: Vec::new(),
        }
    }

    #[test]
    fn a_row_without_room_is_left_out_with_what_it_needs() {
        let row = |name: &str, bytes| Row::new(name, |_| Ok(Run::new())).needing(bytes);
        let plan = Plan { rows: vec![row("small", 10), row("large", 50_000_000_000)], ..plan() };
        let mut warnings = Vec::new();
        let plan = leave_out(plan, 33_000_000_000, &mut warnings);
        assert_eq!(plan.rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["small"]);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        for part in ["`Title: large` is left out", "50.0 GB", "33.0 GB", "--dir"] {
            assert!(warnings[0].contains(part), "{warnings:?}");
        }
    }

    #[test]
    fn a_row_that_fails_is_named_once_and_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let stage = Stage::open(dir.path(), PathBuf::new(), Amounts::QUICK).unwrap();
        let fails = Row::new("fails", |_| Err("no such thing".to_owned()));
        let works = Row::new("works", |_| Ok(vec![rate(10, Duration::from_secs(1))]));
        let mut one = Measured::new(Plan { rows: vec![works, fails], ..plan() });
        let mut warnings = Vec::new();
        for _ in 0..3 {
            (0..2).for_each(|place| one.measure(&stage, place, "1/6", &mut warnings));
        }
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("fails") && warnings[0].contains("no such thing"), "{warnings:?}");
        let group = one.into_group("times_ratio");
        assert_eq!((group.cases.len(), group.cases[0].runs.len()), (1, 3));
        assert_eq!(group.cases[0].median("times_ratio"), Some(1.0));
    }
}
