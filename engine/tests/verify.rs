//! The offline checks find what was broken, name file and position, and leave sound files and every byte alone.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use ringmill_batch::{BatchBuilder, BatchHeader, Codec, DecompressLimit, LeaderEpoch, Offset, stamp};
use ringmill_engine::clock::SystemClock;
use ringmill_engine::disk::{Disk, PosixDisk, block_on};
use ringmill_engine::log::{Identity, Log, LogConfig, LogEnv};
use ringmill_engine::verify::{ProblemKind, SegmentBatches, VerifyOptions, segment_files, verify};

/// A batch of `count` records whose largest timestamp is `timestamp_ms`.
fn batch(base_offset: i64, count: i64, timestamp_ms: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Codec::None, None);
    for _ in 0..count {
        builder.push(timestamp_ms, None, Some(b"a line of a log"), &[]);
    }
    let mut batch = builder.finish();
    stamp(&mut batch, Offset::new(base_offset).unwrap(), LeaderEpoch::ZERO);
    batch.to_vec()
}

/// Two segments: offsets 100–109 in three batches with both indexes and a tail of zeros in the second, 90–99 in the first.
struct Partition {
    directory: tempfile::TempDir,
    /// Where the batches of the second segment begin.
    positions: [u64; 3],
}

const FIRST: &str = "00000000000000000090.log";
const SECOND: &str = "00000000000000000100.log";
const OFFSET_INDEX: &str = "00000000000000000100.index";
const TIME_INDEX: &str = "00000000000000000100.timeindex";

impl Partition {
    fn new() -> Partition {
        let directory = tempfile::tempdir().unwrap();
        let (a, b, c) = (batch(100, 2, 1_000), batch(102, 3, 900), batch(105, 5, 2_000));
        let positions = [0, a.len() as u64, (a.len() + b.len()) as u64];
        fs::write(directory.path().join(FIRST), batch(90, 10, 500)).unwrap();
        fs::write(directory.path().join(SECOND), [a, b, c, vec![0; 4096]].concat()).unwrap();
        let offset_entry = |relative: u32, position: u64| {
            [relative.to_be_bytes(), u32::try_from(position).unwrap().to_be_bytes()].concat()
        };
        let time_entry =
            |timestamp_ms: i64, relative: u32| [&timestamp_ms.to_be_bytes()[..], &relative.to_be_bytes()[..]].concat();
        let offsets = [offset_entry(4, positions[1]), offset_entry(9, positions[2])].concat();
        fs::write(directory.path().join(OFFSET_INDEX), offsets).unwrap();
        fs::write(directory.path().join(TIME_INDEX), [time_entry(1_000, 1), time_entry(2_000, 9)].concat()).unwrap();
        Partition { directory, positions }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.path(name)).unwrap();
        change(&mut bytes);
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Every problem as kind, file name and position.
    fn problems(&self) -> Vec<(ProblemKind, String, u64)> {
        problems_at(self.directory.path())
    }
}

fn problems_at(path: &Path) -> Vec<(ProblemKind, String, u64)> {
    let options = VerifyOptions { records: Some(DecompressLimit::default()) };
    let report = verify(path, options).unwrap();
    let name = |file: &Path| file.file_name().unwrap().to_str().unwrap().to_owned();
    report.problems().map(|problem| (problem.kind, name(&problem.file), problem.position)).collect()
}

fn index(low: u64) -> usize {
    usize::try_from(low).unwrap()
}

#[test]
fn a_sound_partition_has_no_problems_and_is_counted() {
    let partition = Partition::new();
    assert_eq!(partition.problems(), []);
    let report = verify(partition.directory.path(), VerifyOptions::default()).unwrap();
    let segments: Vec<_> = report.segments().collect();
    assert_eq!((segments[0].batches, segments[0].records, segments[0].offset_entries), (1, 10, None));
    let second = segments[1];
    assert_eq!((second.batches, second.records, second.next_offset.get()), (3, 10, 110));
    assert_eq!((second.zero_bytes, second.max_timestamp_ms), (4096, Some(2_000)));
    assert_eq!((second.offset_entries, second.time_entries), (Some(2), Some(2)));
    assert_eq!(second.bytes + second.zero_bytes, fs::metadata(&second.path).unwrap().len());
}

