//! Every class of damage, by hand and by chance: what repair makes of it is sound, is served, and holds all that was not damaged.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use ringmill_batch::{BatchBuilder, BatchHeader, Codec, Offset};

use super::hand::Hand;
use super::{Known, Plan, apply, plan};
use crate::checkpoint::{self, CheckpointEntry};
use crate::clock::SystemClock;
use crate::data_dir::{DataDir, DiskSpace, Fresh, Superblock};
use crate::disk::{Disk, PosixDisk, block_on};
use crate::log::{Identity, Log, LogConfig, LogEnv, StartInfo};
use crate::partition_meta::PartitionMeta;
use crate::verify::{SegmentBatches, VerifyOptions, segment_files, verify};

mod by_chance;
mod by_hand;

const ID: Identity = Identity { topic_id: [7; 16], partition: 0 };
const PARTITION: &str = "logs-0";

/// A batch that was acknowledged, and where it lies.
#[derive(Clone, Debug)]
struct Stored {
    offset: i64,
    log: String,
    position: u64,
    bytes: Vec<u8>,
}

/// A data directory with one partition of some segments, made by the engine and stopped cleanly; damaged by the test.
struct Place {
    root: tempfile::TempDir,
    stored: Vec<Stored>,
}

fn disk() -> Rc<dyn Disk> {
    Rc::new(PosixDisk::new(1).unwrap())
}

fn batch(number: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Codec::None, None);
    if number % 3 == 0 {
        builder.producer(number, 0, 0);
    }
    for record in 0..=number % 4 {
        let value =
            format!("record {record} of batch {number}, {}", "x".repeat(usize::try_from(number % 7).unwrap() * 20));
        builder.push(1_700_000_000_000 + number * 10, None, Some(value.as_bytes()), &[]);
    }
    builder.finish().to_vec()
}

/// Creates the log, or opens it as after an unclean stop, and appends batches of these numbers.
async fn write_batches(
    disk: &Rc<dyn Disk>,
    root: &Path,
    checkpoint: Option<CheckpointEntry>,
    numbers: Range<i64>,
) -> CheckpointEntry {
    let config = LogConfig { segment_bytes: 3000, index_interval_bytes: 300, ..LogConfig::default() };
    let env = LogEnv { disk: Rc::clone(disk), clock: Arc::new(SystemClock), space: DiskSpace::unlimited() };
    let dir = root.join(PARTITION);
    let log = match checkpoint {
        None => Log::create(env, dir, ID, config).await.unwrap(),
        checkpoint => Log::open(env, dir, ID, config, StartInfo { clean: false, checkpoint }).await.unwrap(),
    };
    let work = async {
        for number in numbers {
            let batch = batch(number);
            let header = BatchHeader::parse(&batch).unwrap();
            log.append(batch[..].into(), header).await.unwrap().unwrap();
        }
        log.close().await.unwrap()
    };
    tokio::join!(Rc::clone(&log).drive(), work).1
}

impl Place {
    fn new() -> Place {
        Place::with_reigns(1)
    }

    /// Its 60 batches were written in so many reigns, with an unclean stop between two.
    fn with_reigns(reigns: i64) -> Place {
        let root = tempfile::tempdir().unwrap();
        let disk = disk();
        let fresh = Fresh { cluster_id: [1; 16], directory_id: [2; 16] };
        block_on(&*disk, async {
            let data_dir = DataDir::open(&*disk, root.path(), 1, fresh).await.unwrap();
            let mut checkpoint = None;
            for reign in 0..reigns {
                let numbers = reign * 60 / reigns..(reign + 1) * 60 / reigns;
                checkpoint = Some(write_batches(&disk, root.path(), checkpoint, numbers).await);
            }
            checkpoint::write(&*disk, root.path(), 0, &checkpoint.into_iter().collect::<Vec<_>>()).await.unwrap();
            data_dir.mark_clean(&*disk).await.unwrap();
        });
        let stored = stored(&root.path().join(PARTITION));
        assert_eq!(stored.len(), 60);
        let place = Place { root, stored };
        assert!(place.logs().len() > 4, "{:?}", place.logs());
        assert_eq!(epochs(&place).len(), usize::try_from(reigns).unwrap());
        place.assert_sound();
        place
    }

    /// The same directory once more.
    fn again(&self) -> Place {
        let root = tempfile::tempdir().unwrap();
        copy_tree(self.root.path(), root.path());
        Place { root, stored: self.stored.clone() }
    }

    fn path(&self) -> &Path {
        self.root.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(PARTITION).join(name)
    }

    /// The segments' file names.
    fn logs(&self) -> Vec<String> {
        names(&self.path().join(PARTITION), ".log")
    }

    fn change(&self, file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(file).unwrap();
        change(&mut bytes);
        fs::write(file, bytes).unwrap();
    }

    /// The last stop counts as unclean.
    fn make_unclean(&self) {
        let disk = disk();
        let superblock = block_on(&*disk, Superblock::read(&*disk, self.path())).unwrap();
        fs::write(self.path().join("superblock"), Superblock { clean: false, ..superblock }.to_file()).unwrap();
    }

    fn plan(&self) -> Plan {
        plan(self.path(), &known()).unwrap()
    }

    /// Repairs, and checks that a second repair would find nothing.
    fn repair(&self) -> Plan {
        let before = tree(self.path());
        let planned = self.plan();
        assert_eq!(tree(self.path()), before, "a plan changes nothing");
        assert!(planned.left.is_empty(), "{:?}", planned.left);
        let applied = planned.apply().unwrap();
        self.assert_sound();
        self.assert_copied(&before, &applied.copies);
        planned
    }

