//! The driver for compaction: a script appends keyed records in batches of any codec and shape, compacts with any settings and limits, in
//! whole or in part, deletes, lets time pass, stops and crashes, on the simulated disk and against a model that is a map.
//!
//! What is left is what it was, at its offset. The last record of a key stays, unless it is a tombstone whose time is over. Behind a pass that
//! could read everything no key stands twice before the point that it names. What was gone does not come back.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ringmill_batch::{BatchBuilder, BatchHeader, Codec, DecompressLimit, Offset, check_stored, read_records};
use ringmill_engine::CompactionLimits;
use ringmill_engine::clock::Clock;
use ringmill_engine::disk::Disk;
use ringmill_engine::log::{Abandoned, AppendError, CompactionConfig, Log, LogConfig};

use crate::lives::{self, End, Lives, NOW_MS, STEPS_MAX, Work, turns};
use crate::script::Script;

/// Keys of one input.
const KEYS: usize = 10;

/// Memory for a batch's records that some passes have: they leave larger ones as they are.
const STINGY_BYTES: usize = 200;

/// What a record should be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    /// None for a record of a time before the topic was compacted.
    key: Option<u8>,
    /// None is a tombstone.
    value: Option<Vec<u8>>,
}

struct World {
    lives: Lives,
    /// All that was ever acknowledged or read, and before which moment it was not there.
    known: BTreeMap<i64, (Kept, i64)>,
    gone: BTreeSet<i64>,
    log_start: i64,
    deleted_to: i64,
    /// The shortest time that tombstones were ever to stay.
    kept_ms_min: i64,
    /// Some pass may have left what it could not read.
    was_stingy: bool,
    values: u64,
    producer: (i64, i32),
    steps: usize,
}

/// See the file's page.
pub fn compaction(data: &[u8]) {
    let mut script = Script::new(data);
    let flags = script.byte();
    let compaction = CompactionConfig { dirty_millionths_max: 0, tombstones_kept_ms: 1_000, ..Default::default() };
    let config = LogConfig {
        segment_bytes: 700,
        index_interval_bytes: 200,
        unsynced_bytes_max: 3_000,
        retention_ms: None,
        compaction: Some(compaction),
        ..LogConfig::default()
    };
    let mut world = World {
        lives: Lives::new(flags, config),
        known: BTreeMap::new(),
        gone: BTreeSet::new(),
        log_start: 0,
        deleted_to: 0,
        kept_ms_min: compaction.tombstones_kept_ms,
        was_stingy: false,
        values: 0,
        producer: (0, 0),
        steps: 0,
    };
    lives::run(&mut world, &mut script);
}

impl Work for World {
    fn lives(&mut self) -> &mut Lives {
        &mut self.lives
    }

