//! A comparison from the command line to its report, between sinks: what is loaded, in which rows it stands, what is divided by what.

#![expect(clippy::unwrap_used, reason = "a test's own machinery may panic")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A sink, ended with the test.
struct Sink {
    process: Child,
    address: String,
}

impl Sink {
    fn start() -> Sink {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringmill-bench"));
        let mut process = command.args(["sink", "--listen", "127.0.0.1:0"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stderr.take().unwrap()).read_line(&mut line).unwrap();
        Sink { process, address: line.trim().strip_prefix("address ").unwrap().to_owned() }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether it succeeded, what it printed, and what it said meanwhile.
fn compare(arguments: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmill-bench"));
    let output = command.args(["compare", "--json"]).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn brokers_are_loaded_in_turn_and_the_first_is_divided_by_the_others() {
    let (one, two) = (Sink::start(), Sink::start());
    let first = format!("one={},pid={},durability=none", one.address, one.process.id());
    let second = format!("two={},durability=little", two.address);
    let (succeeded, report, said) = compare(&[
        "--runs=2",
        "--warm-up-runs=1",
        "--bytes=1MB",
        "--loads=produce-1kb,produce-100b,paced",
        "--paced-duration=1s",
        "--rate=10MB",
        "--brokers",
        &first,
        &second,
    ]);
    assert!(succeeded, "{said}");
    let order: Vec<&str> = said.lines().filter_map(|line| line.split(':').next()).collect();
    let unpaced = ["one", "two", "one", "two", "two", "one", "two", "one", "one", "two", "one", "two"];
    assert_eq!(order, [&unpaced[..], &["one", "two", "two", "one"]].concat(), "{said}");

    let report: Value = serde_json::from_str(&report).unwrap();
    let cases = report["cases"].as_array().unwrap();
    let names: Vec<&str> = cases.iter().map(|case| case["name"].as_str().unwrap()).collect();
    assert_eq!(
        names[..3],
        ["produce 1 KB: one, none", "produce 1 KB: two, little", "  one / two, none against little"]
    );
    assert_eq!(names.len(), 9, "{names:?}");
    let runs = |case: usize, key: &str| {
        let runs = cases[case]["metrics"][key]["runs"].as_array().map_or(&[][..], Vec::as_slice);
        runs.iter().map(|value| value.as_f64().unwrap()).collect::<Vec<_>>()
    };
    for load in [0, 3, 6] {
        let (one, two) = (runs(load, "rate_bytes_per_s"), runs(load + 1, "rate_bytes_per_s"));
        let quotients = runs(load + 2, "rate_ratio");
        assert_eq!((one.len(), two.len(), quotients.len()), (2, 2, 2));
        for run in 0..2 {
            assert!((one[run] / two[run] - quotients[run]).abs() < 1e-9, "{report}");
        }
        assert_eq!(runs(load, "server_memory_bytes").len(), 2, "the first broker's process is known");
        assert!(runs(load + 1, "server_memory_bytes").is_empty() && runs(load + 2, "server_memory_ratio").is_empty());
    }
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("one is none and no other broker is"), "{warnings}");
    assert!(warnings.contains("little about spread") && warnings.contains("pid"), "{warnings}");
}

#[test]
fn what_fails_is_named_with_its_broker() {
    let sink = Sink::start();
    let broker = format!("nowhere={},durability=none", sink.address);
    let (succeeded, _, said) = compare(&["--bytes=1MB", "--loads=consume", "--brokers", &broker]);
    assert!(!succeeded && said.contains("nowhere, consume 1 KB: "), "{said}");
    let (succeeded, _, said) = compare(&["--brokers", &broker, &broker]);
    assert!(!succeeded && said.contains("two brokers are named nowhere"), "{said}");
}

#[test]
fn a_paced_load_alone_needs_a_rate() {
    let sink = Sink::start();
    let broker = format!("one={},durability=none", sink.address);
    let paced = ["--loads=paced", "--runs=1", "--paced-duration=1s", "--brokers", &broker];
    let (succeeded, _, said) = compare(&paced);
    assert!(!succeeded && said.contains("--rate"), "{said}");
    let (succeeded, report, said) = compare(&[&["--rate=10MB", "--codec=zstd", "--payload=hdfs"], &paced[..]].concat());
    assert!(said.contains("--codec zstd --payload hdfs") && report.contains("hdfs, codec zstd"), "{said}");
    assert!(succeeded && report.contains("produce 1 KB, paced: one, none"), "{said}");
}
