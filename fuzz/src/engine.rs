//! Drivers for what the engine reads from disk.

use std::fs;
use std::path::Path;

use bytes::BytesMut;
use ringmill_batch::{DecompressLimit, Offset};
use ringmill_engine::checkpoint;
use ringmill_engine::data_dir::{DataDir, Fresh};
use ringmill_engine::disk::sim::{SimOptions, Simulation};
use ringmill_engine::disk::{Disk, OpenHow, block_on};
use ringmill_engine::partition_meta::PartitionMeta;
use ringmill_engine::producer_state::ProducerState;
use ringmill_engine::verify::{ProblemKind, VerifyOptions, verify};

use crate::scratch;

/// Producer snapshots: what decodes is encoded to something that decodes to the same.
pub fn producers(data: &[u8]) {
    let Ok(state) = ProducerState::decode(data) else { return };
    let end = Offset::new(i64::MAX).expect("it is positive");
    // A batch that ends with the very last offset lies before no end.
    let written = ProducerState::decode(&state.encode(end)).expect("what was written can be read");
    assert_eq!(ProducerState::decode(&written.encode(end)), Ok(written));
}

const LOG: &str = "00000000000000000000.log";
const OFFSET_INDEX: &str = "00000000000000000000.index";
const TIME_INDEX: &str = "00000000000000000000.timeindex";

/// The offline checks. Two bytes give the length of an offset index and two that of a time index; both follow, then the log.
pub fn verified(data: &[u8]) {
    let Some((lengths, rest)) = data.split_first_chunk::<4>() else { return };
    let [offset_bytes, time_bytes] = [[lengths[0], lengths[1]], [lengths[2], lengths[3]]].map(u16::from_be_bytes);
    let Some((offset_index, rest)) = rest.split_at_checked(offset_bytes.into()) else { return };
    let Some((time_index, log)) = rest.split_at_checked(time_bytes.into()) else { return };
    let files = [(LOG, log), (OFFSET_INDEX, offset_index), (TIME_INDEX, time_index)];
    let directory = scratch::directory();
    let directory = directory.path();
    for (name, bytes) in files {
        fs::write(directory.join(name), bytes).expect("a small file can be written");
    }
    let limit = DecompressLimit { output_bytes_max: 1 << 20, ..DecompressLimit::default() };
    let report = verify(directory, VerifyOptions { records: Some(limit) }).expect("there is a segment");
    let segment = report.segments().next().expect("there is a segment");
    assert!(segment.bytes + segment.zero_bytes <= log.len() as u64);
    if segment.bytes + segment.zero_bytes < log.len() as u64 {
        assert!(report.problems().any(|problem| problem.kind == ProblemKind::Damage), "unread bytes are a problem");
    }
    for (name, bytes) in files {
        assert_eq!(fs::read(directory.join(name)).expect("it is still there"), bytes, "{name} was changed");
    }
}

/// The small files. The first byte chooses which, the second (odd) puts the rest into a sound frame, so that it gets past the
/// checksum. What is read is written, and reads the same again.
pub fn small_files(data: &[u8]) {
    let Some((&[kind, framed], payload)) = data.split_first_chunk() else { return };
    let root = Path::new("/");
    let (path, magic) = match kind % 3 {
        0 => (root.join("superblock"), b"RM-super"),
        1 => (PartitionMeta::path(root), b"RMpartmt"),
        _ => (checkpoint::path(root, 0), b"RMchkpnt"),
    };
    let bytes = if framed & 1 == 1 { in_frame(magic, 1, payload) } else { payload.to_vec() };
    let disk = Simulation::new(0, SimOptions::default()).disk();
    block_on(&disk, async {
        let disk: &dyn Disk = &disk;
        let file = disk.open(&path, OpenHow::CreateEmpty).await.expect("a healthy disk opens");
        disk.write_all_at(&file, 0, vec![BytesMut::from(&bytes[..])]).await.expect("a healthy disk writes");
        match kind % 3 {
            0 => superblock(disk, root).await,
            1 => {
                let Ok(meta) = PartitionMeta::read(disk, root).await else { return };
                meta.write(disk, root).await.expect("a healthy disk writes");
                assert_eq!(PartitionMeta::read(disk, root).await.ok(), Some(meta));
            }
            _ => {
                let entries = checkpoint::read_all(disk, root).await.expect("it can be listed");
                checkpoint::write(disk, root, 0, &entries).await.expect("a healthy disk writes");
                assert_eq!(checkpoint::read_all(disk, root).await.ok(), Some(entries));
            }
        }
    });
}

async fn superblock(disk: &dyn Disk, root: &Path) {
    let fresh = || Fresh { cluster_id: [1; 16], directory_id: [2; 16] };
    let Ok(opened) = DataDir::open(disk, root, 1, fresh()).await else { return };
    assert!(!opened.is_new() && !opened.superblock().clean, "the clean mark goes before anything else happens");
    let before = opened.superblock().clone();
    opened.mark_clean(disk).await.expect("a healthy disk writes");
    let again = DataDir::open(disk, root, 1, fresh()).await.expect("what was marked clean opens");
    assert!(again.last_stop_was_clean());
    assert_eq!(again.superblock().cluster_id, before.cluster_id);
}

/// Magic, version, length, payload, checksum: how every small file is written.
pub(crate) fn in_frame(magic: &[u8; 8], version: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("inputs are short");
    let mut bytes = [&magic[..], &version.to_be_bytes(), &length.to_be_bytes(), payload].concat();
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes
}
