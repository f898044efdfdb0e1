//! What lies in a data directory: where its logs end, to say what a cut has taken; and all of it, to be kept when a promise was broken.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where each segment's last byte lies that is not zero.
#[derive(Clone, Debug, Default)]
pub(super) struct LogEnds(BTreeMap<PathBuf, u64>);

impl LogEnds {
    /// Of all partitions in `data_dir`. What cannot be read is left out.
    pub(super) fn of(data_dir: &Path) -> LogEnds {
        let partitions = fs::read_dir(data_dir).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
        let files = partitions.flat_map(|partition| fs::read_dir(partition.path()).into_iter().flatten().flatten());
        let logs = files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|kind| kind == "log"));
        let ends = logs.filter_map(|path| {
            let bytes = fs::read(&path).ok()?;
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
            Some((path, end))
        });
        LogEnds(ends.collect())
    }

    /// How many logs end earlier in `later`, and by how many bytes in all.
    pub(super) fn lost(&self, later: &LogEnds) -> (u64, u64) {
        let lost = self.0.iter().filter_map(|(path, end)| {
            let left = later.0.get(path).copied().unwrap_or(0);
            (left < *end).then(|| end - left)
        });
        lost.fold((0, 0), |(logs, bytes), lost| (logs + 1, bytes + lost))
    }
}

/// Copies data directory, logs and history to a place that outlives this process, all that can be read.
///
/// # Errors
/// When there is no space for them, or the disk below is gone.
pub(super) fn keep(what: &[&Path], name: &str) -> io::Result<PathBuf> {
    let kept = std::env::temp_dir().join(name);
    fs::create_dir_all(&kept)?;
    let mut failed = None;
    for path in what.iter().filter(|path| path.exists()) {
        // Sparse files stay sparse, and times and owners stay as they are.
        let copied = Command::new("cp").args(["-a", "--sparse=always"]).arg(path).arg(&kept).status()?;
        if !copied.success() {
            failed = Some(io::Error::other(format!("cp of {}: {copied}", path.display())));
        }
    }
    failed.map_or(Ok(kept), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_logs_have_lost_is_counted() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let partition = dir.path().join("t-0");
        fs::create_dir(&partition).expect("it can be made");
        let (log, index) = (partition.join("0.log"), partition.join("0.index"));
        fs::write(&log, [1, 1, 0, 1, 0, 0]).expect("it can be written");
        fs::write(&index, [1, 1, 1]).expect("it can be written");
        let before = LogEnds::of(dir.path());
        fs::write(&log, [1, 0, 0, 0, 0, 0]).expect("it can be written");
        fs::write(&index, [0]).expect("it can be written");
        assert_eq!(before.lost(&LogEnds::of(dir.path())), (1, 3));
        assert_eq!(before.lost(&before), (0, 0));
    }
}
