//! kill -9 at any moment while topics are made, grown, written to, emptied and deleted: what was answered holds afterwards, what was under
//! way happened or did not, and nothing that was deleted comes back, neither a topic nor its id nor a record.
//!
//! On the real program. `RINGMILL_KILLS=1000` makes an hour of it.

#![expect(clippy::unwrap_used, reason = "all of it is a test: a panic is its failure")]

mod raw;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use raw::process::Process;
use raw::{IO_KINDS, Raw};
use ringmill_batch::{BatchBuilder, Codec, DecompressLimit, read_records};
use ringmill_net::Piece;
use ringmill_net::wire::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use ringmill_net::wire::messages::create_topics::{CreatableTopic, CreateTopicsRequest, CreateTopicsResponse};
use ringmill_net::wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use ringmill_net::wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use ringmill_net::wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use ringmill_net::wire::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use ringmill_net::wire::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use ringmill_net::wire::{ErrorCode, Records, Uuid};

/// Kills in an ordinary run, for each way of driving files.
const KILLS: u64 = 12;

/// The longest life of a process.
const LIFE_MS_MAX: u64 = 120;

const NAME: &str = "logs";
const OK: i16 = 0;

/// What has been answered about the topic.
#[derive(Clone, Debug)]
struct Known {
    id: Uuid,
    /// Which topic of this name it is; its records begin with it.
    generation: u64,
    partitions: Vec<Partition>,
}

#[derive(Clone, Debug, Default)]
struct Partition {
    start: i64,
    records: BTreeMap<i64, String>,
}

/// The one order that was not answered yet: it may have been carried out or not.
#[derive(Clone, Debug, PartialEq)]
enum Order {
    None,
    Create { partitions: usize },
    Delete,
    Grow { partitions: usize },
    Empty { partition: usize, before: i64 },
    Produce { partition: usize, value: String },
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn index(&mut self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).unwrap()
    }
}

/// Everything that the test remembers over the lives of the program.
struct World {
    chance: Chance,
    topic: Option<Known>,
    pending: Order,
    generation: u64,
    gone: Vec<Uuid>,
    written: u64,
    carried_out: BTreeMap<&'static str, u64>,
}

impl World {
    /// Orders one thing after the other until the program is gone.
    fn live(&mut self, client: &mut Raw) {
        while self.order(client).is_some() {}
    }

    fn order(&mut self, client: &mut Raw) -> Option<()> {
        let Some(topic) = &self.topic else {
            return self.create(client);
        };
        let partition = self.chance.index(topic.partitions.len());
        let count = topic.partitions.len();
        let more = count + 1 + self.chance.index(2);
        match self.chance.below(8) {
            0 => self.delete(client),
            1 if count < 6 => self.grow(client, more),
            2 => self.empty(client, partition),
            _ => self.produce(client, partition),
        }
    }

    fn begin(&mut self, order: Order) {
        assert_eq!(std::mem::replace(&mut self.pending, order), Order::None, "one at a time");
    }

    fn done(&mut self, what: &'static str) {
        self.pending = Order::None;
        *self.carried_out.entry(what).or_default() += 1;
    }

    fn create(&mut self, client: &mut Raw) -> Option<()> {
        let partitions = 1 + self.chance.index(3);
        self.begin(Order::Create { partitions });
        let num_partitions = i32::try_from(partitions).unwrap();
        let topic = CreatableTopic { name: NAME, num_partitions, replication_factor: 1, ..CreatableTopic::default() };
        let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
        let frame = client.try_call(&request, 7, Vec::new())?;
        let response: CreateTopicsResponse<'_> = frame.decode(7);
        assert_eq!(response.topics[0].error_code, OK, "{:?}", response.topics[0].error_message);
        self.adopt(response.topics[0].topic_id, partitions);
        self.done("created");
        Some(())
    }

    fn adopt(&mut self, id: Uuid, partitions: usize) {
        assert!(!self.gone.contains(&id), "an id was given twice");
        self.generation += 1;
        let partitions = vec![Partition::default(); partitions];
        self.topic = Some(Known { id, generation: self.generation, partitions });
    }

    fn delete(&mut self, client: &mut Raw) -> Option<()> {
        self.begin(Order::Delete);
        let id = self.topic.as_ref().unwrap().id;
        let topics = vec![DeleteTopicState { name: None, topic_id: id }];
        let request = DeleteTopicsRequest { topics, timeout_ms: 1000, ..DeleteTopicsRequest::default() };
        let frame = client.try_call(&request, 6, Vec::new())?;
        let response: DeleteTopicsResponse<'_> = frame.decode(6);
        assert_eq!(response.responses[0].error_code, OK);
        self.topic = None;
        self.gone.push(id);
        self.done("deleted");
        Some(())
    }

