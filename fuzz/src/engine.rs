//! Drivers for what the engine reads from disk.

use std::fs;
use std::path::Path;

use ringmill_batch::{DecompressLimit, Offset};
use ringmill_engine::producer_state::ProducerState;
use ringmill_engine::verify::{ProblemKind, VerifyOptions, verify};

/// Producer snapshots: what decodes is encoded to something that decodes to the same.
pub fn producers(data: &[u8]) {
    let Ok(state) = ProducerState::decode(data) else { return };
    let end = Offset::new(i64::MAX).expect("it is positive");
    assert_eq!(ProducerState::decode(&state.encode(end)), Ok(state));
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
    in_directory(|directory| {
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
    });
}

/// Runs `then` in an empty directory, in memory where there is one.
fn in_directory(then: impl FnOnce(&Path)) {
    let memory = Path::new("/dev/shm");
    let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    then(directory.expect("a temporary directory can be made").path());
}
