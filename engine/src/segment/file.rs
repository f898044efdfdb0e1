//! Names of a segment's files: the base offset in twenty digits, as Kafka writes them.
//!
//! Opens and reads nothing. The log and its recovery call it.

use std::path::{Path, PathBuf};

use ringmill_batch::Offset;

/// The kinds of file that belong to one base offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// Record batches.
    Log,
    /// Offset to position.
    OffsetIndex,
    /// Timestamp to offset.
    TimeIndex,
    /// The producer state before this offset.
    Producers,
}

impl FileKind {
    fn suffix(self) -> &'static str {
        match self {
            FileKind::Log => "log",
            FileKind::OffsetIndex => "index",
            FileKind::TimeIndex => "timeindex",
            FileKind::Producers => "producers",
        }
    }
}

/// Where the file of `kind` for `offset` lies.
pub(crate) fn path(dir: &Path, offset: Offset, kind: FileKind) -> PathBuf {
    dir.join(format!("{:020}.{}", offset.get(), kind.suffix()))
}

/// Where bytes cut off a segment at `position` are set aside.
pub(crate) fn torn_path(dir: &Path, base_offset: Offset, position: u64, attempt: u32) -> PathBuf {
    match attempt {
        0 => dir.join(format!("{:020}.at-{position}.torn", base_offset.get())),
        _ => dir.join(format!("{:020}.at-{position}.{attempt}.torn", base_offset.get())),
    }
}

/// Reads a name; `None` for files that are no part of a segment.
pub(crate) fn parse(name: &str) -> Option<(Offset, FileKind)> {
    let (digits, suffix) = name.split_once('.')?;
    let kind = [FileKind::Log, FileKind::OffsetIndex, FileKind::TimeIndex, FileKind::Producers]
        .into_iter()
        .find(|kind| kind.suffix() == suffix)?;
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((Offset::new(digits.parse().ok()?)?, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kafkas_and_are_read_back() {
        let offset = Offset::new(170_210).unwrap();
        let path = path(Path::new("t-0"), offset, FileKind::TimeIndex);
        assert_eq!(path, Path::new("t-0/00000000000000170210.timeindex"));
        assert_eq!(parse("00000000000000170210.timeindex"), Some((offset, FileKind::TimeIndex)));
    }

    #[test]
    fn other_names_are_no_segment_files() {
        for name in ["partition.meta", "170210.log", "00000000000000170210.at-61.torn", "0000000000000017021x.log", ""]
        {
            assert_eq!(parse(name), None, "{name}");
        }
        assert_eq!(parse("99999999999999999999.log"), None, "past the largest offset");
    }
}
