//! The driver for whole sequences of requests: a script plays several clients, honest and not, against a broker in one thread, with crashes
//! and jumps of time between.
//!
//! Whatever they send: every request that can be read gets one answer, in order, that is what we would write ourselves; records that were
//! acknowledged on [`KEPT`] are all there in the end, at their offsets; the memory for requests is given back; and the broker still serves.
//! The disk never fails here; what it does when it does is the simulation's business.

mod peer;
mod request;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use ringmill_batch::{BatchBuilder, Codec, DecompressLimit, check_stored, read_records};
use ringmill_engine::disk::{SimOptions, Simulation};
use ringmill_net::wire::messages::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use ringmill_net::wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use ringmill_net::wire::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use ringmill_net::wire::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use ringmill_net::wire::{Reader, Records, Versioned};
use ringmill_sim::{Machine, Running};
use tokio::task::LocalSet;
use tokio::time::{advance, sleep};

use self::peer::Peer;
use self::request::{KEPT, KEPT_PARTITIONS, Known, NOW_MS};
use crate::script::Script;

/// Connections at a time.
const PEERS_MAX: usize = 4;

/// Steps of one input: enough for a story, few enough to be quick.
const STEPS_MAX: usize = 100;

/// The most requests in flight on one connection; with more the broker stops reading, and so would a script that never reads.
const IN_FLIGHT_MAX: usize = 40;

/// Longer than anything that an honest request of a script may wait for.
const PATIENCE: Duration = Duration::from_secs(20);

