//! How much of a disk brokers may fill.

use std::path::Path;

use crate::units;

/// Below this part of the disk a broker refuses records, or earlier if it is told so; see its `disk.free.bytes.min`.
const KEPT_FREE_PART: u64 = 32;

/// What may be written below this directory before the disk is taken for full.
///
/// # Errors
/// When nothing can be learnt of the directory.
pub(super) fn bytes_below(dir: &Path) -> Result<u64, String> {
    let disk = rustix::fs::statvfs(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Ok(bytes(disk.f_bavail).saturating_sub(bytes(disk.f_blocks) / KEPT_FREE_PART))
}

/// For a message.
#[expect(clippy::cast_precision_loss, reason = "bytes of a disk stay far below 2^53")]
pub(super) fn show(bytes: u64) -> String {
    units::decimal(bytes as f64, "B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_room_and_one_that_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(bytes_below(dir.path()).unwrap() > 0);
        assert!(bytes_below(Path::new("/nonexistent")).unwrap_err().contains("/nonexistent"));
    }
}
