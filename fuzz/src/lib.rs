//! Fuzzing: a driver for everything that reads bytes from outside, called by libFuzzer and by seeded ordinary tests.
//!
//! A driver takes any bytes, must not panic whatever they are, and asserts what must hold among the things that it gets out of
//! them. The libFuzzer targets (`fuzz_targets/`, behind the feature `libfuzzer`) and the tests are a few lines each; the list
//! of all drivers is [`TARGETS`]. `scripts/fuzz` runs the targets.

pub mod allocation;
pub mod batch;
pub mod broker;
pub mod client;
pub mod command_line;
pub mod compaction;
pub mod config;
pub mod disk;
pub mod engine;
pub mod groups;
mod lives;
pub mod log;
pub mod metadata;
pub mod producers;
pub mod recovery;
pub mod scratch;
pub mod script;
pub mod seeded;
pub mod sessions;
pub mod wire;

/// A driver under its name: that of its libFuzzer target and of its folder in `corpus/`.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// As said.
    pub name: &'static str,
    /// Panics when something that must hold does not.
    pub driver: fn(&[u8]),
}

/// Every driver.
pub const TARGETS: &[Target] = &[
    Target { name: "broker_requests", driver: broker::requests },
    Target { name: "batch_check", driver: batch::check },
    Target { name: "batch_records", driver: batch::records },
    Target { name: "batch_decompress", driver: batch::decompressed },
    Target { name: "wire_frames", driver: wire::frames },
    Target { name: "wire_requests", driver: wire::requests },
    Target { name: "wire_responses", driver: wire::responses },
    Target { name: "client_answers", driver: client::answers },
    Target { name: "config_file", driver: config::file },
    Target { name: "config_alterations", driver: config::alterations },
    Target { name: "cli_record", driver: command_line::record },
    Target { name: "cli_place", driver: command_line::place },
    Target { name: "metadata_rows", driver: metadata::rows },
    Target { name: "metadata_database", driver: metadata::database },
    Target { name: "fetch_sessions", driver: sessions::sessions },
    Target { name: "groups_loaded", driver: groups::loaded },
    Target { name: "engine_disk", driver: disk::disk },
    Target { name: "engine_compaction", driver: compaction::compaction },
    Target { name: "engine_log", driver: log::log },
    Target { name: "engine_producers", driver: engine::producers },
    Target { name: "engine_producers_model", driver: producers::producers },
    Target { name: "engine_small_files", driver: engine::small_files },
    Target { name: "engine_recovery", driver: recovery::recovery },
    Target { name: "engine_verify", driver: engine::verified },
];
