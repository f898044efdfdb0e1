//! The driver for recovery: a log is opened over any files, on the simulated disk without a fault.
//!
//! Whatever lies there, opening ends in a log that serves or in a quarantine that has changed no byte; what is cut lies aside; a
//! log that serves takes appends and opens again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use ringmill_batch::{BatchBuilder, BatchHeader, Codec, Offset, check_stored};
use ringmill_engine::checkpoint::{CheckpointEntry, SegmentTimes};
use ringmill_engine::clock::ManualClock;
use ringmill_engine::disk::sim::{SimOptions, Simulation};
use ringmill_engine::disk::{Disk, OpenHow, block_on};
use ringmill_engine::log::{Identity, Log, LogConfig, LogEnv, OpenError, ReadError, StartInfo};
use ringmill_engine::partition_meta::PartitionMeta;
use ringmill_engine::verify::{ProblemKind, VerifyOptions, verify};

use crate::batch::mend_checksums;
use crate::engine::in_frame;
use crate::scratch;

const DIR: &str = "/t-0";

const ID: Identity = Identity { topic_id: [7; 16], partition: 0 };

/// Kinds of file, by the number that stands for them in an input.
const SUFFIXES: [&str; 4] = ["log", "index", "timeindex", "producers"];

/// Stands for `partition.meta`; without such a file a new partition's is written.
const META: usize = SUFFIXES.len();

/// From this kind on a file has sound checksums, so that what lies behind them is reached.
const SOUND: u8 = 128;

/// What may be unsynced by the checkpoint's word: less than inputs are long, so that tails are cut and refused.
const UNSYNCED_BYTES_MAX: u64 = 600;

/// An input taken apart.
struct Input {
    clean: bool,
    recovery_point: Option<Offset>,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Input {
    /// A byte of flags (1: clean stop, 2: a checkpoint is there), the recovery point, then files: kind, base offset, two bytes of
    /// length (the last takes what is left), contents. A kind from [`SOUND`] on is given sound checksums.
    fn parse(data: &[u8]) -> Option<Input> {
        let (&[flags, recovery_point], mut rest) = data.split_first_chunk()?;
        let mut files = BTreeMap::new();
        while let Some((&[kind, base, high, low], behind)) = rest.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes([high, low])).min(behind.len());
            let (contents, behind) = behind.split_at(length);
            let sound = kind >= SOUND;
            let kind = usize::from(kind) % (META + 1);
            let name = match kind {
                META => "partition.meta".to_owned(),
                kind => format!("{base:020}.{}", SUFFIXES[kind]),
            };
            let contents = if sound { with_checksums(kind, contents) } else { contents.to_vec() };
            files.insert(Path::new(DIR).join(name), contents);
            rest = behind;
        }
        let recovery_point = Offset::new(recovery_point.into()).filter(|_| flags & 2 != 0);
        Some(Input { clean: flags & 1 != 0, recovery_point, files })
    }

    fn start_info(&self) -> StartInfo {
        let checkpoint = self.recovery_point.map(|recovery_point| CheckpointEntry {
            topic_id: ID.topic_id,
            partition: ID.partition,
            recovery_point,
            unsynced_bytes_max: UNSYNCED_BYTES_MAX,
            // The log begins with this segment, and a checkpoint knows its log.
            segments: vec![SegmentTimes { base_offset: Offset::ZERO, first_append_ms: None, last_append_ms: None }],
        });
        StartInfo { clean: self.clean, checkpoint }
    }
}

fn with_checksums(kind: usize, contents: &[u8]) -> Vec<u8> {
    match kind {
        0 => {
            let mut log = contents.to_vec();
            mend_checksums(&mut log);
            log
        }
        3 => in_frame(b"RMprodcr", 2, contents),
        META => in_frame(b"RMpartmt", 1, contents),
        _ => contents.to_vec(),
    }
}

/// See the file's page.
pub fn recovery(data: &[u8]) {
    let Some(input) = Input::parse(data) else { return };
    let disk: Rc<dyn Disk> = Rc::new(Simulation::new(0, SimOptions::default()).disk());
    block_on(&*disk, async {
        lay_out(&*disk, &input).await;
        let before = contents(&*disk).await;
        let log = match open(&disk, input.start_info()).await {
            Ok(log) => log,
            Err(OpenError::Quarantined(why)) => {
                assert!(
                    without_indexes(contents(&*disk).await) == without_indexes(before),
                    "a quarantine changed a file: {why}"
                );
                return;
            }
            Err(error) => panic!("the disk is well, and still: {error:?}"),
        };
        check_cuts(&input, &before, &contents(&*disk).await);
        let end = log.reader().watermarks().high_watermark;
        assert!(input.recovery_point.is_none_or(|point| point <= end), "the durable end {end} went back");
        let mut whole = false;
        if input.recovery_point.is_none() {
            whole = read_all(&*disk, &log).await;
        }
        append_and_reopen(&disk, log).await;
        if whole {
            agree(&*disk).await;
        }
    });
}

async fn open(disk: &Rc<dyn Disk>, start: StartInfo) -> Result<Rc<Log>, OpenError> {
    let env = LogEnv::new(Rc::clone(disk), Arc::new(ManualClock::new(1_700_000_000_000)));
    // No more may be unsynced by the configuration's word either, or it would outweigh the checkpoint's.
    let config = LogConfig {
        index_interval_bytes: 100,
        unsynced_bytes_max: UNSYNCED_BYTES_MAX,
        retention_ms: None,
        ..LogConfig::default()
    };
    Log::open(env, DIR.into(), ID, config, start).await
}

