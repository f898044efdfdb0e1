//! The simulation: whole lives of a broker with crashes between them, from a seed; nothing acknowledged or seen may ever change.
//!
//! `RINGMILL_SIM_SEEDS=1000` runs the seeds 0 to 999, `RINGMILL_SIM_SEEDS=42..43` one of them. The same seed gives the same trace.

#![expect(clippy::unwrap_used, reason = "all of it is a test: a panic is its failure")]

mod simulated;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use ringmill_engine::disk::sim::Fault;
use ringmill_engine::disk::{SimOptions, Simulation};
use ringmill_net::wire::ErrorCode;
use simulated::history::{History, Made, Place, Random, decode};
use simulated::workload::{PLACES, Producer, consume};
use simulated::{Machine, Running};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::sleep;

/// What `cargo test` runs.
const SEEDS_DEFAULT: Range<u64> = 0..8;

/// Lives of the broker in one run, before the last in which everything is read.
const LIVES: u64 = 5;

const LIFE_MS_MAX: u64 = 600;

/// What a run came to.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// Of the disk's events and of all that clients saw.
    trace: (u64, u64),
    counts: BTreeMap<&'static str, u64>,
}

thread_local! {
    /// Panics on this thread: those of tasks would pass unseen.
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

fn seeds() -> Range<u64> {
    let Ok(asked) = std::env::var("RINGMILL_SIM_SEEDS") else { return SEEDS_DEFAULT };
    let number = |text: &str| text.parse::<u64>().expect("RINGMILL_SIM_SEEDS is a number or a range like 5..9");
    match asked.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None => 0..number(&asked),
    }
}

fn run(seed: u64) -> Outcome {
    let before = PANICS.get();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let outcome = runtime.block_on(live(seed));
    assert_eq!(PANICS.get(), before, "a task of the broker panicked");
    outcome
}

async fn live(seed: u64) -> Outcome {
    let simulation = Simulation::new(seed, SimOptions { keep_log: true, ..SimOptions::default() });
    let history = Rc::new(History::new());
    let machine = set_up(seed, &simulation).await;
    let producers = Producer::all();
    for _ in 0..LIVES {
        one_life(&machine, &producers, &history).await;
    }
    simulation.set_options(SimOptions { keep_log: true, ..SimOptions::default() });
    let logs = LocalSet::new().run_until(read_everything(&machine)).await;
    history.check(&PLACES, &logs, Producer::is_idempotent);
    let counts = history.counts.borrow().clone();
    Outcome { trace: (simulation.trace_hash(), history.trace_hash()), counts }
}

/// A broker with topics and nothing in them, stopped cleanly.
async fn set_up(seed: u64, simulation: &Simulation) -> Machine {
    let local = LocalSet::new();
    let made = local.run_until(async {
        let machine = Machine::new(seed, simulation.clone()).await;
        let running = machine.boot().await;
        let client = running.connect(seed);
        for topic in ["first", "second"] {
            assert_eq!(client.create_topic(topic, 2).await.unwrap(), ErrorCode::None);
        }
        drop(client);
        assert!(running.stop().await, "nothing has gone wrong yet");
        machine
    });
    made.await
}

/// Boots, works, and ends in one of three ways, at any moment: the boot and the stop are not spared.
async fn one_life(machine: &Machine, producers: &[Rc<Producer>], history: &Rc<History>) {
    let random = &machine.random;
    let rates = if random.below(2) == 0 { SimOptions::busy() } else { SimOptions::default() };
    machine.simulation.set_options(SimOptions { keep_log: true, ..rates });
    let life = Duration::from_millis(1 + random.below(LIFE_MS_MAX));
    let stops = random.below(4) == 0;
    let local = LocalSet::new();
    let lived = local.run_until(async {
        let working = work(machine, producers, history, stops.then_some(life));
        tokio::select! {
            biased;
            () = working => history.count("stopped"),
            () = sleep(life), if !stops => {}
        }
    });
    lived.await;
    // Before the tasks are dropped: a dead process does not tidy up.
    match random.below(2) {
        _ if stops => machine.simulation.crash_process(),
        0 => {
            machine.simulation.crash_process();
            history.count("killed");
        }
        _ => {
            machine.simulation.crash_power();
            history.count("power cut");
        }
    }
    drop(local);
}