    async fn between(&mut self, _: &dyn Disk, _: &mut Script<'_>) {}

    async fn check(&mut self, disk: &dyn Disk, log: &Log) {
        self.compare(disk, log).await;
    }

    async fn work(&mut self, disk: &Rc<dyn Disk>, log: &Rc<Log>, script: &mut Script<'_>) -> End {
        loop {
            self.steps += 1;
            let Some(step) = script.step().filter(|_| self.steps <= STEPS_MAX) else {
                self.check(&**disk, log).await;
                return End::Over;
            };
            match step % 16 {
                0..=6 => self.append(log, script).await,
                7..=9 => self.compact(disk, log, script).await,
                10 => self.compact_in_part(log, script).await,
                11 => self.delete(log, script).await,
                12 => self.configure(log, script),
                13 => {
                    self.lives.clock.advance(1 << (script.byte() % 14));
                    log.on_deadline(self.lives.clock.now_ms());
                }
                14 => self.lives.checkpoint = Some(log.checkpoint_entry()),
                _ => match script.byte() % 4 {
                    0 => return End::Killed,
                    1 | 2 => return End::PowerCut,
                    _ => return End::Closed,
                },
            }
        }
    }
}

impl World {
    async fn append(&mut self, log: &Log, script: &mut Script<'_>) {
        let mut builder = BatchBuilder::new(script.choose(&Codec::ALL), None);
        let count = 1 + script.below(6);
        let has_producer = script.byte().is_multiple_of(4);
        if has_producer {
            builder.producer(self.producer.0, 0, self.producer.1);
        }
        let mut records = Vec::new();
        for _ in 0..count {
            self.values += 1;
            let key = script.below(KEYS + 1);
            let key = (key < KEYS).then(|| u8::try_from(key).expect("it is small"));
            let shape = script.byte();
            let value = (!shape.is_multiple_of(5))
                .then(|| [&self.values.to_be_bytes()[..], &vec![b'.'; usize::from(shape)]].concat());
            let header: &[(&[u8], Option<&[u8]>)] = &[(b"h", None)];
            let timestamp_ms = NOW_MS + script.number().clamp(-100_000, 1 << 32);
            let headers = if shape.is_multiple_of(3) { header } else { &[] };
            builder.push(timestamp_ms, key.as_ref().map(std::slice::from_ref), value.as_deref(), headers);
            records.push(Kept { key, value });
        }
        let batch = builder.finish();
        let header = BatchHeader::parse(&batch).expect("what is built is sound");
        let since_ms = self.lives.clock.now_ms();
        match log.append(batch, header).await.expect("every append is answered") {
            Ok(appended) => {
                if has_producer {
                    self.producer.1 += i32::try_from(count).expect("it is small");
                }
                for (offset, record) in (appended.base_offset.get()..).zip(records) {
                    let before = self.known.insert(offset, (record, since_ms));
                    assert!(before.is_none(), "offset {offset} is given twice");
                }
            }
            Err(AppendError::OutOfOrderSequence) => self.producer = (self.producer.0 + 1, 0),
            Err(AppendError::TooLargeForSegment) => {}
            Err(error) => panic!("the disk is well, and still: {error}"),
        }
    }

    fn limits(&mut self, script: &mut Script<'_>) -> CompactionLimits {
        let is_stingy = script.byte().is_multiple_of(8);
        self.was_stingy |= is_stingy;
        let decompressed_bytes_max = if is_stingy { STINGY_BYTES } else { 1 << 20 };
        CompactionLimits { map_bytes: script.choose(&[64 << 10, 0]), decompressed_bytes_max, hash_key: [1, 2] }
    }

    /// A pass to its end, and what it must have reached.
    async fn compact(&mut self, disk: &Rc<dyn Disk>, log: &Log, script: &mut Script<'_>) {
        let limits = self.limits(script);
        let pass = log.compact(&limits, async |_| turns(1).await).await;
        let done = match pass {
            Ok(done) => done,
            // The settings or a seal have come between.
            Err(Abandoned::Closed) => None,
            Err(error) => panic!("the disk is well, and still: {error}"),
        };
        let found = self.compare(&**disk, log).await;
        let Some(done) = done.filter(|done| done.damaged + done.outgrown == 0 && !self.was_stingy) else { return };
        let mut keys = BTreeSet::new();
        for (offset, record) in found.range(..done.cleaned_to.get()) {
            assert!(record.key.is_some_and(|key| keys.insert(key)), "offset {offset}: {record:?} is superseded");
        }
    }

    /// A pass that is dropped on its way.
    async fn compact_in_part(&mut self, log: &Log, script: &mut Script<'_>) {
        let (limits, patience) = (self.limits(script), script.byte());
        tokio::select! {
            biased;
            () = turns(patience) => {}
            pass = log.compact(&limits, async |_| turns(1).await) => {
                assert!(matches!(pass, Ok(_) | Err(Abandoned::Closed)), "{pass:?}");
            }
        }
    }

    async fn delete(&mut self, log: &Log, script: &mut Script<'_>) {
        let watermarks = log.reader().watermarks();
        let before = watermarks.log_start.get() + i64::from(script.byte() % 16);
        let before = before.min(watermarks.high_watermark.get());
        // It may have happened though a crash comes before the answer.
        self.deleted_to = self.deleted_to.max(before);
        let deleted = log.delete_records_before(Offset::new(before).expect("it is not negative")).await;
        self.log_start = self.log_start.max(deleted.expect("the disk is well").get());
    }