    fn assert_sound(&self) {
        let report = verify(self.path(), VerifyOptions::default()).unwrap();
        let problems: Vec<_> = report.problems().map(|problem| format!("{problem}: {}", problem.meaning)).collect();
        assert!(problems.is_empty(), "{problems:#?}");
        let again = self.plan();
        assert!(again.is_empty() && again.left.is_empty(), "{again:#?}");
    }

    /// Whatever is not as it was is in the copies.
    fn assert_copied(&self, before: &BTreeMap<PathBuf, Vec<u8>>, copies: &Path) {
        let after = tree(self.path());
        for (file, bytes) in before {
            // What a stopped repair was writing is nobody's.
            if !file.to_str().is_some_and(|name| name.ends_with(".tmp")) && after.get(file) != Some(bytes) {
                let copy = copies.strip_prefix(fs::canonicalize(self.path()).unwrap()).unwrap().join(file);
                assert!(after.get(&copy) == Some(bytes), "{} is not in the copies", file.display());
            }
        }
    }

    /// Opens the partition as a start would, and reads everything, by offset.
    fn serve(&self) -> BTreeMap<i64, Vec<u8>> {
        let disk = disk();
        block_on(&*disk, async {
            let clean = Superblock::read(&*disk, self.path()).await.unwrap().clean;
            let entries = checkpoint::read_all(&*disk, self.path()).await.unwrap();
            let start = StartInfo { clean, checkpoint: entries.into_iter().next() };
            let env = LogEnv { disk: Rc::clone(&disk), clock: Arc::new(SystemClock), space: DiskSpace::unlimited() };
            let dir = self.path().join(PARTITION);
            let log = Log::open(env, dir.clone(), ID, LogConfig::default(), start).await.unwrap();
            assert_eq!(log.recovery_report().torn_tail, None);
            let reader = log.reader();
            let (mut next, mut batches) = (reader.watermarks().log_start, BTreeMap::new());
            let files = segment_files(&dir).unwrap();
            let stored = files.iter().flat_map(|log| SegmentBatches::open(log).unwrap()).map(Result::unwrap);
            for batch in stored.filter(|batch| batch.header.next_offset() > reader.watermarks().log_start) {
                let header = batch.header;
                assert!(header.base_offset <= next && next < header.next_offset(), "a hole at {next}: {header:?}");
                // A fetch that begins at an empty batch gets what follows it.
                let plan = reader.plan(&*disk, next, 1, true).await.unwrap();
                assert!(plan.position == batch.position || header.record_count == 0, "{plan:?} for {header:?}");
                batches.insert(header.base_offset.get(), batch.bytes().to_vec());
                next = header.next_offset();
            }
            assert_eq!(next, reader.watermarks().high_watermark);
            batches
        })
    }

    /// Everything that `is_kept` is served as it was written.
    fn assert_served(&self, is_kept: impl Fn(&Stored) -> bool) {
        let served = self.serve();
        for stored in self.stored.iter().filter(|stored| is_kept(stored)) {
            assert!(served.get(&stored.offset) == Some(&stored.bytes), "offset {} is gone: {stored:?}", stored.offset);
        }
    }

    fn end(&self) -> i64 {
        let last = BatchHeader::parse(&self.stored.last().unwrap().bytes).unwrap();
        last.next_offset().get()
    }
}

fn known() -> Known {
    let superblock = Superblock {
        cluster_id: [1; 16],
        directory_id: [2; 16],
        node_id: 1,
        incarnation: 1,
        features: 0,
        clean: false,
    };
    Known { identities: BTreeMap::from([(PARTITION.to_owned(), ID)]), superblock: Some(superblock) }
}

/// Every batch of the partition in `directory`.
fn stored(directory: &Path) -> Vec<Stored> {
    let mut all = Vec::new();
    for log in names(directory, ".log") {
        let bytes = fs::read(directory.join(&log)).unwrap();
        let mut at = 0;
        while at < bytes.len() {
            let header = ringmill_batch::check_stored(&bytes[at..]).unwrap();
            let batch = bytes[at..at + header.total_bytes()].to_vec();
            all.push(Stored { offset: header.base_offset.get(), log: log.clone(), position: at as u64, bytes: batch });
            at += header.total_bytes();
        }
    }
    all
}

fn names(directory: &Path, suffix: &str) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(suffix)).collect();
    names.sort();
    names
}

/// Every file below `root` by its path there.
fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(at: &Path, root: &Path, into: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, root, into),
                false => drop(into.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read(&path).unwrap())),
            }
        }
    }
    let mut files = BTreeMap::new();
    walk(root, root, &mut files);
    files
}

fn copy_tree(from: &Path, to: &Path) {
    for (file, bytes) in tree(from) {
        let target = to.join(file);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, bytes).unwrap();
    }
}

/// The leader epochs of the partition's meta.
fn epochs(place: &Place) -> Vec<(i32, i64)> {
    let disk = disk();
    let meta = block_on(&*disk, PartitionMeta::read(&*disk, &place.path().join(PARTITION))).unwrap();
    meta.epochs.entries().iter().map(|(epoch, start)| (epoch.get(), start.get())).collect()
}

fn offset(value: i64) -> Offset {
    Offset::new(value).unwrap()
}

/// Applies a plan that is stopped after `steps` changes; false if it came to its end before.
fn stops_after(plan: &Plan, steps: u64) -> bool {
    apply::apply(plan, &Hand::stopping_after(steps)).is_err()
}
