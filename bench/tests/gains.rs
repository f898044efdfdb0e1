//! `gains` from the command line to its report, picture and page: on disk and sockets alone, and through a real broker where one is built.
//!
//! Whether the figures are right is no test's business; that all of them are there, and nothing is left behind, is.

#![expect(clippy::unwrap_used, reason = "a test's own machinery may panic")]

mod trials;

use std::process::Output;

use trials::{groups, quickly, ringmill, rows, said};

fn gains(arguments: &[&str]) -> Output {
    quickly("gains", arguments)
}

#[test]
fn batches_and_durability_are_measured_through_brokers_that_are_gone_afterwards() {
    let Some(program) = ringmill() else { return };
    let output = gains(&["durability", "batches", "--json", "-", "--ringmill", program.to_str().unwrap()]);
    let groups = groups(&output);
    let factors: Vec<&str> = groups.iter().map(|group| group["factor"].as_str().unwrap()).collect();
    assert_eq!(factors, ["batches", "durability"], "in the order of the report: {}", said(&output));
    let batches = rows(&groups[0]);
    assert_eq!((batches.len(), batches[0]), (5, "1 record in a batch"), "{}", said(&output));
    assert_eq!(rows(&groups[1]).len(), 3, "{}", said(&output));
    assert!(said(&output).contains("8/8 "), "progress: {}", said(&output));
}

#[test]
fn disk_and_sockets_need_no_broker_and_the_report_has_a_picture_and_a_page() {
    let out = tempfile::tempdir().unwrap();
    let (svg, page) = (out.path().join("gains.svg"), out.path().join("gains.html"));
    let files = ["--svg", svg.to_str().unwrap(), "--html", page.to_str().unwrap()];
    let output = gains(&[&["sendfile", "--ringmill", "/nonexistent"], &files[..]].concat());
    assert!(output.status.success(), "{}", said(&output));
    let table = String::from_utf8(output.stdout).unwrap();
    for part in
        ["sendfile against a copy", "pread and send", "sender cpu", "copies the bytes", "--quick moves too little"]
    {
        assert!(table.contains(part), "no {part} in {table}");
    }
    let (svg, page) = (std::fs::read_to_string(svg).unwrap(), std::fs::read_to_string(page).unwrap());
    assert!(
        svg.starts_with("<svg xmlns=") && svg.contains("Warning: --quick moves too little") && svg.contains("1.00 ×"),
        "{svg}"
    );
    assert!(
        page.contains(svg.trim_end()) && page.contains("copies the bytes"),
        "the page shows and explains it: {page}"
    );
}

#[test]
fn a_factor_that_needs_a_broker_is_refused_before_anything_is_measured() {
    let output = gains(&["sendfile", "cache", "--ringmill", "/nonexistent/ringmill"]);
    let said = said(&output);
    assert!(!output.status.success() && said.contains("`cache` starts brokers"), "{said}");
    assert!(said.contains("--ringmill PATH") && !said.contains("1/"), "{said}");
}

#[test]
fn what_can_be_compared_is_listed_without_measuring() {
    let output = gains(&["--list"]);
    let list = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success() && list.starts_with("writes\n"), "{list}");
    for factor in ["batches", "durability", "sendfile", "codecs", "partitions", "ring", "cache"] {
        assert!(list.lines().any(|line| line == factor), "{list}");
    }
    assert!(said(&output).is_empty(), "{}", said(&output));
}
