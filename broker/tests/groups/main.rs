//! Consumer groups over the wire: every API by requests that a test writes itself, and what must hold across restarts.
//!
//! The state machine's own rules are tested beside it, in `ringmill-groups`; here is what handlers, coordinator and log make of them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics, its helper functions too")]

#[path = "../raw/mod.rs"]
mod raw;

mod classic;
mod consumer;
mod listing;
mod member;
mod offsets;
mod restarts;
mod topic;

use raw::{Raw, config_with};
use ringmill::Broker;
use tempfile::TempDir;

const OK: i16 = 0;

/// A broker with a topic `logs` of four partitions, whose groups do not wait for a second member.
fn broker() -> (Broker, TempDir) {
    broker_with(&[])
}

/// The same with more settings, which win.
fn broker_with(more: &[(&str, &str)]) -> (Broker, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = vec![("broker.group.initial.rebalance.delay.ms", "0")];
    settings.extend_from_slice(more);
    let broker = Broker::start(config_with(dir.path(), "auto", &settings)).unwrap();
    assert_eq!(Raw::connect(broker.address()).create_topic("logs", 4, &[]), OK);
    (broker, dir)
}
