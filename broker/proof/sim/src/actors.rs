//! Everybody but producers and consumers: those who delete records, change settings, let topics come and go, and those who break the
//! machine. What they know across lives stands in [`Known`].

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use ringmill_checker::{Event, Place};
use ringmill_engine::disk::SimOptions;
use ringmill_engine::disk::sim::Fault;
use ringmill_net::wire::ErrorCode;
use tokio::time::sleep;

use crate::client::{Client, TopicId, TopicRef, Wanted};
use crate::compacting;
use crate::life::Life;
use crate::machine::DATA_DIR;
use crate::plan::{Kind, Topic};
use crate::random::Random;
use crate::records::Batch;

/// Names that topics come and go under.
const PASSING: [&str; 2] = ["passes", "returns"];

/// The topic that grows, and how far.
const GROWING: &str = "grows";
const GROWING_PARTITIONS_MAX: i32 = 6;

/// Settings that are changed, on topic `first`: Kafka's name and the least value.
const CHANGED: [(&str, u64); 3] = [("segment.bytes", 1 << 20), ("index.interval.bytes", 0), ("segment.ms", 20)];

const TOPIC_RESOURCE: i8 = 2;

/// Minutes that the time of day jumps while a broker runs, at most.
const JUMP_MINUTES_MAX: u64 = 90;

/// What is known of a name.
#[derive(Clone, Debug, Default)]
struct Passing {
    /// A topic that was made, or seen: its id, and its number in the history.
    present: Option<(TopicId, u32)>,
    /// A topic that was asked for and not answered.
    asked: Option<u32>,
    /// A creation or deletion was asked for and not answered.
    is_open: bool,
    /// How many topics had the name.
    made: u64,
}

/// What the actors of all lives know.
#[derive(Debug, Default)]
pub(crate) struct Known {
    passing: RefCell<BTreeMap<&'static str, Passing>>,
    growing: RefCell<Option<Growing>>,
    settings: RefCell<BTreeMap<&'static str, Setting>>,
}

/// A setting: the last answered value, and those asked for since.
#[derive(Debug, Default)]
struct Setting {
    answered: Option<String>,
    open: Vec<String>,
}

/// The growing topic.
#[derive(Clone, Copy, Debug)]
struct Growing {
    /// Its number in the history.
    number: u32,
    /// `None` until its creation was seen.
    id: Option<TopicId>,
    /// Partitions that it has for certain.
    certain: i32,
    /// Partitions that were asked for.
    asked: i32,
}

/// Deletes records up to somewhere, now and then.
pub(crate) async fn delete_records(topic: Topic, life: Rc<Life>, random: Random) {
    loop {
        let client = life.connect(&random);
        let _ = delete_on(&client, &topic, &life, &random).await;
        sleep(random.millis(20)).await;
    }
}

async fn delete_on(client: &Client, topic: &Topic, life: &Life, random: &Random) -> io::Result<()> {
    let place = topic.place(0);
    let (rest_ms, parts) = compacting::deletion_habits(&topic.kind);
    loop {
        sleep(random.millis(rest_ms)).await;
        let Ok(start) = client.log_start(topic.name, 0).await? else { continue };
        let wanted = Wanted { partition: 0, offset: start, wait_ms: 0, bytes_max: 1 };
        let fetched = client.fetch(TopicRef::Id(topic.id), wanted).await?;
        if fetched.error != ErrorCode::None {
            continue;
        }
        let end = fetched.high_watermark;
        let span = u64::try_from(end - start).expect("the end is not before the start");
        let before = start + i64::try_from(random.below(span / parts + 1)).expect("it is below the end");
        life.history.record(Event::TrimSent { place, before });
        match client.delete_records(topic.name, 0, before).await? {
            Ok(log_start) => {
                assert!(log_start >= before, "{place:?}: deleted up to {before}, and the log starts at {log_start}");
                life.history.record(Event::Trimmed { place, log_start });
                life.history.count("records deleted");
            }
            Err(error) => life.history.note((place, before, error.code())),
        }
    }
}

/// Changes settings of topic `first`; what was answered holds at once and in every later life.
pub(crate) async fn change_settings(known: Rc<Known>, life: Rc<Life>, random: Random) {
    let mut is_checked = false;
    loop {
        let client = life.connect(&random);
        let _ = change_on(&client, &known, &mut is_checked, &life, &random).await;
        sleep(random.millis(20)).await;
    }
}

