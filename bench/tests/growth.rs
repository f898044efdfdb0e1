//! `growth` from the command line to its report, picture and page, through a real broker where one is built.
//!
//! Whether the figures are right is no test's business; that all of them are there, and nothing is left behind, is.

#![expect(clippy::unwrap_used, reason = "a test's own machinery may panic")]

mod trials;

use std::process::Output;

use serde_json::Value;
use trials::{groups, quickly, ringmill, rows, said};

fn growth(arguments: &[&str]) -> Output {
    quickly("growth", arguments)
}

fn median(case: &Value, key: &str) -> f64 {
    case["metrics"][key]["median"].as_f64().unwrap_or_else(|| panic!("no {key} in {case}"))
}

fn cases(group: &Value) -> &[Value] {
    group["cases"].as_array().unwrap()
}

#[test]
fn a_backlog_is_appended_to_and_read_at_both_ends() {
    let Some(program) = ringmill() else { return };
    let output = growth(&["backlog", "--json", "-", "--ringmill", program.to_str().unwrap()]);
    let groups = groups(&output);
    assert_eq!(groups.len(), 1, "{}", said(&output));
    assert_eq!(
        rows(&groups[0]),
        ["no backlog", "1 MB of backlog", "10 MB of backlog", "50 MB of backlog"],
        "{}",
        said(&output)
    );
    for case in cases(&groups[0]) {
        for key in ["newest_bytes_per_s", "newest_p99_us", "oldest_cold_bytes_per_s", "memory_at_end_bytes"] {
            assert!(median(case, key) > 0.0, "{key}: {case}");
        }
    }
    assert!(said(&output).contains("4/4 "), "progress: {}", said(&output));
}

#[test]
fn busy_and_idle_connections_are_measured_with_the_brokers_memory() {
    let Some(program) = ringmill() else { return };
    let out = tempfile::tempdir().unwrap();
    let files = ["json", "svg", "html"].map(|kind| out.path().join(format!("growth.{kind}")));
    let [json, svg, html] = files.each_ref().map(|file| file.to_str().unwrap());
    let options = ["--ringmill", program.to_str().unwrap(), "--json", json, "--svg", svg, "--html", html];
    let output = growth(&[&["connections"], &options[..]].concat());
    assert!(output.status.success(), "{}", said(&output));
    let report: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    let groups = report["groups"].as_array().unwrap();
    let sizes: Vec<usize> = groups.iter().map(|group| cases(group).len()).collect();
    assert_eq!(sizes, [3, 3, 4], "{}", said(&output));
    for case in groups.iter().flat_map(cases) {
        assert!(median(case, "memory_at_end_bytes") > 0.0 && median(case, "rate_bytes_per_s") > 0.0, "{case}");
    }
    // Not the broker's CPU: it counts in steps of 10 ms, and so little may take none.
    let idle = cases(&groups[2]);
    assert_eq!(idle[3]["name"], "1,000 idle connections", "the largest is not for a quick run");
    let (picture, page) = (std::fs::read_to_string(svg).unwrap(), std::fs::read_to_string(html).unwrap());
    assert!(picture.contains("What growing costs") && picture.contains("1,000 idle connections"), "{picture}");
    assert!(page.contains(picture.trim_end()) && page.contains("memory at end"), "{page}");
}

#[test]
fn brokers_are_needed_and_asked_for_before_anything_is_measured() {
    let output = growth(&["records", "producers", "--ringmill", "/nonexistent/ringmill"]);
    let said = said(&output);
    assert!(!output.status.success() && said.contains("`producers` starts brokers"), "{said}");
    assert!(said.contains("--ringmill PATH") && !said.contains("1/"), "{said}");
}

#[test]
fn what_can_grow_is_listed_without_measuring() {
    let output = growth(&["--list"]);
    let list = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success() && list.starts_with("partitions\n"), "{list}");
    for factor in ["connections", "producers", "backlog", "records"] {
        assert!(list.lines().any(|line| line == factor), "{list}");
    }
    assert!(said(&output).is_empty(), "{}", said(&output));
}