/// Serves the workload; for ever, or until it has stopped in order.
async fn work(machine: &Machine, producers: &[Rc<Producer>], history: &Rc<History>, stop_after: Option<Duration>) {
    let running = Rc::new(machine.boot().await);
    history.count("booted");
    let random = || Random::new(machine.random.next());
    let mut clients = JoinSet::new();
    for producer in producers {
        clients.spawn_local(Rc::clone(producer).run(Rc::clone(&running), random(), Rc::clone(history)));
    }
    for place in PLACES {
        clients.spawn_local(consume(place, Rc::clone(&running), random(), Rc::clone(history)));
    }
    if machine.random.below(3) == 0 {
        // One partition is sealed, for the rest of this life or until there is space again.
        const FAULTS: [(Fault, &str); 6] = [
            (Fault::SyncFails, "sync failed"),
            (Fault::SyncFindsNoSpace, "sync found no space"),
            (Fault::WriteFails, "write failed"),
            (Fault::WriteFindsNoSpace, "write found no space"),
            (Fault::WriteStops { after_bytes: 100 }, "write stopped short"),
            (Fault::AllocateFindsNoSpace, "allocation found no space"),
        ];
        let (fault, what) = FAULTS[usize::try_from(machine.random.below(6)).unwrap()];
        machine.simulation.inject(Path::new("/data/first-0/00000000000000000000.log"), fault);
        history.count(what);
    }
    let failed = async {
        match clients.join_next().await {
            Some(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
            ended => unreachable!("clients work for ever: {ended:?}"),
        }
    };
    let stopped = async {
        match stop_after {
            Some(life) => {
                sleep(life).await;
                if running.stop().await {
                    history.count("stopped cleanly");
                }
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = failed => {}
        () = stopped => {}
    }
}

/// Boots a last time and reads every partition from its start.
async fn read_everything(machine: &Machine) -> BTreeMap<Place, Vec<Made>> {
    let running: Running = machine.boot().await;
    let client = running.connect(0);
    let mut logs = BTreeMap::new();
    for place in PLACES {
        let mut log = Vec::new();
        loop {
            let offset = i64::try_from(log.len()).unwrap();
            let fetched = client.fetch(place.0, place.1, offset, 0).await.unwrap();
            assert_eq!(fetched.error, ErrorCode::None, "{place:?} at {offset}");
            let before = log.len();
            for (found, made) in decode(&fetched.records) {
                if found >= offset {
                    assert_eq!(found, i64::try_from(log.len()).unwrap(), "{place:?}: the offsets have a gap");
                    log.push(made);
                }
            }
            if log.len() == before {
                break;
            }
        }
        logs.insert(place, log);
    }
    drop(client);
    assert!(running.stop().await, "the last stop is clean");
    logs
}

#[test]
fn nothing_acknowledged_or_seen_is_lost_or_changed_by_any_crash() {
    count_panics();
    let mut totals: BTreeMap<&'static str, u64> = BTreeMap::new();
    let seeds = seeds();
    for seed in seeds.clone() {
        let outcome = std::panic::catch_unwind(|| run(seed));
        let outcome =
            outcome.unwrap_or_else(|_| panic!("seed {seed} fails; try RINGMILL_SIM_SEEDS={seed}..{}", seed + 1));
        for (what, count) in outcome.counts {
            *totals.entry(what).or_default() += count;
        }
    }
    eprintln!("seeds {seeds:?}: {totals:?}");
    if seeds.contains(&(SEEDS_DEFAULT.end - 1)) {
        for state in ["acknowledged", "consumed", "killed", "power cut", "stopped cleanly", "failed"] {
            assert!(totals.contains_key(state), "no run reached the state {state:?}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    count_panics();
    for seed in [3, 4] {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
    assert_ne!(run(3).trace, run(4).trace);
}

#[test]
fn a_produce_that_is_not_durable_in_time_is_told_so_and_keeps_its_memory_until_it_is() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let machine = set_up(1, &Simulation::new(1, SimOptions::default())).await;
        let stall = async {
            let running = machine.boot().await;
            let client = running.connect(1);
            machine.stalled.set(true);
            client.send_produce("first", 0, batch_of_one()).await.unwrap();
            assert_eq!(client.receive_produced().await.unwrap(), Err(ErrorCode::RequestTimedOut));
            assert!(running.budget.reserved_bytes() > 0, "the batch is still held");
            machine.stalled.set(false);
            client.send_produce("first", 0, batch_of_one()).await.unwrap();
            // The first was only late.
            assert_eq!(client.receive_produced().await.unwrap(), Ok(1));
            assert_eq!(running.budget.reserved_bytes(), 0);
        };
        LocalSet::new().run_until(stall).await;
    });
}

fn batch_of_one() -> bytes::Bytes {
    let mut builder = ringmill_batch::BatchBuilder::new(ringmill_batch::Codec::None, None);
    builder.push(1_800_000_000_000, None, Some(b"9:9"), &[]);
    builder.finish().freeze()
}

fn count_panics() {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            usual(info);
        }));
    });
}
