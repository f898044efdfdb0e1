//! Tests of the whole log: what they share, and one file per concern. They run over plain system calls in a temporary directory,
//! or over the simulated disk where faults are wanted.

use std::future::Future;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use ringmill_batch::{BatchBuilder, BatchHeader, Codec, Offset};

use super::{AppendError, Appended, Identity, Log, LogConfig, LogEnv, OpenError, StartInfo};
use crate::checkpoint::CheckpointEntry;
use crate::clock::ManualClock;
use crate::disk::{Disk, PosixDisk, block_on};

mod appending;
mod compaction;
mod compaction_beside;
mod compaction_crashes;
mod compaction_damage;
mod compaction_limits;
mod crashes;
mod damage;
mod indexes;
mod no_space;
mod reading;
mod recovery;
mod retention;
mod writeback;

/// Where the tests' clock begins.
pub(super) const NOW_MS: i64 = 1_700_000_000_000;

pub(super) const ID: Identity = Identity { topic_id: [7; 16], partition: 0 };

/// A place for one log, with a clock that stands.
pub(super) struct Place {
    pub(super) disk: Rc<dyn Disk>,
    pub(super) clock: Arc<ManualClock>,
    root: tempfile::TempDir,
}

impl Place {
    pub(super) fn new() -> Place {
        Place::on(Rc::new(PosixDisk::new(2).unwrap()))
    }

    pub(super) fn on(disk: Rc<dyn Disk>) -> Place {
        Place { disk, clock: Arc::new(ManualClock::new(NOW_MS)), root: tempfile::tempdir().unwrap() }
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.root.path().join("t-0")
    }

    pub(super) fn env(&self) -> LogEnv {
        LogEnv::new(Rc::clone(&self.disk), Arc::<ManualClock>::clone(&self.clock))
    }

    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        block_on(&*self.disk, future)
    }

    pub(super) fn create(&self, config: LogConfig) -> Rc<Log> {
        self.block_on(Log::create(self.env(), self.dir(), ID, config)).unwrap()
    }

    pub(super) fn open(&self, config: LogConfig, start: StartInfo) -> Result<Rc<Log>, OpenError> {
        self.block_on(Log::open(self.env(), self.dir(), ID, config, start))
    }

    /// Runs `work` while the log is driven, and closes it.
    pub(super) fn drive<T>(&self, log: &Rc<Log>, work: impl Future<Output = T>) -> (T, CheckpointEntry) {
        let work = async {
            let result = work.await;
            (result, log.close().await.unwrap())
        };
        self.block_on(async { tokio::join!(Rc::clone(log).drive(), work).1 })
    }

    /// Creates, runs and closes in one.
    pub(super) fn run<T>(&self, config: LogConfig, work: impl AsyncFnOnce(&Rc<Log>) -> T) -> (T, CheckpointEntry) {
        let log = self.create(config);
        let driven = Rc::clone(&log);
        self.drive(&log, async move { work(&driven).await })
    }

    /// Names of the files in the partition's directory that end in `suffix`, sorted.
    pub(super) fn files(&self, suffix: &str) -> Vec<String> {
        let names = std::fs::read_dir(self.dir()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(suffix)).collect();
        names.sort();
        names
    }
}

/// A batch of `records` records, each with `value_bytes` of value and a timestamp one later than the one before.
pub(super) fn batch(timestamp_ms: i64, records: usize, value_bytes: usize) -> BytesMut {
    let mut builder = BatchBuilder::new(Codec::None, None);
    for number in 0..records {
        let value = vec![b'a' + u8::try_from(number % 26).unwrap(); value_bytes];
        builder.push(timestamp_ms + i64::try_from(number).unwrap(), None, Some(&value), &[]);
    }
    builder.finish()
}

/// A batch of one record from an idempotent producer.
pub(super) fn produced(producer_id: i64, epoch: i16, sequence: i32) -> BytesMut {
    let mut builder = BatchBuilder::new(Codec::None, None);
    builder.producer(producer_id, epoch, sequence);
    builder.push(NOW_MS, None, Some(b"value"), &[]);
    builder.finish()
}

pub(super) async fn append(log: &Log, batch: BytesMut) -> Result<Appended, AppendError> {
    let header = BatchHeader::parse(&batch).unwrap();
    log.append(batch, header).await.unwrap()
}

pub(super) fn offset(value: i64) -> Offset {
    Offset::new(value).unwrap()
}

/// Base offset and record count of every batch that a sequential reader gets, planning `limit_bytes` at a time.
pub(super) async fn read_all(log: &Log, disk: &dyn Disk, limit_bytes: u64) -> Vec<(i64, i32)> {
    let reader = log.reader();
    let mut next = reader.watermarks().log_start;
    let mut batches = Vec::new();
    while next < reader.watermarks().high_watermark {
        let plan = reader.plan(disk, next, limit_bytes, true).await.unwrap();
        let length = usize::try_from(plan.length).unwrap();
        let bytes = disk.read_at(plan.segment.file(), plan.position, length).await.unwrap();
        assert_eq!(bytes.len(), length, "a plan lies inside its file");
        for batch in whole_batches(&bytes) {
            let header = ringmill_batch::check_stored(batch).unwrap();
            batches.push((header.base_offset.get(), header.record_count));
            next = header.next_offset();
        }
        assert!(plan.next_offset <= next, "a plan never promises more than it holds");
    }
    batches
}

/// The batches of a planned range; nothing but a cut one may follow them.
pub(super) fn whole_batches(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut batches, mut rest) = (Vec::new(), bytes);
    while rest.len() >= BatchHeader::BYTES {
        let header = BatchHeader::parse(rest).expect("a planned range holds batches and nothing else");
        if header.total_bytes() > rest.len() {
            break;
        }
        let (batch, behind) = rest.split_at(header.total_bytes());
        batches.push(batch);
        rest = behind;
    }
    batches
}

/// Whoever reads while writes are under way must not meet what a power cut could take.
fn no_more_is_visible_than_durable(log: &Log) -> bool {
    log.reader().watermarks().high_watermark <= log.checkpoint_entry().recovery_point
}