#[test]
fn a_file_a_partition_and_a_data_directory_are_told_apart() {
    let partition = Partition::new();
    let data = tempfile::tempdir().unwrap();
    fs::rename(partition.directory.path(), data.path().join("logs-0")).unwrap();
    let first = data.path().join("logs-0").join(FIRST);
    for path in [data.path(), &data.path().join("logs-0"), &first] {
        assert_eq!(problems_at(path), []);
    }
    assert_eq!(segment_files(data.path()).unwrap().len(), 2);
    assert_eq!(segment_files(&first).unwrap(), [first]);
    assert!(segment_files(&data.path().join("nothing")).is_err());
    let empty = tempfile::tempdir().unwrap();
    assert!(verify(empty.path(), VerifyOptions::default()).is_err());
}

#[test]
fn a_flipped_bit_is_named_and_the_batches_behind_it_are_still_seen() {
    let partition = Partition::new();
    let position = partition.positions[1];
    partition.change(SECOND, |bytes| bytes[index(position) + 70] ^= 1);
    assert_eq!(partition.problems(), [(ProblemKind::Damage, SECOND.to_owned(), position)]);
    let report = verify(partition.directory.path(), VerifyOptions::default()).unwrap();
    assert_eq!(report.segments().last().unwrap().batches, 3);
}

#[test]
fn a_broken_header_ends_the_walk_without_blaming_the_indexes() {
    let partition = Partition::new();
    let position = partition.positions[1];
    partition.change(SECOND, |bytes| bytes[index(position) + 16] = 9);
    assert_eq!(partition.problems(), [(ProblemKind::Damage, SECOND.to_owned(), position)]);
}

#[test]
fn a_batch_cut_off_is_damage() {
    let partition = Partition::new();
    let position = partition.positions[2];
    partition.change(SECOND, |bytes| bytes.truncate(index(position) + 80));
    assert_eq!(partition.problems(), [(ProblemKind::Damage, SECOND.to_owned(), position)]);
}

#[test]
fn zeros_are_secured_space_only_in_the_newest_segment() {
    let partition = Partition::new();
    let end = fs::metadata(partition.path(FIRST)).unwrap().len();
    partition.change(FIRST, |bytes| bytes.extend([0; 100]));
    assert_eq!(partition.problems(), [(ProblemKind::Damage, FIRST.to_owned(), end)]);
}

#[test]
fn missing_and_repeated_offsets_are_told_apart() {
    let partition = Partition::new();
    partition.change(FIRST, |bytes| stamp(bytes, Offset::new(91).unwrap(), LeaderEpoch::ZERO));
    let expected = [(ProblemKind::Gap, FIRST.to_owned(), 0), (ProblemKind::Damage, SECOND.to_owned(), 0)];
    assert_eq!(partition.problems(), expected);
    partition.change(FIRST, |bytes| *bytes = batch(90, 9, 500));
    assert_eq!(partition.problems(), [(ProblemKind::Gap, SECOND.to_owned(), 0)]);
}

#[test]
fn an_epoch_that_goes_back_is_damage() {
    let partition = Partition::new();
    partition.change(SECOND, |bytes| stamp(bytes, Offset::new(100).unwrap(), LeaderEpoch::new(3).unwrap()));
    let [_, second, third] = partition.positions;
    let expected = [second, third].map(|position| (ProblemKind::Damage, SECOND.to_owned(), position));
    assert_eq!(partition.problems(), expected);
}

#[test]
fn each_wrong_index_entry_is_named() {
    let cases: [(&str, usize, u64); 6] = [
        (OFFSET_INDEX, 3, 0),  // the first entry's offset
        (OFFSET_INDEX, 7, 0),  // its position, inside a batch
        (OFFSET_INDEX, 12, 8), // the second's position, behind the log
        (TIME_INDEX, 7, 0),    // the first entry's timestamp
        (TIME_INDEX, 11, 0),   // its offset, inside a batch
        (TIME_INDEX, 20, 12),  // the second's offset, behind the log
    ];
    for (name, at, position) in cases {
        let partition = Partition::new();
        partition.change(name, |bytes| bytes[at] ^= 1);
        assert_eq!(partition.problems(), [(ProblemKind::Index, name.to_owned(), position)], "{name} byte {at}");
    }
}

