//! Ties `engine/FORMAT.md` to the code: the example bytes of its tables are read as what they say, and written again to the last byte.
//!
//! The page is the golden file of every format. A layout that changes takes a new version and keeps the old table.

use bytes::BytesMut;
use ringmill_batch::{BatchBuilder, Codec, LeaderEpoch, Offset, check_stored, stamp};

use crate::checkpoint::{self, CheckpointEntry, SegmentTimes};
use crate::data_dir::Superblock;
use crate::disk::{Disk, PosixDisk, block_on};
use crate::log::{Identity, producers};
use crate::partition_meta::PartitionMeta;
use crate::producer_state::ProducerState;
use crate::segment::index::IndexEntry;
use crate::segment::offset_index::OffsetEntry;
use crate::segment::time_index::TimeEntry;

const PAGE: &str = include_str!("../FORMAT.md");

const NOW_MS: i64 = 1_700_000_000_000;

/// The example of the table below `heading`; its offsets and lengths must be those of the bytes.
fn example(heading: &str) -> Vec<u8> {
    let (_, below) = PAGE.split_once(&format!("\n### {heading}\n")).unwrap_or_else(|| panic!("no heading {heading}"));
    let rows =
        below.lines().skip_while(|line| !line.starts_with("| ")).take_while(|line| line.starts_with('|')).skip(2);
    let mut bytes = Vec::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [at, length, _, example] = cells[..] else { panic!("{row}") };
        let hex = example.trim_matches('`').split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap());
        let field: Vec<u8> = hex.collect();
        assert_eq!((at, length), (bytes.len().to_string().as_str(), field.len().to_string().as_str()), "{row}");
        bytes.extend(field);
    }
    assert!(!bytes.is_empty(), "{heading} has no table");
    bytes
}

fn offset(value: i64) -> Offset {
    Offset::new(value).unwrap()
}

/// Writes the example where `read` will look for it, and gives what it says.
fn read_back<T>(name: &str, bytes: &[u8], read: impl AsyncFnOnce(&dyn Disk, &std::path::Path) -> T) -> T {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(name), bytes).unwrap();
    let disk = PosixDisk::new(1).unwrap();
    block_on(&disk, read(&disk, dir.path()))
}

#[test]
fn superblock() {
    let superblock = Superblock {
        cluster_id: *b"cluster-id-here!",
        directory_id: *b"directory-id-is!",
        node_id: 7,
        incarnation: 258,
        features: 0,
        clean: true,
    };
    let bytes = example("superblock");
    assert_eq!(superblock.to_file(), bytes);
    let found = read_back("superblock", &bytes, async |disk, dir| Superblock::read(disk, dir).await.unwrap());
    assert_eq!(found, superblock);
}

#[test]
fn partition_meta() {
    let mut meta = PartitionMeta::new(Identity { topic_id: [7; 16], partition: 3 });
    meta.log_start = offset(5);
    meta.epochs.begin(LeaderEpoch::new(1).unwrap(), offset(9));
    let bytes = example("partition.meta");
    assert_eq!(meta.to_file(), bytes);
    let found = read_back("partition.meta", &bytes, async |disk, dir| PartitionMeta::read(disk, dir).await.unwrap());
    assert_eq!(found, meta);
}

#[test]
fn compaction_checkpoint() {
    let bytes = example("compaction");
    assert_eq!(crate::compaction::checkpoint::to_file(offset(170_210)), bytes);
    let read = async |disk: &dyn Disk, dir: &std::path::Path| crate::compaction::checkpoint::read(disk, dir).await;
    assert_eq!(read_back("compaction", &bytes, read).unwrap(), offset(170_210));
}

#[test]
fn recovery_checkpoint() {
    let segments = vec![
        SegmentTimes { base_offset: offset(0), first_append_ms: Some(5), last_append_ms: Some(9) },
        SegmentTimes { base_offset: offset(10), first_append_ms: None, last_append_ms: None },
    ];
    let topic_id = [1; 16];
    let entries =
        [CheckpointEntry { topic_id, partition: 3, recovery_point: offset(12), unsynced_bytes_max: 64, segments }];
    let bytes = example("recovery-checkpoint-N");
    assert_eq!(checkpoint::to_file(&entries), bytes);
    let name = "recovery-checkpoint-0";
    let found = read_back(name, &bytes, async |disk, dir| checkpoint::read(disk, &dir.join(name)).await.unwrap());
    assert_eq!(found, entries);
}

/// The batch of the page, as it was stamped.
fn batch() -> BytesMut {
    let mut builder = BatchBuilder::new(Codec::None, None);
    builder.producer(7, 1, 20);
    builder.push(NOW_MS, Some(b"k"), Some(b"hi"), &[]);
    let mut batch = builder.finish();
    stamp(&mut batch, offset(5), LeaderEpoch::new(3).unwrap());
    batch
}

#[test]
fn producer_snapshot() {
    let mut state = ProducerState::new();
    state.advance(&check_stored(&batch()).unwrap(), NOW_MS + 5);
    let bytes = example("`<offset>.producers`");
    assert_eq!(producers::to_file(&state, offset(6)), bytes);
    let name = "00000000000000000006.producers";
    let read = async |disk: &dyn Disk, dir: &std::path::Path| producers::read_snapshot(disk, &dir.join(name)).await;
    assert_eq!(read_back(name, &bytes, read).unwrap(), Some(state));
}

#[test]
fn batches() {
    let bytes = example("A batch (version 2)");
    assert_eq!(batch(), bytes);
    let header = check_stored(&bytes).unwrap();
    assert_eq!(
        (header.base_offset.get(), header.leader_epoch, header.producer_id, header.base_sequence),
        (5, 3, 7, 20)
    );
    let cover = example("A batch in place of lost ones");
    assert_eq!(ringmill_batch::covering(offset(100), offset(107), 3), cover);
    assert_eq!(check_stored(&cover).unwrap().record_count, 0);
    let emptied = ringmill_batch::emptied(&header);
    assert_eq!(emptied, example("A batch without its records"));
}

#[test]
fn index_entries() {
    let (mut offsets, mut times) = (Vec::new(), Vec::new());
    let base = offset(1000);
    OffsetEntry::new(base, offset(1002), 71).encode(&mut offsets);
    TimeEntry::new(base, NOW_MS, offset(1002)).encode(&mut times);
    assert_eq!(offsets, example("An entry of `.index`"));
    assert_eq!(times, example("An entry of `.timeindex`"));
    let (offset_entry, time_entry) = (OffsetEntry::decode(&offsets), TimeEntry::decode(&times));
    assert_eq!((offset_entry.last_offset(base), offset_entry.position), (Some(offset(1002)), 71));
    assert_eq!((time_entry.last_offset(base), time_entry.timestamp_ms), (Some(offset(1002)), NOW_MS));
}