async fn change_on(
    client: &Client,
    known: &Known,
    is_checked: &mut bool,
    life: &Life,
    random: &Random,
) -> io::Result<()> {
    for (name, _) in CHANGED {
        if *is_checked {
            break;
        }
        let Ok(found) = client.config("first", name).await? else { continue };
        let mut settings = known.settings.borrow_mut();
        let Setting { answered, open } = settings.entry(name).or_default();
        let expected = answered.as_ref().is_none_or(|answered| *answered == found) || open.contains(&found);
        assert!(expected, "{name} is {found}, answered was {answered:?}, open were {open:?}");
        (*answered, *open) = (Some(found), Vec::new());
    }
    *is_checked = true;
    loop {
        sleep(random.millis(30)).await;
        let (name, least) = random.pick(&CHANGED);
        let value = (least + random.below(1_000_000)).to_string();
        known.settings.borrow_mut().entry(name).or_default().open.push(value.clone());
        match client.set_config((TOPIC_RESOURCE, "first"), name, &value).await? {
            Ok(()) => {
                known.settings.borrow_mut().insert(name, Setting { answered: Some(value), open: Vec::new() });
                life.history.count("settings changed");
            }
            Err(error) => life.history.note((name, error.code())),
        }
    }
}

/// Lets topics come and go under the same names.
pub(crate) async fn churn(known: Rc<Known>, life: Rc<Life>, random: Random) {
    let names = PASSING.map(|name| churn_one(name, &known, &life, random.fork()));
    let [first, second] = names;
    tokio::join!(biased; first, second);
}

async fn churn_one(name: &'static str, known: &Known, life: &Life, random: Random) {
    loop {
        let client = life.connect(&random);
        let ended = churn_on(&client, name, known, life, &random).await;
        life.history.note((name, ended.expect_err("a session ends with its connection").kind()));
        sleep(random.millis(20)).await;
    }
}

async fn churn_on(client: &Client, name: &'static str, known: &Known, life: &Life, random: &Random) -> io::Result<()> {
    loop {
        sleep(random.millis(20)).await;
        let Some((id, topic)) = find_passing(client, name, known, life).await? else {
            make(client, name, known, life).await?;
            continue;
        };
        for _ in 0..random.below(4) {
            produce_one(client, id, Place { topic, partition: 0 }, life).await?;
        }
        read_on(client, id, Place { topic, partition: 0 }, life).await?;
        if random.one_in(2) {
            known.passing.borrow_mut().entry(name).or_default().is_open = true;
            life.history.record(Event::TopicDropSent { topic });
            let by = if random.one_in(2) { TopicRef::Id(id) } else { TopicRef::Name(name) };
            match client.delete_topic(by).await? {
                Ok(()) => {
                    let mut passing = known.passing.borrow_mut();
                    let state = passing.entry(name).or_default();
                    (state.present, state.is_open) = (None, false);
                    life.history.record(Event::TopicDropped { topic });
                    life.history.count("topics deleted");
                }
                Err(error) => life.history.note((name, error.code())),
            }
        }
    }
}

async fn make(client: &Client, name: &'static str, known: &Known, life: &Life) -> io::Result<()> {
    let topic = life.history.announce_topic(name, None, false);
    {
        let mut passing = known.passing.borrow_mut();
        let state = passing.entry(name).or_default();
        (state.is_open, state.asked) = (true, Some(topic));
    }
    match client.create_topic(name, 1, &[]).await? {
        Ok(id) => {
            life.history.record(Event::TopicMade { topic });
            let mut passing = known.passing.borrow_mut();
            let state = passing.entry(name).or_default();
            (state.present, state.is_open) = (Some((id, topic)), false);
            state.made += 1;
            life.history.count(if state.made > 1 { "topics made again" } else { "topics made" });
        }
        Err(error) => life.history.note((name, error.code())),
    }
    Ok(())
}

/// The topic of that name, if there is one; what was answered about it must be so.
async fn find_passing(
    client: &Client,
    name: &'static str,
    known: &Known,
    life: &Life,
) -> io::Result<Option<(TopicId, u32)>> {
    let asked = life.history.now();
    let found = match client.find_topic(name).await? {
        Ok((id, _)) => Some(id),
        Err(ErrorCode::UnknownTopicOrPartition) => None,
        Err(error) => {
            life.history.note((name, error.code()));
            return Err(io::ErrorKind::Other.into());
        }
    };
    let mut passing = known.passing.borrow_mut();
    let state = passing.entry(name).or_default();
    let before = state.present;
    if before.map(|(id, _)| id) != found {
        assert!(state.is_open, "{name} was {before:?} and is {found:?}, and nobody asked for it");
        life.history.count("topics came or went unanswered");
        state.present = found.map(|id| (id, state.asked.expect("a topic that is new was asked for")));
        state.made += u64::from(found.is_some());
    }
    state.is_open = false;
    match (state.present, before) {
        (Some((_, topic)), _) => life.history.record(Event::TopicFound { topic, asked }),
        (None, Some((_, topic))) => life.history.record(Event::TopicAbsent { topic, asked }),
        (None, None) => {}
    }
    Ok(state.present)
}