#[test]
fn an_index_that_does_not_rise_or_is_cut_is_named() {
    let partition = Partition::new();
    partition.change(OFFSET_INDEX, |bytes| bytes.truncate(12));
    assert_eq!(partition.problems(), [(ProblemKind::Index, OFFSET_INDEX.to_owned(), 8)]);
    let partition = Partition::new();
    partition.change(TIME_INDEX, |bytes| bytes.copy_within(0..12, 12));
    let found = partition.problems();
    assert!(found.contains(&(ProblemKind::Index, TIME_INDEX.to_owned(), 12)), "{found:?}");
}

#[test]
fn a_missing_index_and_kafkas_zero_filled_one_are_no_problem() {
    let partition = Partition::new();
    fs::remove_file(partition.path(OFFSET_INDEX)).unwrap();
    partition.change(TIME_INDEX, |bytes| bytes.resize(120, 0));
    assert_eq!(partition.problems(), []);
}

#[test]
fn a_dump_gives_every_batch_with_its_place_and_records() {
    let partition = Partition::new();
    let batches: Vec<_> = SegmentBatches::open(&partition.path(SECOND)).unwrap().map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(|batch| batch.position).collect::<Vec<_>>(), partition.positions);
    assert!(batches.iter().all(|batch| batch.crc_is_right()));
    let records = batches[2].records(DecompressLimit::default()).unwrap();
    let offsets: Vec<_> = records.iter().map(|record| record.unwrap().offset.get()).collect();
    assert_eq!(offsets, [105, 106, 107, 108, 109]);
}

#[test]
fn nothing_is_changed_by_looking() {
    let partition = Partition::new();
    let contents = || {
        let names = [FIRST, SECOND, OFFSET_INDEX, TIME_INDEX];
        names.map(|name| {
            (fs::read(partition.path(name)).unwrap(), fs::metadata(partition.path(name)).unwrap().modified().unwrap())
        })
    };
    let before = contents();
    let _ = partition.problems();
    assert_eq!(contents(), before);
    assert_eq!(fs::read_dir(partition.directory.path()).unwrap().count(), 4);
}

#[test]
fn what_the_log_writes_is_sound_to_the_last_index_entry() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("logs-0");
    let disk: Rc<dyn Disk> = Rc::new(PosixDisk::new(2).unwrap());
    let env = LogEnv::new(Rc::clone(&disk), Arc::new(SystemClock));
    let config = LogConfig { segment_bytes: 10_000, index_interval_bytes: 500, ..LogConfig::default() };
    let id = Identity { topic_id: [7; 16], partition: 0 };
    block_on(&*disk, async {
        let log = Log::create(env, directory.clone(), id, config).await.unwrap();
        let work = async {
            for number in 0..300_i64 {
                // Timestamps rise and fall, so that not every offset entry comes with a time entry.
                let batch = batch(0, number % 5 + 1, 1_700_000_000_000 + number * 10 % 170);
                let header = BatchHeader::parse(&batch).unwrap();
                log.append(batch[..].into(), header).await.unwrap().unwrap();
            }
            log.close().await.unwrap();
        };
        tokio::join!(Rc::clone(&log).drive(), work);
    });
    assert_eq!(problems_at(root.path()), []);
    let report = verify(&directory, VerifyOptions::default()).unwrap();
    let segments: Vec<_> = report.segments().collect();
    assert!(segments.len() > 2, "{} segments", segments.len());
    assert_eq!(segments.iter().map(|segment| segment.batches).sum::<u64>(), 300);
    assert!(segments.iter().all(|segment| segment.offset_entries > Some(5) && segment.time_entries > Some(0)));
}

/// A broker without a topic has nothing to verify, which is no mistake; a path that was mistyped is one.
#[test]
fn a_data_directory_without_partitions_is_sound_and_any_other_without_is_a_mistake() {
    let directory = tempfile::tempdir().unwrap();
    let refused = verify(directory.path(), VerifyOptions::default()).unwrap_err();
    assert!(refused.to_string().contains("no segment here"), "{refused}");
    fs::write(directory.path().join("superblock"), b"as a broker makes it").unwrap();
    assert!(verify(directory.path(), VerifyOptions::default()).unwrap().partitions.is_empty());
}