    fn grow(&mut self, client: &mut Raw, partitions: usize) -> Option<()> {
        self.begin(Order::Grow { partitions });
        let count = i32::try_from(partitions).unwrap();
        let topics = vec![CreatePartitionsTopic { name: NAME, count, assignments: None }];
        let request = CreatePartitionsRequest { topics, timeout_ms: 1000, validate_only: false };
        let frame = client.try_call(&request, 3, Vec::new())?;
        let response: CreatePartitionsResponse<'_> = frame.decode(3);
        assert_eq!(response.results[0].error_code, OK, "{:?}", response.results[0].error_message);
        self.topic.as_mut().unwrap().partitions.resize(partitions, Partition::default());
        self.done("grown");
        Some(())
    }

    fn empty(&mut self, client: &mut Raw, partition: usize) -> Option<()> {
        let known = &self.topic.as_ref().unwrap().partitions[partition];
        let end = known.records.last_key_value().map_or(known.start, |(last, _)| last + 1);
        let before = end - i64::try_from(self.chance.below(u64::try_from(end - known.start + 1).unwrap())).unwrap();
        self.begin(Order::Empty { partition, before });
        let asked = DeleteRecordsPartition { partition_index: i32::try_from(partition).unwrap(), offset: before };
        let topics = vec![DeleteRecordsTopic { name: NAME, partitions: vec![asked] }];
        let frame = client.try_call(&DeleteRecordsRequest { topics, timeout_ms: 1000 }, 2, Vec::new())?;
        let response: DeleteRecordsResponse<'_> = frame.decode(2);
        let answer = &response.topics[0].partitions[0];
        assert_eq!((answer.error_code, answer.low_watermark), (OK, before));
        self.topic.as_mut().unwrap().partitions[partition].empty(before);
        self.done("emptied");
        Some(())
    }

    fn produce(&mut self, client: &mut Raw, partition: usize) -> Option<()> {
        let topic = self.topic.as_ref().unwrap();
        self.written += 1;
        let (id, value) = (topic.id, format!("{} {}", topic.generation, self.written));
        self.begin(Order::Produce { partition, value: value.clone() });
        let (error, offset) = produce(client, id, partition, &value)?;
        assert_eq!(error, OK);
        let before = self.topic.as_mut().unwrap().partitions[partition].records.insert(offset, value);
        assert_eq!(before, None, "two records at offset {offset}");
        self.done("produced");
        Some(())
    }

    /// Compares what the program knows with what was answered, and takes over what was under way.
    fn verify(&mut self, client: &mut Raw) {
        let pending = std::mem::replace(&mut self.pending, Order::None);
        let found = describe(client);
        match (self.topic.take(), found) {
            (None, None) => {}
            (None, Some((id, count))) => {
                assert_eq!(pending, Order::Create { partitions: count }, "a deleted topic is back");
                self.adopt(id, count);
                for partition in 0..count {
                    let (start, records) = read(client, id, partition);
                    assert_eq!((start, records.len()), (0, 0), "a deleted topic's records are back");
                }
            }
            (Some(known), None) => {
                assert_eq!(pending, Order::Delete, "a topic is lost: {known:?}");
                self.gone.push(known.id);
            }
            (Some(mut known), Some((id, count))) => {
                assert_eq!(id, known.id, "another topic under the name");
                if count != known.partitions.len() {
                    assert_eq!(pending, Order::Grow { partitions: count }, "{} partitions", known.partitions.len());
                    known.partitions.resize(count, Partition::default());
                }
                for (index, partition) in known.partitions.iter_mut().enumerate() {
                    let (start, records) = read(client, id, index);
                    partition.take_over(index, &pending, start, &records);
                    let own = format!("{} ", known.generation);
                    assert!(records.values().all(|value| value.starts_with(&own)), "foreign records: {records:?}");
                }
                self.topic = Some(known);
            }
        }
        let unknown = ErrorCode::UnknownTopicId.code();
        for &id in self.gone.iter().rev().take(3) {
            assert_eq!(fetch(client, id, 0, 0).0, unknown, "a deleted id is read");
            assert_eq!(produce(client, id, 0, "x").unwrap().0, unknown, "a deleted id is written");
        }
    }
}

impl Partition {
    fn empty(&mut self, before: i64) {
        self.start = before;
        self.records = self.records.split_off(&before);
    }

    fn take_over(&mut self, index: usize, pending: &Order, start: i64, records: &BTreeMap<i64, String>) {
        if start != self.start {
            assert_eq!(*pending, Order::Empty { partition: index, before: start }, "it started at {}", self.start);
            self.empty(start);
        }
        for (offset, value) in records {
            let Some(known) = self.records.get(offset) else {
                assert_eq!(*pending, Order::Produce { partition: index, value: value.clone() }, "offset {offset}");
                continue;
            };
            assert_eq!(known, value, "offset {offset} changed");
        }
        assert!(self.records.keys().all(|offset| records.contains_key(offset)), "lost: {self:?} {records:?}");
        self.records.clone_from(records);
    }
}

/// Id and number of partitions.
fn describe(client: &mut Raw) -> Option<(Uuid, usize)> {
    let topics = Some(vec![MetadataRequestTopic { name: Some(NAME), ..MetadataRequestTopic::default() }]);
    let request = MetadataRequest { topics, allow_auto_topic_creation: false, ..MetadataRequest::default() };
    let frame = client.call(&request, 12);
    let response: MetadataResponse<'_> = frame.decode(12);
    let topic = &response.topics[0];
    (topic.error_code == OK).then_some((topic.topic_id, topic.partitions.len()))
}

