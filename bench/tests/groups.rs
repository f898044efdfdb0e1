//! `groups` from the command line to its report, through a real broker where one is built.
//!
//! Whether the figures are right is no test's business; that all of them are there, and groups are gone afterwards, is.

#![expect(clippy::unwrap_used, reason = "a test's own machinery may panic")]

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// As little as still goes through every step.
const SMALL: [&str; 14] = [
    "--groups",
    "4",
    "--members",
    "3",
    "--joining",
    "6",
    "--connections",
    "2",
    "--offsets",
    "10",
    "--rebalance-members",
    "4",
    "--rounds",
    "1",
];

/// A broker on a directory and a port of its own, ended with the test.
struct Broker {
    process: Child,
    address: String,
    _directory: TempDir,
}

impl Broker {
    /// Starts the program beside the load generator's. Building it is not this crate's business, so it may be missing.
    fn start(initial_delay_ms: u32) -> Option<Broker> {
        let program = Path::new(env!("CARGO_BIN_EXE_ringmill-bench")).with_file_name("ringmill");
        if !program.is_file() {
            eprintln!("SKIPPED: there is no {}; `cargo build -p ringmill` makes it", program.display());
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--data-dir"]);
        command.arg(directory.path().join("data"));
        command.args(["--set", &format!("broker.group.initial.rebalance.delay.ms={initial_delay_ms}")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        let mut broker = Broker { process: command.spawn().unwrap(), address: String::new(), _directory: directory };
        let deadline = Instant::now() + Duration::from_secs(60);
        while broker.address.is_empty() {
            let said = fs::read_to_string(&log).unwrap();
            let ended = broker.process.try_wait().unwrap().is_some();
            assert!(!ended && Instant::now() < deadline, "the broker did not start: {said}");
            if let Some(ready) = said.lines().find(|line| line.contains("\"ready\"")) {
                let address = ready.split_once("\"address\":\"").unwrap().1;
                broker.address = address.split('"').next().unwrap().to_owned();
            }
            thread::sleep(Duration::from_millis(5));
        }
        Some(broker)
    }

    fn groups(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringmill-bench"));
        command.args(["groups", "--broker", &self.address, "--duration", "300ms", "--json"]);
        command.args(["--pid", &self.process.id().to_string()]).args(SMALL).args(arguments);
        command.output().unwrap()
    }

    /// The only table of the report.
    fn table(&self, arguments: &[&str]) -> Value {
        let output = self.groups(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let warnings = report["warnings"].to_string();
        assert!(!warnings.contains("left behind"), "{warnings}");
        assert_eq!(report["groups"].as_array().unwrap().len(), 1, "{report}");
        report["groups"][0].clone()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn names(table: &Value) -> Vec<&str> {
    table["cases"].as_array().unwrap().iter().map(|case| case["name"].as_str().unwrap()).collect()
}

fn median(case: &Value, key: &str) -> f64 {
    case["metrics"][key]["median"].as_f64().unwrap_or_else(|| panic!("no {key} in {case}"))
}

#[test]
fn groups_of_both_protocols_form_live_and_are_gone_afterwards() {
    let Some(broker) = Broker::start(0) else { return };
    let table = broker.table(&["--parts", "members", "--protocol", "classic,consumer", "--heartbeat", "100ms"]);
    assert_eq!(names(&table), ["classic", "consumer"]);
    for case in table["cases"].as_array().unwrap() {
        assert_eq!(median(case, "members_total"), 12.0);
        for key in ["settled_s", "joins_per_s", "heartbeats_per_s", "p50_us", "memory_after_bytes"] {
            assert!(median(case, key) > 0.0, "{key}: {case}");
        }
    }
}

#[test]
fn commits_are_measured_at_both_paces_and_found_stored() {
    let Some(broker) = Broker::start(0) else { return };
    let directory = tempfile::tempdir().unwrap();
    let limit = directory.path().to_str().unwrap();
    let table = broker.table(&["--parts", "commits", "--rate", "1k", "--runs", "2", "--limit", limit]);
    assert_eq!(names(&table), ["1000 offsets/s", "as fast as answered"]);
    for case in table["cases"].as_array().unwrap() {
        for key in ["offsets_per_s", "requests_per_s", "p99.9_us", "append_sync_p50_us", "server_memory_bytes"] {
            assert!(median(case, key) > 0.0, "{key}: {case}");
        }
        let written = case["metrics"]["written_records_total"]["runs"].as_array().unwrap();
        let whole_requests = |records: &Value| records.as_f64().is_some_and(|count| count > 0.0 && count % 10.0 == 0.0);
        assert!(written.iter().all(whole_requests), "a record for each offset: {case}");
        assert_eq!(case["metrics"]["offsets_per_s"]["runs"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn a_rebalance_ends_when_all_have_their_new_assignment() {
    let Some(broker) = Broker::start(200) else { return };
    let table = broker.table(&["--parts", "rebalance", "--protocol", "consumer,classic"]);
    let rows = ["first generation", "a member leaves", "a member joins"];
    let expected: Vec<String> =
        ["classic", "consumer"].iter().flat_map(|protocol| rows.map(|row| format!("{row}, {protocol}"))).collect();
    assert_eq!(names(&table), expected);
    let first = &table["cases"][0];
    assert!(median(first, "to_assigned_s") >= 0.2, "the broker waits for more members: {first}");
    let beyond = median(first, "to_assigned_s") - median(first, "beyond_delay_s");
    assert!((beyond - 0.2).abs() < 1e-6, "the broker says how long it waits: {first}");
    for case in table["cases"].as_array().unwrap() {
        assert!(median(case, "to_assigned_s") > 0.0, "{case}");
    }
}

#[test]
fn who_is_not_there_is_told() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmill-bench"));
    let output = command.args(["groups", "--broker", "127.0.0.1:1"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("cannot connect to 127.0.0.1:1"), "{said}");
}
