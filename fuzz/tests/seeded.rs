//! Every driver over its corpus and a few thousand seeded mutations; the libFuzzer targets go on where these stop.

use std::fs;

use ringmill_fuzz::{TARGETS, seeded};

fn run(name: &str, iterations: u64) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("the target is listed");
    seeded::run(target, iterations, 1);
}

#[test]
fn batch_checks_hold_on_any_bytes() {
    run("batch_check", 20_000);
}

#[test]
fn the_record_walk_holds_on_any_bytes() {
    run("batch_records", 20_000);
}

#[test]
fn decompression_holds_on_any_bytes() {
    run("batch_decompress", 5_000);
}

#[test]
fn the_frame_splitter_gives_the_handler_what_was_sent() {
    run("wire_frames", 5_000);
}

#[test]
fn every_request_decoder_holds_on_any_bytes() {
    run("wire_requests", 30_000);
}

#[test]
fn every_response_decoder_holds_on_any_bytes() {
    run("wire_responses", 30_000);
}

#[test]
fn a_log_is_what_its_history_has_made_of_it() {
    run("engine_log", 300);
}

#[test]
fn compaction_leaves_what_the_model_says() {
    run("engine_compaction", 200);
}

#[test]
fn the_client_survives_any_answer() {
    run("client_answers", 500);
}

#[test]
fn real_disks_give_back_what_was_written_whoever_stops_waiting() {
    run("engine_disk", 300);
}

#[test]
fn the_broker_answers_in_order_keeps_what_it_acknowledged_and_serves_on() {
    run("broker_requests", 60);
}

#[test]
fn configuration_files_are_read_or_refused() {
    run("config_file", 500);
}

#[test]
fn settings_are_what_their_alterations_have_made_of_them() {
    run("config_alterations", 500);
}

#[test]
fn records_as_json_come_back() {
    run("cli_record", 10_000);
}

#[test]
fn places_are_read_or_refused() {
    run("cli_place", 20_000);
}

#[test]
fn a_sound_database_with_any_rows_opens_or_is_refused() {
    run("metadata_rows", 200);
}

#[test]
fn a_database_with_flipped_bytes_opens_or_is_refused() {
    run("metadata_database", 200);
}

#[test]
fn fetch_sessions_are_what_their_requests_have_made_of_them() {
    run("fetch_sessions", 5_000);
}

#[test]
fn a_coordinator_loads_any_records_and_a_reload_finds_what_it_wrote() {
    run("groups_loaded", 10_000);
}

#[test]
fn what_is_known_of_producers_follows_the_model() {
    run("engine_producers_model", 5_000);
}

#[test]
fn producer_snapshots_hold_on_any_bytes() {
    run("engine_producers", 20_000);
}

#[test]
fn small_files_hold_on_any_bytes() {
    run("engine_small_files", 5_000);
}

#[test]
fn recovery_serves_or_quarantines_and_loses_nothing() {
    run("engine_recovery", 1_500);
}

#[test]
fn the_offline_checks_change_nothing_and_never_panic() {
    run("engine_verify", 2_000);
}

#[test]
fn every_driver_has_a_target_and_a_corpus() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(directory.join("Cargo.toml")).expect("the manifest can be read");
    for target in TARGETS {
        let source = format!("fuzz_targets/{}.rs", target.name);
        assert!(directory.join(&source).is_file(), "{source} is missing");
        assert!(manifest.contains(&format!("path = \"{source}\"")), "Cargo.toml does not list {source}");
        assert!(seeded::corpus_directory(target.name).is_dir(), "{} has no corpus", target.name);
    }
    let sources = fs::read_dir(directory.join("fuzz_targets")).expect("the targets can be listed").count();
    assert_eq!(sources, TARGETS.len(), "every file in fuzz_targets/ has its driver");
}