async fn lay_out(disk: &dyn Disk, input: &Input) {
    let healthy = "a healthy disk takes it";
    disk.create_dir(Path::new(DIR)).await.expect(healthy);
    PartitionMeta::new(ID).write(disk, Path::new(DIR)).await.expect(healthy);
    for (path, contents) in &input.files {
        let file = disk.open(path, OpenHow::CreateEmpty).await.expect(healthy);
        disk.write_all_at(&file, 0, vec![BytesMut::from(&contents[..])]).await.expect(healthy);
        disk.sync_all(&file).await.expect(healthy);
    }
    disk.sync_dir(Path::new(DIR)).await.expect(healthy);
}

async fn contents(disk: &dyn Disk) -> BTreeMap<String, BytesMut> {
    let mut files = BTreeMap::new();
    for entry in disk.list_dir(Path::new(DIR)).await.expect("it can be listed") {
        let file = disk.open(&Path::new(DIR).join(&entry.name), OpenHow::Read).await.expect("it can be opened");
        let length = disk.info(&file).await.expect("it has a length").length;
        let length = usize::try_from(length).expect("files are small here");
        files.insert(entry.name, disk.read_at(&file, 0, length).await.expect("it can be read"));
    }
    files
}

/// Indexes are derived: those of the segments before the damage may have been built anew.
fn without_indexes(mut files: BTreeMap<String, BytesMut>) -> BTreeMap<String, BytesMut> {
    files.retain(|name, _| !name.ends_with("index"));
    files
}

/// Segments may only lose zeros or what lies aside, and nothing at all after a clean stop.
fn check_cuts(input: &Input, before: &BTreeMap<String, BytesMut>, after: &BTreeMap<String, BytesMut>) {
    for (name, old) in before.iter().filter(|(name, _)| name.ends_with(".log")) {
        // Segments wholly below the log start go; that it stands above them is `partition.meta`'s word.
        let Some(new) = after.get(name) else { continue };
        let cut = old.strip_prefix(&new[..]).expect("a segment keeps what it had, up to a cut");
        let data_bytes = cut.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        if data_bytes == 0 {
            continue;
        }
        assert!(!input.clean, "{name}: {data_bytes} bytes were cut after a clean stop");
        let base = name.strip_suffix(".log").expect("segments are called so");
        let mut aside = after.iter().filter(|(name, _)| name.starts_with(base) && name.ends_with(".torn"));
        assert!(aside.any(|(_, torn)| torn[..].starts_with(&cut[..data_bytes])), "{name}: what was cut is gone");
    }
}

/// Without a recovery point everything was checked, so all of it reads; only a gap between offsets, and an epoch that reigned elsewhere, are
/// first seen by a reader, who then says so. True if there was neither.
async fn read_all(disk: &dyn Disk, log: &Log) -> bool {
    let reader = log.reader();
    let watermarks = reader.watermarks();
    let mut next = watermarks.log_start;
    while next < watermarks.high_watermark {
        // One batch each: a longer plan looks at the header of its first alone.
        let plan = match reader.plan(disk, next, 0, true).await {
            Ok(plan) => plan,
            Err(ReadError::OffsetOutOfRange { .. }) => panic!("{next} lies inside {watermarks:?}"),
            Err(ReadError::Damaged { .. }) => return false,
            Err(error) => panic!("{error:?} at {next}"),
        };
        let length = usize::try_from(plan.length).expect("plans are small here");
        let bytes = disk.read_at(plan.segment.file(), plan.position, length).await.expect("it can be read");
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let header = check_stored(rest).expect("what is served was checked");
            next = next.max(header.next_offset());
            rest = &rest[header.total_bytes()..];
        }
    }
    assert_eq!(next, watermarks.high_watermark);
    true
}

/// Whatever recovery has looked at and accepted, the offline check accepts too.
async fn agree(disk: &dyn Disk) {
    let directory = scratch::directory();
    let partition = directory.path().join("t-0");
    fs::create_dir(&partition).expect("a directory can be made");
    for (name, bytes) in contents(disk).await {
        fs::write(partition.join(name), bytes).expect("a small file can be written");
    }
    let report = verify(&partition, VerifyOptions::default()).expect("it can be looked at");
    let damage: Vec<_> = report.problems().filter(|problem| problem.kind == ProblemKind::Damage).collect();
    assert!(damage.is_empty(), "recovery has accepted {damage:#?}");
}

async fn append_and_reopen(disk: &Rc<dyn Disk>, log: Rc<Log>) {
    let before = log.reader().watermarks().high_watermark;
    let mut builder = BatchBuilder::new(Codec::None, None);
    builder.push(1_700_000_000_000, None, Some(b"one more"), &[]);
    let batch = builder.finish();
    let header = BatchHeader::parse(&batch).expect("it is sound");
    let work = async {
        let appended = log.append(batch, header).await.expect("it is answered").expect("a log that serves appends");
        assert_eq!(appended.base_offset, before);
        log.close().await.expect("a healthy disk closes")
    };
    let (entry, ()) = tokio::join!(work, Rc::clone(&log).drive());
    let again = open(disk, StartInfo { clean: true, checkpoint: Some(entry) }).await;
    let end = again.expect("what was closed opens").reader().watermarks().high_watermark;
    assert_eq!(Some(end), before.checked_add(1));
}
