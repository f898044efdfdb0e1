//! What a command measured, over one or several runs, as a table for people or JSON for programs.
//!
//! A case (one line of the table) holds the same metrics once per run; what is shown is the median, and with several runs
//! the lowest and highest beside it. Nothing is measured here.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Map, Value, json};

use crate::group::Group;
use crate::profile::Profile;
use crate::units;

/// How a metric's number is to be read and printed. JSON keys carry the unit in their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Bytes per second.
    BytesPerSecond,
    /// Records per second.
    RecordsPerSecond,
    /// CPU seconds per 10⁹ bytes.
    SecondsPerGb,
    /// Microseconds.
    Micros,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Records.
    Records,
    /// Percent.
    Percent,
    /// How many times as much.
    Ratio,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Unit::BytesPerSecond => units::decimal(value, "B/s"),
            Unit::RecordsPerSecond => units::decimal(value, "/s"),
            Unit::SecondsPerGb => format!("{} s/GB", units::three_digits(value)),
            Unit::Micros => units::micros(value),
            Unit::Seconds => format!("{} s", units::three_digits(value)),
            Unit::Bytes => units::decimal(value, "B"),
            Unit::Records => units::decimal(value, ""),
            Unit::Percent => format!("{} %", units::three_digits(value)),
            Unit::Ratio => format!("{} ×", units::three_digits(value)),
        }
    }
}

/// One number of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    /// The JSON key, its unit last; the table shows it with spaces.
    pub(crate) key: &'static str,
    pub(crate) unit: Unit,
    pub(crate) value: f64,
}

impl Metric {
    /// The number with its unit.
    pub(crate) fn show(&self) -> String {
        self.unit.show(self.value)
    }
}

/// Keys that several commands share.
pub(crate) const SENDER_CPU: &str = "sender_cpu_s_per_gb";
pub(crate) const RECEIVER_CPU: &str = "receiver_cpu_s_per_gb";

/// How fast `bytes` went.
#[expect(clippy::cast_precision_loss, reason = "bytes moved in a run stay far below 2^53")]
pub(crate) fn rate(bytes: u64, elapsed: Duration) -> Metric {
    Metric { key: "rate_bytes_per_s", unit: Unit::BytesPerSecond, value: bytes as f64 / elapsed.as_secs_f64() }
}

/// What `bytes` cost.
#[expect(clippy::cast_precision_loss, reason = "bytes moved in a run stay far below 2^53")]
pub(crate) fn cpu_per_gb(key: &'static str, cpu: Duration, bytes: u64) -> Metric {
    Metric { key, unit: Unit::SecondsPerGb, value: cpu.as_secs_f64() / (bytes as f64 / units::GB) }
}

/// The metrics of one run of one case, in the order of the table's columns.
pub(crate) type Run = Vec<Metric>;

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) runs: Vec<Run>,
}

/// All that a command has to say.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) command: &'static str,
    /// What was asked and on what machine: repeated in the output, so that a figure is never without its conditions.
    pub(crate) conditions: Vec<(&'static str, String)>,
    pub(crate) cases: Vec<Case>,
    /// Cases that explain one thing each, instead of `cases`.
    pub(crate) groups: Vec<Group>,
    /// What the reader should know before believing a figure.
    pub(crate) warnings: Vec<String>,
    /// How each run went, where that was recorded.
    pub(crate) profiles: Vec<Profile>,
}

impl Report {
    /// The conditions, and a table; of groups a table each.
    pub(crate) fn to_table(&self) -> String {
        let tables = if self.groups.is_empty() {
            table(&self.cases).to_string()
        } else {
            self.groups.iter().map(Group::to_text).collect()
        };
        let conditions = self
            .conditions
            .iter()
            .map(|(key, value)| format!("{}: {value}\n", key.replace('_', " ")))
            .collect::<String>();
        let warnings = self.warnings.iter().map(|warning| format!("\nwarning: {warning}")).collect::<String>();
        format!("{conditions}{tables}{warnings}")
    }

    /// One object: conditions, and per case and metric the median, the lowest, the highest and every run's value.
    pub(crate) fn to_json(&self) -> String {
        let conditions: Map<String, Value> =
            self.conditions.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let cases: Vec<Value> = self.cases.iter().map(Case::to_json).collect();
        let runs: Vec<Value> = self.profiles.iter().map(Profile::to_json).collect();
        let mut whole = json!({
            "command": self.command,
            "conditions": conditions,
            "cases": cases,
            "warnings": self.warnings,
            "runs": runs,
        });
        if !self.groups.is_empty() {
            whole["groups"] = self.groups.iter().map(Group::to_json).collect();
        }
        serde_json::to_string_pretty(&whole).expect("a tree of strings and finite numbers is JSON")
    }

    /// The only run of a load that ran once.
    pub(crate) fn into_first_run(self) -> Option<Run> {
        self.cases.into_iter().next()?.runs.into_iter().next()
    }
}