/// Produces one record and waits for its answer.
async fn produce_one(client: &Client, topic: TopicId, place: Place, life: &Life) -> io::Result<()> {
    let producer = life.history.announce_producer(place, false);
    let (timestamp_ms, codec) = (life.now_ms(), ringmill_batch::Codec::None);
    let batch = Batch { producer, first: 0, count: 1, sequence: None, timestamp_ms, value_bytes: 0, codec, keys: None };
    life.history.record(Event::Sent { producer, first: 0, count: 1 });
    client.send_produce(TopicRef::Id(topic), place.partition, batch.encode()).await?;
    match client.receive_produced(TopicRef::Id(topic)).await? {
        Ok(offset) => life.history.acked(place, producer, 0, 1, offset),
        Err(error) => life.history.record(Event::Refused { producer, first: 0, code: error.code() }),
    }
    Ok(())
}

/// Reads what a partition has from its start, as far as one fetch goes.
async fn read_on(client: &Client, topic: TopicId, place: Place, life: &Life) -> io::Result<()> {
    let wanted = Wanted { partition: place.partition, offset: 0, wait_ms: 0, bytes_max: 1 << 20 };
    let asked = life.history.now();
    let fetched = client.fetch(TopicRef::Id(topic), wanted).await?;
    match fetched.error {
        ErrorCode::None => drop(life.history.seen(life.history.announce_consumer(), place, asked, 0, &fetched)),
        error => {
            assert!(life.excuses_fetch(place, error), "{place:?}: a fetch is answered with {error}");
            life.history.read_refused(place, asked, 0, error);
        }
    }
    Ok(())
}

/// Lets a topic get more and more partitions, and writes to the newest.
pub(crate) async fn grow(known: Rc<Known>, life: Rc<Life>, random: Random) {
    loop {
        let client = life.connect(&random);
        let ended = grow_on(&client, &known, &life, &random).await;
        life.history.note((GROWING, ended.expect_err("a session ends with its connection").kind()));
        sleep(random.millis(20)).await;
    }
}

async fn grow_on(client: &Client, known: &Known, life: &Life, random: &Random) -> io::Result<()> {
    loop {
        sleep(random.millis(30)).await;
        let Some((id, topic, count)) = find_growing(client, known, life).await? else { continue };
        let place = Place { topic, partition: count - 1 };
        produce_one(client, id, place, life).await?;
        read_on(client, id, place, life).await?;
        if count < GROWING_PARTITIONS_MAX {
            let set = |certain, asked| {
                let mut growing = known.growing.borrow_mut();
                let growing = growing.as_mut().expect("it has just been found");
                (growing.certain, growing.asked) = (certain, asked);
            };
            set(count, count + 1);
            match client.add_partitions(GROWING, count + 1).await? {
                Ok(()) => {
                    set(count + 1, count + 1);
                    life.history.count("partitions added");
                }
                Err(error) => life.history.note((GROWING, error.code())),
            }
        }
    }
}

/// The growing topic as it is: its id, number and partitions. Asks for it where it was never there.
async fn find_growing(client: &Client, known: &Known, life: &Life) -> io::Result<Option<(TopicId, u32, i32)>> {
    let found = client.find_topic(GROWING).await?;
    let before = *known.growing.borrow();
    match (found, before) {
        (Ok((id, found)), Some(Growing { number, id: known_id, certain, asked })) => {
            assert_eq!(known_id.unwrap_or(id), id, "{GROWING} is another topic now");
            assert!((certain..=asked).contains(&found), "{GROWING} has {found} partitions, not {certain} to {asked}");
            known.growing.replace(Some(Growing { number, id: Some(id), certain: found, asked }));
            Ok(Some((id, number, found)))
        }
        (Ok(_), None) => unreachable!("nobody has asked for {GROWING}"),
        (Err(error), Some(Growing { id: Some(_), .. })) => panic!("{GROWING} is gone: {error}"),
        (Err(_), before) => {
            let number =
                before.map_or_else(|| life.history.announce_topic(GROWING, None, false), |before| before.number);
            known.growing.replace(Some(Growing { number, id: None, certain: 1, asked: 1 }));
            let made = client.create_topic(GROWING, 1, &[]).await?;
            life.history.note((GROWING, made.is_ok()));
            Ok(None)
        }
    }
}

/// Fills the device and empties it again.
pub(crate) async fn fill(life: Rc<Life>, random: Random) {
    loop {
        sleep(random.millis(60)).await;
        let used_bytes = life.machine.simulation.used_bytes();
        let capacity_bytes = Some(used_bytes + random.pick(&[0, 4096, 100_000]));
        life.machine.simulation.set_options(SimOptions { capacity_bytes, ..life.mood.options.clone() });
        life.history.count("device filled");
        sleep(random.millis(60)).await;
        life.machine.simulation.set_options(life.mood.options.clone());
    }
}

