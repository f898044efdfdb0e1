//! Settings under crashes, from a seed: what was answered holds in every later life, and no order of changes lets a recovery take a
//! torn tail for corruption.
//!
//! `RINGMILL_SIM_SEEDS=1000` runs the seeds 0 to 999.

#![expect(clippy::unwrap_used, reason = "all of it is a test: a panic is its failure")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ringmill_batch::{BatchBuilder, Codec};
use ringmill_engine::disk::{SimOptions, Simulation};
use ringmill_net::wire::ErrorCode;
use ringmill_sim::client::{TopicRef, Wanted};
use ringmill_sim::{Client, Machine, Random, Running};
use tokio::task::LocalSet;
use tokio::time::sleep;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const LOGS: TopicRef<'_> = TopicRef::Name("logs");
const LIVES: u64 = 4;

fn seeds() -> u64 {
    std::env::var("RINGMILL_SIM_SEEDS").map_or(12, |text| text.parse().expect("RINGMILL_SIM_SEEDS is a number"))
}

fn run(life: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(life);
}

async fn machine(seed: u64) -> Machine {
    LocalSet::new().run_until(Machine::new(seed, Simulation::new(seed, SimOptions::default()))).await
}

/// One life of a broker, ended by a crash after what `work` does. The crash comes before anything is dropped: a dead process closes
/// nothing.
async fn life(machine: &Machine, power: bool, work: impl AsyncFnOnce(&Running)) {
    let local = LocalSet::new();
    let running = local.run_until(machine.boot()).await.unwrap();
    local.run_until(work(&running)).await;
    match power {
        true => machine.simulation.crash_power(),
        false => machine.simulation.crash_process(),
    }
    drop((local, running));
}

/// Settings that a client has changed: the last answered value of each, and those asked for since without an answer.
#[derive(Default)]
struct Changes {
    answered: BTreeMap<&'static str, String>,
    open: BTreeMap<&'static str, Vec<String>>,
}

/// On the topic and, under the broker's name, on all brokers; no other value has to change with any of these.
const CHANGED: [(&str, (i8, &str), &str, u64); 4] = [
    ("segment.bytes", (TOPIC, "logs"), "segment.bytes", 1 << 20),
    ("retention.bytes", (TOPIC, "logs"), "retention.bytes", 0),
    ("segment.ms", (BROKER, ""), "log.roll.ms", 1),
    ("index.interval.bytes", (BROKER, "1"), "log.index.interval.bytes", 0),
];

#[test]
fn what_was_answered_holds_in_every_later_life() {
    for seed in 0..seeds() {
        run(async {
            let machine = machine(seed).await;
            let changes = RefCell::new(Changes::default());
            life(&machine, false, async |running| {
                running.connect(seed).create_topic("logs", 2, &[]).await.unwrap().unwrap();
            })
            .await;
            for number in 0..LIVES {
                let random = Random::new(machine.random.next());
                life(&machine, random.below(2) == 0, async |running| {
                    check(running, &changes, &format!("seed {seed}, life {number}")).await;
                    let long = Duration::from_millis(1 + random.below(60));
                    tokio::select! {
                        biased;
                        () = change(running, &random, &changes) => {}
                        () = sleep(long) => {}
                    }
                })
                .await;
            }
        });
    }
}

/// What is in effect is what was answered last, or what was asked for after that.
async fn check(running: &Running, changes: &RefCell<Changes>, when: &str) {
    let client = running.connect(1);
    for (name, ..) in CHANGED {
        let found = client.config("logs", name).await.unwrap().unwrap();
        let mut changes = changes.borrow_mut();
        let open = changes.open.remove(name).unwrap_or_default();
        let answered = changes.answered.get(name);
        let expected = answered.is_none() || answered == Some(&found) || open.contains(&found);
        assert!(expected, "{when}: {name} is {found}, answered was {answered:?}, open were {open:?}");
        changes.answered.insert(name, found);
    }
}

async fn change(running: &Running, random: &Random, changes: &RefCell<Changes>) {
    let client = running.connect(2);
    loop {
        let (name, resource, its_name, least) = CHANGED[usize::try_from(random.below(4)).unwrap()];
        let value = (least + random.below(1_000_000)).to_string();
        changes.borrow_mut().open.entry(name).or_default().push(value.clone());
        client.set_config(resource, its_name, &value).await.unwrap().unwrap();
        assert_eq!(client.config("logs", name).await.unwrap().unwrap(), value, "it holds at once");
        let mut changes = changes.borrow_mut();
        changes.open.remove(name);
        changes.answered.insert(name, value);
    }
}

/// The bound on unsynced bytes rises, much is written under it, and it falls again before any checkpoint tells of it: a power cut then
/// leaves a hole larger than both bounds that settings and checkpoint would know, if the change did not write the checkpoint first.
#[test]
fn a_bound_that_falls_again_at_once_does_not_quarantine_the_partition() {
    for seed in 0..seeds() {
        run(async {
            let machine = machine(seed).await;
            life(&machine, true, async |running| {
                let client = running.connect(seed);
                client.create_topic("logs", 1, &[]).await.unwrap().unwrap();
                let set = async |name: &str, value: &str| {
                    assert_eq!(client.set_config((TOPIC, "logs"), name, value).await.unwrap(), Ok(()), "{name}");
                };
                set("segment.bytes", "100000000").await;
                set("max.message.bytes", "500000").await;
                set("flush.ms", "3600000").await;
                set("flush.bytes", "1048576").await;
                set("write.caching", "true").await;
                // The checkpoint of every second has the small bound, as nothing is unsynced.
                sleep(Duration::from_millis(2500)).await;
                set("flush.bytes", "16777216").await;
                produce(&client, 16).await;
                // Answered or not: a device that completes nothing holds the checkpoint up, and with it the change.
                machine.stalled.set(seed % 2 == 0);
                let lower = client.set_config((TOPIC, "logs"), "flush.bytes", "1048576");
                let _ = tokio::time::timeout(Duration::from_millis(machine.random.below(12)), lower).await;
                machine.stalled.set(false);
            })
            .await;
            life(&machine, false, async |running| {
                let wanted = Wanted { partition: 0, offset: 0, wait_ms: 0, bytes_max: 1 };
                let fetched = running.connect(1).fetch(TopicRef::Name("logs"), wanted).await.unwrap();
                assert_eq!(fetched.error, ErrorCode::None, "seed {seed}: the partition is quarantined");
            })
            .await;
        });
    }
}

async fn produce(client: &Client, batches: usize) {
    for _ in 0..batches {
        client.send_produce(LOGS, 0, batch(450_000)).await.unwrap();
        assert!(client.receive_produced(LOGS).await.unwrap().is_ok());
    }
}

fn batch(bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None, None);
    builder.push(1_800_000_000_000, None, Some(&vec![b'v'; bytes]), &[]);
    builder.finish().freeze()
}