/// A column per metric, or where these would be too many for a terminal a line per metric.
pub(crate) fn table(cases: &[Case]) -> Table {
    /// About as many as fit 120 letters.
    const COLUMNS_MAX: usize = 9;
    let columns = columns(cases);
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    let first = |name: &str| std::iter::once(name.to_owned());
    if columns.len() > COLUMNS_MAX && cases.len() < columns.len() {
        table.set_header(first("").chain(cases.iter().map(|case| case.name.clone())));
        for title in &columns {
            table.add_row(first(title).chain(cases.iter().map(|case| case.cell(title).replace('\n', "   "))));
        }
    } else {
        table.set_header(first("").chain(columns.iter().cloned()));
        for case in cases {
            table.add_row(first(&case.name).chain(columns.iter().map(|title| case.cell(title))));
        }
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Every metric's heading, in the order of first appearance. A figure and its ratio share one.
pub(crate) fn columns(cases: &[Case]) -> Vec<String> {
    let mut titles = Vec::new();
    for metric in cases.iter().flat_map(|case| case.runs.iter().flatten()) {
        let title = heading(metric.key);
        if !titles.contains(&title) {
            titles.push(title);
        }
    }
    titles
}

impl Case {
    /// The middle of what the runs measured, if they measured it.
    pub(crate) fn median(&self, key: &str) -> Option<f64> {
        self.summary(key).map(|summary| summary.median)
    }

    /// What stands below a heading.
    pub(crate) fn cell(&self, title: &str) -> String {
        let metric = self.runs.iter().flatten().find(|metric| heading(metric.key) == title);
        metric.and_then(|metric| self.summary(metric.key)).map_or_else(String::new, |summary| summary.show())
    }

    pub(crate) fn summary(&self, key: &str) -> Option<Summary> {
        let found: Vec<Metric> = self.runs.iter().flatten().filter(|metric| metric.key == key).copied().collect();
        let unit = found.first()?.unit;
        let values: Vec<f64> = found.iter().map(|metric| metric.value).collect();
        Some(Summary { unit, median: median(&values), values })
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut metrics = Map::new();
        for metric in self.runs.iter().flatten() {
            if let Some(summary) = self.summary(metric.key) {
                metrics.insert(metric.key.to_owned(), summary.to_json());
            }
        }
        json!({ "name": self.name, "metrics": metrics })
    }
}

/// One metric over all runs.
pub(crate) struct Summary {
    unit: Unit,
    pub(crate) median: f64,
    values: Vec<f64>,
}

impl Summary {
    /// The median with its unit.
    pub(crate) fn show_median(&self) -> String {
        self.unit.show(self.median)
    }

    pub(crate) fn lowest(&self) -> f64 {
        self.values.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn highest(&self) -> f64 {
        self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    fn show(&self) -> String {
        if self.values.len() == 1 {
            return self.show_median();
        }
        format!("{}\n{} … {}", self.show_median(), self.unit.show(self.lowest()), self.unit.show(self.highest()))
    }

    fn to_json(&self) -> Value {
        json!({ "median": self.median, "lowest": self.lowest(), "highest": self.highest(), "runs": self.values })
    }
}

/// The middle value; of an even number the mean of the two in the middle.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// A column's title: the key without its unit, which every cell shows.
fn heading(key: &str) -> String {
    const UNIT_ENDINGS: [&str; 8] =
        ["_bytes_per_s", "_per_s", "_s_per_gb", "_us", "_bytes", "_s", "_percent", "_ratio"];
    let short = UNIT_ENDINGS.iter().find_map(|ending| key.strip_suffix(ending)).unwrap_or(key);
    short.replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(values: &[f64]) -> Report {
        let run = |value| vec![Metric { key: "rate_bytes_per_s", unit: Unit::BytesPerSecond, value }];
        let case = Case { name: "loopback".to_owned(), runs: values.iter().copied().map(run).collect() };
        Report {
            command: "limits",
            conditions: vec![("cores", "2".to_owned())],
            cases: vec![case],
            groups: Vec::new(),
            warnings: Vec::new(),
            profiles: Vec::new(),
        }
    }

    #[test]
    fn several_runs_show_the_median_and_the_spread() {
        let table = report(&[3e9, 1e9, 2e9]).to_table();
        assert!(table.contains("2.00 GB/s") && table.contains("1.00 GB/s … 3.00 GB/s"), "{table}");
        assert!(table.contains("rate") && table.contains("cores: 2"), "{table}");
    }

    #[test]
    fn more_metrics_than_a_terminal_is_wide_stand_below_each_other() {
        const KEYS: [&str; 10] = ["a_us", "b_us", "c_us", "d_us", "e_us", "f_us", "g_us", "h_us", "i_us", "j_us"];
        let run = || KEYS.map(|key| Metric { key, unit: Unit::Micros, value: 7.0 }).to_vec();
        let case = |name: &str| Case { name: name.to_owned(), runs: vec![run(), run()] };
        let report = Report { cases: vec![case("one"), case("two")], ..report(&[1.0]) };
        let table = report.to_table();
        let line = table.lines().find(|line| line.contains(" j ")).unwrap();
        assert_eq!(line.matches("7.00 µs   7.00 µs … 7.00 µs").count(), 2, "{table}");
        assert!(table.lines().all(|line| line.chars().count() < 80), "{table}");
    }

    #[test]
    fn json_keeps_every_run() {
        let value: Value = serde_json::from_str(&report(&[4.0, 2.0]).to_json()).unwrap();
        let rate = &value["cases"][0]["metrics"]["rate_bytes_per_s"];
        assert_eq!((rate["median"].as_f64(), rate["runs"].as_array().map(Vec::len)), (Some(3.0), Some(2)));
    }
}