/// Lets single operations on any file fail: reads only, or everything else.
pub(crate) async fn break_files(reads: bool, life: Rc<Life>, random: Random) {
    const FAULTS: [(Fault, &str); 6] = [
        (Fault::SyncFails, "sync failed"),
        (Fault::SyncFindsNoSpace, "sync found no space"),
        (Fault::WriteFails, "write failed"),
        (Fault::WriteFindsNoSpace, "write found no space"),
        (Fault::WriteStops { after_bytes: 100 }, "write stopped short"),
        (Fault::AllocateFindsNoSpace, "allocation found no space"),
    ];
    loop {
        sleep(random.millis(80)).await;
        let (fault, what) = if reads { (Fault::ReadFails, "read failed") } else { random.pick(&FAULTS) };
        let files = files_under(&life);
        let file = &files[random.index(files.len())];
        life.machine.simulation.inject(file, fault);
        life.history.count(what);
    }
}

/// Lets writes and syncs of the metadata database fail.
pub(crate) async fn break_metadata(life: Rc<Life>, random: Random) {
    loop {
        sleep(random.millis(80)).await;
        let faults = [Fault::SyncFails, Fault::SyncFindsNoSpace, Fault::WriteFails, Fault::WriteFindsNoSpace];
        life.machine.simulation.inject(&Path::new(DATA_DIR).join("metadata.redb"), random.pick(&faults));
        life.history.count("metadata faults");
    }
}

fn files_under(life: &Life) -> Vec<PathBuf> {
    let simulation = &life.machine.simulation;
    let mut files = Vec::new();
    for name in simulation.names(Path::new(DATA_DIR)) {
        let path = Path::new(DATA_DIR).join(name);
        let inside = simulation.names(&path);
        files.extend(inside.iter().map(|name| path.join(name)));
        files.push(path);
    }
    files
}

/// Flips bits in closed segments and their indexes while they are served.
pub(crate) async fn rot(topic: Topic, life: Rc<Life>, random: Random) {
    loop {
        sleep(random.millis(50)).await;
        rot_once(&topic, &life.machine, &life.history, &random);
    }
}

/// Flips one bit in a file of a closed segment of the topic's first partition, if it has one.
pub(crate) fn rot_once(topic: &Topic, machine: &crate::Machine, history: &crate::history::History, random: &Random) {
    let dir = PathBuf::from(format!("{DATA_DIR}/{}-0", topic.name));
    let names = machine.simulation.names(&dir);
    // A power cut may take the name of the newest segment: then the one before it is the newest, whose damage may be a torn tail.
    let durable_names = machine.simulation.durable_names(&dir);
    let bases: BTreeSet<&str> = durable_names.iter().filter_map(|name| name.strip_suffix(".log")).collect();
    let Some(active) = bases.last() else { return };
    let closed = |name: &&String| {
        let base = name.split('.').next().unwrap_or_default();
        base != *active && bases.contains(base) && !name.ends_with(".tmp")
    };
    let files: Vec<&String> = names.iter().filter(closed).collect();
    if files.is_empty() {
        return;
    }
    let name = files[random.index(files.len())];
    if machine.simulation.flip_bit(&dir.join(name)) {
        history.rots(topic.place(0));
        history.note(("rots", name));
        history.count(if name.ends_with(".log") { "closed segments rotted" } else { "derived files rotted" });
    }
}

/// Lets the time of day jump, forward and backward.
pub(crate) async fn jump(life: Rc<Life>, random: Random) {
    loop {
        sleep(random.millis(60)).await;
        let by_ms = i64::try_from(random.below(JUMP_MINUTES_MAX * 60_000)).expect("it is minutes");
        let back = random.one_in(2);
        life.machine.jump_ms(if back { -by_ms } else { by_ms });
        life.history.count(if back { "clock jumped back" } else { "clock jumped ahead" });
        sleep(Duration::from_millis(1)).await;
    }
}

/// The topics that the actors have made, as they must be found at the end; those of unanswered changes as they are found.
///
/// # Errors
/// The connection's end.
pub(crate) async fn passing_topics(client: &Client, known: &Known, life: &Life) -> io::Result<Vec<Topic>> {
    let mut topics = Vec::new();
    let kind = Kind::default();
    for name in PASSING {
        if let Some((id, number)) = find_passing(client, name, known, life).await? {
            topics.push(Topic { name, id, number, partitions: 1, kind });
        }
    }
    let has_grown = known.growing.borrow().is_some_and(|growing| growing.id.is_some());
    if has_grown && let Some((id, number, partitions)) = find_growing(client, known, life).await? {
        topics.push(Topic { name: GROWING, id, number, partitions, kind });
    }
    Ok(topics)
}
