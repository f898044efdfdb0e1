//! What the tests of `gains` and of `growth` share: running a command, and reading its report.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Runs one of the commands quickly, on a directory that has to be empty again afterwards.
pub(crate) fn quickly(subcommand: &str, arguments: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmill-bench"));
    command.args([subcommand, "--quick", "--runs", "1", "--dir"]).arg(dir.path()).args(arguments);
    let output = command.output().unwrap();
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    output
}

/// What it wrote to standard error.
pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The groups of a report that was printed as JSON.
pub(crate) fn groups(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", said(output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report["groups"].as_array().unwrap().clone()
}

/// Rows of a group by name, each with a lead figure and what it is beside the first row's.
pub(crate) fn rows(group: &Value) -> Vec<&str> {
    let (lead, ratio) = (group["lead"].as_str().unwrap(), group["ratio"].as_str().unwrap());
    let cases = group["cases"].as_array().unwrap();
    for case in cases {
        let median =
            |key: &str| case["metrics"][key]["median"].as_f64().unwrap_or_else(|| panic!("no {key} in {case}"));
        assert!(median(lead) > 0.0 && median(ratio) > 0.0, "{case}");
    }
    assert!((cases[0]["metrics"][ratio]["median"].as_f64().unwrap() - 1.0).abs() < 1e-9, "{group}");
    cases.iter().map(|case| case["name"].as_str().unwrap()).collect()
}

/// The broker's program beside the load generator's. Building it is not this crate's business, so it may be missing.
pub(crate) fn ringmill() -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_BIN_EXE_ringmill-bench")).with_file_name("ringmill");
    if program.is_file() {
        return Some(program);
    }
    eprintln!("SKIPPED: there is no {}; `cargo build -p ringmill` makes it", program.display());
    None
}
