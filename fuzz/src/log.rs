//! The driver for a whole log: a script appends, changes settings, deletes, lets time pass, takes derived files away, stops and crashes, on
//! the simulated disk and against a model that is a map.
//!
//! Offsets are dense; what was acknowledged is there with the same content until somebody deletes it; nothing that was deleted comes back;
//! a look-up by time finds what a walk over all records finds; and every stop in order is clean.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use ringmill_batch::{BatchBuilder, BatchHeader, Codec, DecompressLimit, Offset, check_stored, read_records};
use ringmill_engine::clock::Clock;
use ringmill_engine::disk::Disk;
use ringmill_engine::log::{AppendError, Appended, Log, LogConfig, LogError, ReadError};
use tokio::sync::oneshot;

use crate::lives::{self, DIR, End, Lives, NOW_MS, STEPS_MAX, Work, turns};
use crate::script::Script;

/// What a record should be: its timestamp and its value.
type Kept = (i64, Vec<u8>);

/// What outlives a life of the log, as clients know it.
struct World {
    lives: Lives,
    kept: BTreeMap<i64, Kept>,
    /// Where the log started when it was last asked, and the highest that anybody asked it to start at.
    log_start: i64,
    deleted_to: i64,
    /// Retention was on at some time: then segments may go by themselves.
    retained: bool,
    values: u64,
    /// Idempotent producers: id and next sequence. One whose sequence has a gap is given up for a new one.
    producers: [(i64, i32); 2],
    steps: usize,
}

/// A batch under way: what it holds, and the answer to come.
struct Sent {
    records: Vec<Kept>,
    answer: oneshot::Receiver<Result<Appended, AppendError>>,
}

/// See the file's page.
pub fn log(data: &[u8]) {
    let mut script = Script::new(data);
    let flags = script.byte();
    let config = LogConfig {
        segment_bytes: 2_000,
        index_interval_bytes: 200,
        unsynced_bytes_max: 1_500,
        retention_ms: None,
        ..LogConfig::default()
    };
    let mut world = World {
        lives: Lives::new(flags, config),
        kept: BTreeMap::new(),
        log_start: 0,
        deleted_to: 0,
        retained: false,
        values: 0,
        producers: [(0, 0), (1, 0)],
        steps: 0,
    };
    lives::run(&mut world, &mut script);
}

impl Work for World {
    fn lives(&mut self) -> &mut Lives {
        &mut self.lives
    }

    /// Indexes and snapshots may go, whoever takes them: they are built anew.
    async fn between(&mut self, disk: &dyn Disk, script: &mut Script<'_>) {
        if script.byte() < 200 {
            return;
        }
        let kinds = [".index", ".timeindex", ".producers"].map(|kind| script.flag().then_some(kind));
        for entry in disk.list_dir(Path::new(DIR)).await.expect("it can be listed") {
            if kinds.iter().flatten().any(|kind| entry.name.ends_with(kind)) {
                disk.remove_file(&Path::new(DIR).join(entry.name)).await.expect("the disk is well");
            }
        }
    }

    /// Reads everything.
    async fn check(&mut self, disk: &dyn Disk, log: &Log) {
        let reader = log.reader();
        let watermarks = reader.watermarks();
        let (start, end) = (watermarks.log_start.get(), watermarks.high_watermark.get());
        assert!(start >= self.log_start, "deleted records are back: the log starts at {start}, not {}", self.log_start);
        assert!(self.retained || start <= self.deleted_to, "nobody deleted up to {start}");
        assert!(self.kept.last_key_value().is_none_or(|(&last, _)| last < end), "acknowledged records are gone: {end}");
        self.log_start = start;
        let mut next = start;
        let mut seen: Vec<(i64, i64)> = Vec::new();
        while next < end {
            let offset = Offset::new(next).expect("it is not negative");
            let plan = match reader.plan(disk, offset, 1 + (next.unsigned_abs() * 97) % 3_000, true).await {
                Ok(plan) => plan,
                // Retention runs beside this.
                Err(ReadError::OffsetOutOfRange { .. }) if self.retained => {
                    let raised = log.reader().watermarks().log_start.get();
                    assert!(raised > next, "offset {next} lies inside the log");
                    (next, self.log_start) = (raised, raised);
                    seen.clear();
                    continue;
                }
                Err(error) => panic!("{error} at {next} of {watermarks:?}"),
            };
            let length = usize::try_from(plan.length).expect("plans are small here");
            let bytes = disk.read_at(plan.segment.file(), plan.position, length).await.expect("the disk is well");
            let mut rest = &bytes[..];
            // The last batch may be cut at the limit, the first is whole.
            while let Ok(header) = check_stored(rest) {
                for record in read_records(rest, DecompressLimit::default()).expect("it was checked").iter() {
                    let record = record.expect("it was checked");
                    if record.offset.get() < next {
                        continue;
                    }
                    assert_eq!(record.offset.get(), next, "offsets are dense");
                    let found = (record.timestamp_ms, record.value.unwrap_or_default().to_vec());
                    seen.push((next, record.timestamp_ms));
                    let known = self.kept.entry(next).or_insert_with(|| found.clone());
                    assert_eq!(*known, found, "offset {next} has changed");
                    next += 1;
                }
                rest = &rest[header.total_bytes()..];
            }
        }
        if !self.retained {
            check_times(disk, log, &seen).await;
        }
    }