    fn configure(&mut self, log: &Log, script: &mut Script<'_>) {
        let tombstones_kept_ms = script.choose(&[1_000, 0, 5, 1 << 40]);
        self.kept_ms_min = self.kept_ms_min.min(tombstones_kept_ms);
        let min_lag_ms = script.choose(&[0, 0, 3, 1_000]);
        let compaction =
            CompactionConfig { tombstones_kept_ms, min_lag_ms, dirty_millionths_max: 0, ..Default::default() };
        self.lives.config = LogConfig {
            segment_bytes: script.choose(&[700, 1_500, 20_000, 1]),
            segment_ms: script.choose(&[i64::MAX, 1_000, 1]),
            index_interval_bytes: script.choose(&[200, 0, 1, 4096]),
            compaction: (!script.byte().is_multiple_of(8)).then_some(compaction),
            ..self.lives.config.clone()
        };
        self.lives.checkpoint = Some(log.checkpoint_entry());
        log.set_config(self.lives.config.clone());
    }

    /// Reads everything and holds it against what is known; gives what was found.
    async fn compare(&mut self, disk: &dyn Disk, log: &Log) -> BTreeMap<i64, Kept> {
        let watermarks = log.reader().watermarks();
        let (start, end) = (watermarks.log_start.get(), watermarks.high_watermark.get());
        assert!((self.log_start..=self.deleted_to.max(self.log_start)).contains(&start), "the log starts at {start}");
        assert!(
            self.known.last_key_value().is_none_or(|(&last, _)| last < end),
            "acknowledged records are gone: {end}"
        );
        self.log_start = start;
        let found = read(disk, log, start, end).await;
        let now_ms = self.lives.clock.now_ms();
        for (offset, record) in &found {
            // When it was appended is not known of what nobody was answered for.
            let (known, _) = self.known.entry(*offset).or_insert_with(|| (record.clone(), 0));
            assert_eq!(known, record, "offset {offset} has changed");
            assert!(!self.gone.contains(offset), "offset {offset} was gone, and is back");
        }
        let last: BTreeMap<u8, i64> =
            self.known.range(start..).filter_map(|(&offset, (record, _))| Some((record.key?, offset))).collect();
        for (&offset, (record, since_ms)) in self.known.range(start..).filter(|(offset, _)| !found.contains_key(offset))
        {
            self.gone.insert(offset);
            let Some(key) = record.key else { continue };
            let is_over = record.value.is_none() && now_ms >= since_ms.saturating_add(self.kept_ms_min);
            assert!(last[&key] > offset || is_over, "offset {offset} is gone, the last of key {key}");
        }
        found
    }
}

/// Everything that a reader gets; batches follow one another without a gap.
async fn read(disk: &dyn Disk, log: &Log, start: i64, end: i64) -> BTreeMap<i64, Kept> {
    let (mut next, mut found) = (start, BTreeMap::new());
    while next < end {
        let offset = Offset::new(next).expect("it is not negative");
        let plan = log.reader().plan(disk, offset, 1 + (next.unsigned_abs() * 97) % 3_000, true).await;
        let plan = plan.expect("it lies inside the log");
        let length = usize::try_from(plan.length).expect("plans are small here");
        let bytes = disk.read_at(plan.segment.file(), plan.position, length).await.expect("the disk is well");
        let (mut rest, mut behind) = (&bytes[..], None);
        // The last batch may be cut at the limit, the first is whole.
        while let Ok(header) = check_stored(rest) {
            assert!(behind.is_none_or(|behind| behind == header.base_offset), "a gap between two batches");
            for record in read_records(rest, DecompressLimit::default()).expect("it was checked").iter() {
                let record = record.expect("it was checked");
                if record.offset.get() >= next {
                    let kept = Kept { key: record.key.map(|key| key[0]), value: record.value.map(<[u8]>::to_vec) };
                    assert!(found.insert(record.offset.get(), kept).is_none(), "{} comes twice", record.offset);
                }
            }
            behind = Some(header.next_offset());
            rest = &rest[header.total_bytes()..];
        }
        let behind = behind.expect("a plan holds a batch").get();
        assert!(behind > next, "a reader comes forward");
        next = behind;
    }
    found
}