thread_local! {
    /// Panics on this thread: those of tasks would pass unseen.
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

/// What outlives the broker's lives.
#[derive(Default)]
struct World {
    known: Known,
    /// Acknowledged for good: the number that stands at each partition's offsets.
    kept: BTreeMap<(i32, i64), u64>,
    correlation_id: i32,
    steps: usize,
}

/// How a life ends.
enum End {
    Killed,
    PowerCut,
    Stopped,
    /// The script is over.
    Over,
}

/// See the file's page.
pub fn requests(data: &[u8]) {
    count_panics();
    let before = PANICS.get();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime takes no resources").block_on(play(Script::new(data)));
    assert_eq!(PANICS.get(), before, "a task of the broker panicked");
}

async fn play(mut script: Script<'_>) {
    let flags = script.byte();
    let rates = if flags & 1 == 1 { SimOptions::busy() } else { SimOptions::default() };
    let simulation = Simulation::new(u64::from(flags), rates);
    let mut world = World::default();
    let mut made = None;
    loop {
        let local = LocalSet::new();
        let life = async {
            let machine = match made.take() {
                None => Machine::new(1, simulation.clone()).await,
                Some(machine) => machine,
            };
            let running = machine.boot().await.expect("a healthy disk boots");
            if !world.known.ids.contains_key(KEPT) {
                set_up(&running, &mut world).await;
            }
            (live(&running, &mut script, &mut world).await, machine)
        };
        let (end, machine) = local.run_until(life).await;
        made = Some(machine);
        match end {
            // Before the tasks are dropped: a dead process does not tidy up.
            End::Killed | End::Stopped => simulation.crash_process(),
            End::PowerCut => simulation.crash_power(),
            End::Over => break,
        }
    }
}

/// Makes the kept topic, with settings of its own, so that no change of defaults reaches it.
async fn set_up(running: &Running, world: &mut World) {
    let mut peer = Peer::honest(running);
    const SETTINGS: [(&str, &str); 9] = [
        ("max.message.bytes", "1048588"),
        ("message.timestamp.after.max.ms", "9223372036854775807"),
        ("message.timestamp.before.max.ms", "9223372036854775807"),
        ("message.timestamp.type", "CreateTime"),
        ("retention.bytes", "-1"),
        ("retention.ms", "-1"),
        ("segment.bytes", "1048576"),
        ("strict.records", "false"),
        ("write.caching", "false"),
    ];
    let topic = |name, num_partitions, settings: &[(&'static str, &'static str)]| CreatableTopic {
        name,
        num_partitions,
        replication_factor: 1,
        configs: settings.iter().map(|&(name, value)| CreatableTopicConfig { name, value: Some(value) }).collect(),
        ..CreatableTopic::default()
    };
    let topics = vec![topic(KEPT, KEPT_PARTITIONS, &SETTINGS), topic("a", 2, &[])];
    peer.ask(&CreateTopicsRequest { topics, ..CreateTopicsRequest::default() }, 7, Vec::new(), world).await;
    let topics = [KEPT, "a"].map(|name| MetadataRequestTopic { name: Some(name), ..MetadataRequestTopic::default() });
    peer.ask(&MetadataRequest { topics: Some(topics.to_vec()), ..MetadataRequest::default() }, 12, Vec::new(), world)
        .await;
    assert!(world.known.ids.contains_key(KEPT), "the topic was made");
}

/// One life of the broker; the last one ends with what must hold.
async fn live(running: &Running, script: &mut Script<'_>, world: &mut World) -> End {
    let mut peers: Vec<Peer> = Vec::new();
    let end = loop {
        world.steps += 1;
        let Some(step) = script.step().filter(|_| world.steps <= STEPS_MAX) else { break End::Over };
        match step % 32 {
            0..=2 if peers.len() < PEERS_MAX => peers.push(Peer::open(running, script)),
            31 => match script.byte() % 4 {
                0 => break End::Killed,
                1 => break End::PowerCut,
                2 => {
                    hang_up(peers.drain(..), world).await;
                    assert!(running.stop().await, "no partition was sealed, so the stop is clean");
                    break End::Stopped;
                }
                _ => {
                    // Long waits end, connections are too quiet, segments and records grow old.
                    advance(Duration::from_millis(1 << (script.byte() % 31))).await;
                    peers.iter_mut().for_each(|peer| peer.excused = true);
                }
            },
            30 => sleep(Duration::from_millis(script.byte().into())).await,
            _ if peers.is_empty() => peers.push(Peer::open(running, script)),
            29 => {
                let peer = peers.swap_remove(script.below(peers.len()));
                if script.flag() {
                    hang_up([peer], world).await;
                }
            }
            step => {
                let at = script.below(peers.len());
                speak(&mut peers[at], step, script, world).await;
            }
        }
    };
    if matches!(end, End::Over) {
        hang_up(peers, world).await;
        conclude(running, world).await;
        assert!(running.stop().await, "no partition was sealed, so the stop is clean");
    }
    end
}

/// A client says something, or listens.
async fn speak(peer: &mut Peer, step: u8, script: &mut Script<'_>, world: &mut World) {
    match step {
        28 => peer.listen(Duration::from_millis(script.byte().into()), world).await,
        // Bytes that are no request.
        27 => peer.babble(script.bytes(100)).await,
        // A request's header, and a body of any bytes.
        24..=26 => {
            let (key, version) = (script.below(80), i16::from(script.byte() % 20));
            let body = script.bytes(1000);
            if !names_kept(body, world) {
                peer.send_raw(i16::try_from(key).expect("it is small"), version, body).await;
            }
        }
        _ => {
            world.correlation_id += 1;
            let made = request::make(script, &mut world.known, world.correlation_id);
            if peer.expected.len() >= IN_FLIGHT_MAX {
                peer.listen(PATIENCE, world).await;
            }
            peer.send(made, step == 23, script, world.correlation_id).await;
        }
    }
}

/// Whether bytes could mean the kept topic, which nobody may change here.
fn names_kept(body: &[u8], world: &World) -> bool {
    let holds = |name: &[u8]| body.windows(name.len()).any(|part| part == name);
    holds(KEPT.as_bytes()) || world.known.ids.get(KEPT).is_some_and(|id| holds(&id[8..]))
}

/// Waits for all that is owed, and goes.
async fn hang_up(peers: impl IntoIterator<Item = Peer>, world: &mut World) {
    for mut peer in peers {
        peer.listen(PATIENCE, world).await;
        let owed = peer.expected.iter().find(|expected| expected.owed).map(|expected| (expected.key, expected.version));
        assert!(peer.excused || owed.is_none(), "{owed:?} was never answered");
    }
}

/// What must hold at the end, whatever happened.
async fn conclude(running: &Running, world: &mut World) {
    let mut peer = Peer::honest(running);
    for partition in 0..KEPT_PARTITIONS {
        let mut builder = BatchBuilder::new(Codec::None, None);
        let number = world.known.numbers;
        world.known.numbers += 1;
        builder.push(NOW_MS, None, Some(number.to_string().as_bytes()), &[]);
        let batch = builder.finish().freeze();
        let records = Some(Records::of_length(batch.len()));
        let partition_data = vec![PartitionProduceData { index: partition, records }];
        let topic_data = vec![TopicProduceData { name: KEPT, partition_data, ..TopicProduceData::default() }];
        let request = ProduceRequest { acks: -1, timeout_ms: 5000, topic_data, ..ProduceRequest::default() };
        let body = peer.ask(&request, 9, vec![batch], world).await;
        let response = ProduceResponse::decode(&mut Reader::new(&body), 9).expect("an answer can be read");
        let answered = &response.responses[0].partition_responses[0];
        assert_eq!(answered.error_code, 0, "the broker does not serve any more");
        world.kept.insert((partition, answered.base_offset), number);
        read_kept(&mut peer, partition, world).await;
    }
    drop(peer);
    // Parked requests learn that their connections are gone.
    for _ in 0..100 {
        if running.budget.reserved_bytes() == 0 {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("{} bytes are never given back", running.budget.reserved_bytes());
}

/// Everything in the partition from its start: no gap, and each acknowledged record at its offset.
async fn read_kept(peer: &mut Peer, partition: i32, world: &mut World) {
    let owed: BTreeMap<i64, u64> = world
        .kept
        .range((partition, 0)..=(partition, i64::MAX))
        .map(|(&(_, offset), &number)| (offset, number))
        .collect();
    let (mut offset, mut found) = (0, 0);
    let end = owed.last_key_value().map_or(0, |(last, _)| last + 1);
    while offset < end {
        let asked = FetchPartition {
            partition,
            fetch_offset: offset,
            partition_max_bytes: 1 << 20,
            ..FetchPartition::default()
        };
        let topics = vec![FetchTopic { topic: KEPT, partitions: vec![asked], ..FetchTopic::default() }];
        let request = FetchRequest { min_bytes: 0, topics, ..FetchRequest::default() };
        let body = peer.ask(&request, 12, Vec::new(), world).await;
        let response = FetchResponse::decode(&mut Reader::new(&body), 12).expect("an answer can be read");
        let answered = &response.responses[0].partitions[0];
        assert_eq!((answered.error_code, answered.log_start_offset), (0, 0), "partition {partition} at {offset}");
        let before = offset;
        let mut rest = &body[answered.records.map(Records::range).unwrap_or_default()];
        while let Ok(header) = check_stored(rest) {
            let records = read_records(rest, DecompressLimit::default()).expect("what is served can be read");
            for record in records.iter().map(|record| record.expect("what is served can be read")) {
                assert_eq!(record.offset.get(), offset, "partition {partition} has a gap");
                if let Some(number) = owed.get(&offset) {
                    let value = record.value.map(String::from_utf8_lossy);
                    assert_eq!(
                        value.as_deref(),
                        Some(number.to_string().as_str()),
                        "partition {partition} at {offset}"
                    );
                    found += 1;
                }
                offset += 1;
            }
            rest = &rest[header.total_bytes()..];
        }
        assert!(offset > before, "partition {partition}: acknowledged records from {offset} to {end} are gone");
    }
    assert_eq!(found, owed.len(), "each at its offset");
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