    async fn work(&mut self, disk: &Rc<dyn Disk>, log: &Rc<Log>, script: &mut Script<'_>) -> End {
        let mut under_way: Vec<Sent> = Vec::new();
        loop {
            self.steps += 1;
            let Some(step) = script.step().filter(|_| self.steps <= STEPS_MAX) else {
                self.settle(&mut under_way).await;
                self.check(&**disk, log).await;
                return End::Over;
            };
            match step % 16 {
                0..=6 => under_way.push(self.send(log, script)),
                7 | 8 => self.settle(&mut under_way).await,
                9 => turns(script.byte()).await,
                10 => self.delete(log, script).await,
                11 => {
                    self.settle(&mut under_way).await;
                    self.check(&**disk, log).await;
                }
                12 => self.configure(log, script),
                13 => {
                    self.lives.clock.advance(1 << (script.byte() % 30));
                    log.on_deadline(self.lives.clock.now_ms());
                }
                14 => self.lives.checkpoint = Some(log.checkpoint_entry()),
                _ => match script.byte() % 3 {
                    0 => return End::Killed,
                    1 => return End::PowerCut,
                    _ => {
                        self.settle(&mut under_way).await;
                        return End::Closed;
                    }
                },
            }
        }
    }
}

impl World {
    fn send(&mut self, log: &Log, script: &mut Script<'_>) -> Sent {
        let mut builder = BatchBuilder::new(script.choose(&[Codec::None, Codec::None, Codec::None, Codec::Lz4]), None);
        let count = 1 + script.below(4);
        if script.byte().is_multiple_of(4) {
            let (id, sequence) = &mut self.producers[script.below(2)];
            builder.producer(*id, 0, *sequence);
            *sequence += i32::try_from(count).expect("it is small");
        }
        let mut records = Vec::new();
        for _ in 0..count {
            self.values += 1;
            let padding = usize::from(script.byte()) * 2;
            let timestamp_ms = NOW_MS + script.number().clamp(-100_000, 1 << 32);
            let value = [&self.values.to_be_bytes()[..], &vec![b'.'; padding]].concat();
            builder.push(timestamp_ms, None, Some(&value), &[]);
            records.push((timestamp_ms, value));
        }
        let batch = builder.finish();
        let header = BatchHeader::parse(&batch).expect("what is built is sound");
        Sent { records, answer: log.append(batch, header) }
    }

    async fn settle(&mut self, under_way: &mut Vec<Sent>) {
        for Sent { records, answer } in under_way.drain(..) {
            match answer.await.expect("every append is answered") {
                Ok(appended) => {
                    assert!(!appended.duplicate, "no batch is sent twice here");
                    for (offset, record) in (appended.base_offset.get()..).zip(records) {
                        let before = self.kept.insert(offset, record);
                        assert!(before.is_none(), "offset {offset} is given twice");
                    }
                }
                Err(AppendError::OutOfOrderSequence) => self.producers = self.producers.map(|(id, _)| (id + 2, 0)),
                Err(AppendError::TooLargeForSegment) => {}
                Err(error) => panic!("the disk is well, and still: {error}"),
            }
        }
    }

    async fn delete(&mut self, log: &Log, script: &mut Script<'_>) {
        let watermarks = log.reader().watermarks();
        let before = match script.byte() {
            0..=99 => watermarks.log_start.get() + i64::from(script.byte() % 16),
            100..=199 => watermarks.high_watermark.get(),
            _ => script.number().max(0),
        };
        let offset = Offset::new(before).expect("it is not negative");
        match log.delete_records_before(offset).await {
            Ok(log_start) => {
                assert!(log_start >= offset, "it answered {log_start} for {offset}");
                self.deleted_to = self.deleted_to.max(before);
                self.log_start = self.log_start.max(log_start.get());
            }
            Err(LogError::OffsetOutOfRange(_)) => assert!(offset > watermarks.high_watermark),
            Err(error) => panic!("the disk is well, and still: {error}"),
        }
    }

    fn configure(&mut self, log: &Log, script: &mut Script<'_>) {
        let retention_bytes = script.choose(&[None, None, Some(0), Some(3_000)]);
        let retention_ms = script.choose(&[None, None, Some(0), Some(1_000_000)]);
        self.retained |= retention_bytes.is_some() || retention_ms.is_some();
        self.lives.config = LogConfig {
            segment_bytes: script.choose(&[2_000, 1_000, 20_000, 1]),
            segment_ms: script.choose(&[i64::MAX, 1_000, 1]),
            index_interval_bytes: script.choose(&[200, 0, 1, 4096]),
            unsynced_bytes_max: script.choose(&[1_500, 3_000, 1 << 20]),
            retention_bytes,
            retention_ms,
            ..self.lives.config.clone()
        };
        // Recovery must know every bound that ever held: the broker checkpoints before one shrinks.
        self.lives.checkpoint = Some(log.checkpoint_entry());
        log.set_config(self.lives.config.clone());
    }
}

/// What a look-up by time finds is what a walk finds.
async fn check_times(disk: &dyn Disk, log: &Log, seen: &[(i64, i64)]) {
    let reader = log.reader();
    let middle = seen.get(seen.len() / 2).map_or(NOW_MS, |(_, timestamp_ms)| *timestamp_ms);
    for wanted in [middle, middle + 1, i64::MAX, 0] {
        let expected = seen.iter().find(|(_, timestamp_ms)| *timestamp_ms >= wanted).copied();
        let found = reader.find_timestamp(disk, wanted).await.expect("the disk is well");
        assert_eq!(found.map(|found| (found.offset.get(), found.timestamp_ms)), expected, "the first at {wanted}");
    }
    // The first of the largest. A batch that is deleted in part still bears its largest timestamp, which may be a deleted record's.
    if seen.first().is_some_and(|(first, _)| *first > 0) {
        return;
    }
    let largest = seen.iter().rev().max_by_key(|(_, timestamp_ms)| *timestamp_ms).copied();
    let found = reader.max_timestamp(disk).await.expect("the disk is well");
    assert_eq!(found.map(|found| (found.offset.get(), found.timestamp_ms)), largest, "the largest timestamp");
}