fn produce(client: &mut Raw, topic_id: Uuid, partition: usize, value: &str) -> Option<(i16, i64)> {
    let mut builder = BatchBuilder::new(Codec::None, None);
    builder.push(raw::now_ms(), None, Some(value.as_bytes()), &[]);
    let batch: Bytes = builder.finish().freeze();
    let index = i32::try_from(partition).unwrap();
    let partition_data = vec![PartitionProduceData { index, records: Some(Records::of_length(batch.len())) }];
    let topic_data = vec![TopicProduceData { topic_id, partition_data, ..TopicProduceData::default() }];
    let request = ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data, ..ProduceRequest::default() };
    let frame = client.try_call(&request, 13, vec![Piece::Bytes(batch)])?;
    let response: ProduceResponse<'_> = frame.decode(13);
    let answer = &response.responses[0].partition_responses[0];
    Some((answer.error_code, answer.base_offset))
}

/// Error, log start, and the records' bytes from an offset on.
fn fetch(client: &mut Raw, topic_id: Uuid, partition: usize, fetch_offset: i64) -> (i16, i64, Vec<u8>) {
    let partition = i32::try_from(partition).unwrap();
    let asked = FetchPartition { partition, fetch_offset, partition_max_bytes: 1 << 20, ..FetchPartition::default() };
    let topics = vec![FetchTopic { topic_id, partitions: vec![asked], ..FetchTopic::default() }];
    let frame = client.call(&FetchRequest { topics, max_bytes: 1 << 20, ..FetchRequest::default() }, 13);
    let response: FetchResponse<'_> = frame.decode(13);
    let data = &response.responses[0].partitions[0];
    let records = data.records.map(|records| frame.records::<FetchResponse<'_>>(13, records).to_vec());
    (data.error_code, data.log_start_offset, records.unwrap_or_default())
}

/// Log start and all records of a partition.
fn read(client: &mut Raw, id: Uuid, partition: usize) -> (i64, BTreeMap<i64, String>) {
    let (error, start, _) = fetch(client, id, partition, i64::MAX);
    assert_eq!(error, ErrorCode::OffsetOutOfRange.code(), "it is served");
    let (mut records, mut next) = (BTreeMap::new(), start);
    loop {
        let (error, _, bytes) = fetch(client, id, partition, next);
        assert_eq!(error, OK);
        let (mut rest, before) = (&bytes[..], next);
        while !rest.is_empty() {
            let header = ringmill_batch::check_stored(rest).unwrap();
            let (batch, behind) = rest.split_at(header.total_bytes());
            for record in read_records(batch, DecompressLimit::default()).unwrap().iter() {
                let record = record.unwrap();
                let value = std::str::from_utf8(record.value.unwrap()).unwrap().to_owned();
                assert_eq!(record.offset.get(), next, "offsets are dense");
                records.insert(next, value);
                next += 1;
            }
            rest = behind;
        }
        if next == before {
            return (start, records);
        }
    }
}

/// A deletion leaves nothing behind, whenever it was cut short. Set aside is only what a creation that was cut short has left, which holds
/// no record.
fn check_directory(dir: &Path, topic: Option<&Known>) {
    let names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let partitions = names.iter().filter(|name| name.starts_with("logs-")).count();
    assert_eq!(partitions, topic.map_or(0, |topic| topic.partitions.len()), "{names:?}");
    assert!(!names.iter().any(|name| name.ends_with(".deleted")), "{names:?}");
    let Ok(orphans) = std::fs::read_dir(dir.join("orphans")) else { return };
    for file in orphans.flat_map(|orphan| std::fs::read_dir(orphan.unwrap().path()).unwrap()) {
        let (path, length) = file.map(|file| (file.path(), file.metadata().unwrap().len())).unwrap();
        assert!(length == 0 || path.extension().is_none_or(|kind| kind != "log"), "{path:?} has {length} bytes");
    }
}

#[test]
fn nothing_that_was_deleted_comes_back_whenever_the_broker_is_killed() {
    let kills = std::env::var("RINGMILL_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    for (seed, io) in (1..).zip(IO_KINDS) {
        let dir = tempfile::tempdir().unwrap();
        let mut world = World {
            chance: Chance(seed),
            topic: None,
            pending: Order::None,
            generation: 0,
            gone: Vec::new(),
            written: 0,
            carried_out: BTreeMap::new(),
        };
        for _ in 0..kills {
            let process = Process::start(dir.path(), io);
            let mut client = Raw::connect(process.address);
            world.verify(&mut client);
            check_directory(dir.path(), world.topic.as_ref());
            let (pid, life_ms) = (process.pid(), 1 + world.chance.below(LIFE_MS_MAX));
            let killer = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(life_ms));
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            });
            world.live(&mut client);
            killer.join().unwrap();
            drop(process);
        }
        eprintln!("{io}: {kills} kills, {:?}", world.carried_out);
        assert!(world.generation > 0 && world.written > kills, "{io}: the test did hardly anything");
    }
}
