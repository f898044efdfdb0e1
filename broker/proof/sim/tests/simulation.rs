//! The simulation as a test: a few seeds of everything, and the same seed twice. `scripts/sim` runs as many as one likes.

use bytes::Bytes;
use ringmill_batch::{BatchBuilder, Codec};
use ringmill_engine::disk::{SimOptions, Simulation};
use ringmill_net::wire::ErrorCode;
use ringmill_sim::client::TopicRef;
use ringmill_sim::run::{Asked, run, watch_panics};
use ringmill_sim::{Machine, Theme};
use tokio::task::LocalSet;

/// What `cargo test` runs.
const SEEDS: u64 = 12;
const GROUP_SEEDS: u64 = 16;

const TOPIC: TopicRef<'_> = TopicRef::Name("first");

#[test]
fn nothing_acknowledged_or_seen_is_lost_or_changed_by_any_crash() {
    count_panics();
    for seed in 0..SEEDS {
        let outcome = std::panic::catch_unwind(|| run(Asked { seed, ..Asked::default() }));
        assert!(outcome.is_ok(), "seed {seed} fails; try scripts/sim --seeds {seed}..{}", seed + 1);
    }
}

/// Their rules take several members and lives to be broken, so they get seeds of their own.
#[test]
fn members_of_groups_are_told_the_truth_and_no_commit_is_lost() {
    count_panics();
    for seed in 0..GROUP_SEEDS {
        let outcome = std::panic::catch_unwind(|| run(Asked { seed, only: Some(Theme::Groups), keeps_log: false }));
        assert!(outcome.is_ok(), "seed {seed} fails; try scripts/sim --workload groups --seeds {seed}..{}", seed + 1);
    }
}

/// Every theme, so that none brings in something that depends on more than the seed.
#[test]
fn the_same_seed_gives_the_same_run() {
    count_panics();
    for (seed, theme) in (0..).zip(Theme::ALL) {
        let asked = Asked { seed, only: Some(theme), keeps_log: false };
        assert_eq!(run(asked), run(asked), "seed {seed} of {theme}");
    }
    assert_ne!(run(Asked { seed: 3, ..Asked::default() }).trace, run(Asked { seed: 4, ..Asked::default() }).trace);
}

#[test]
fn a_produce_that_is_not_durable_in_time_is_told_so_and_keeps_its_memory_until_it_is() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let stall = async {
        let machine = Machine::new(1, Simulation::new(1, SimOptions::default())).await;
        let running = machine.boot().await.unwrap();
        let client = running.connect(1);
        client.create_topic("first", 1, &[]).await.unwrap().unwrap();
        machine.stalled.set(true);
        client.send_produce(TOPIC, 0, batch_of_one()).await.unwrap();
        assert_eq!(client.receive_produced(TOPIC).await.unwrap(), Err(ErrorCode::RequestTimedOut));
        assert!(running.budget.reserved_bytes() > 0, "the batch is still held");
        machine.stalled.set(false);
        client.send_produce(TOPIC, 0, batch_of_one()).await.unwrap();
        // The first was only late.
        assert_eq!(client.receive_produced(TOPIC).await.unwrap(), Ok(1));
        assert_eq!(running.budget.reserved_bytes(), 0);
    };
    runtime.block_on(LocalSet::new().run_until(stall));
}

fn batch_of_one() -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None, None);
    builder.push(1_800_000_000_000, None, Some(b"9:9"), &[]);
    builder.finish().freeze()
}

fn count_panics() {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| watch_panics(|info| eprintln!("{info}")));
}
