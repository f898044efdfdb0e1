//! Files that grow, as `tail -F` follows them: what is added is read, and a file that is replaced or emptied is begun anew.
//!
//! Every [`POLL`] each file is asked for more, so a line is on its way at most that long after it was written. A file that was renamed
//! is read on beside its successor until nothing more has come for [`RETIRED_PATIENCE`]: who writes it learns late that it was replaced.
//! A line is handed on when its line feed is there. What cannot be seen: a file that comes and goes between
//! two looks, one that is rewritten to exactly the length it had, and one that is emptied and is longer again by the next look with
//! the very bytes at its beginning that it had.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::input::{Chunk, ChunkSender, LINE_BYTES_MAX, READ_BYTES, count_lines, line_too_long};

/// How long to wait when no file has more.
pub(super) const POLL: Duration = Duration::from_millis(100);

/// How long a file that was replaced is still read after its last line.
const RETIRED_PATIENCE: Duration = Duration::from_secs(30);

/// Files of one path that are read at a time; the oldest goes when there are more.
const OPEN_MAX: usize = 8;

/// Bytes at a file's beginning by which it is known again.
const HEAD_BYTES: usize = 256;

/// A path that is followed.
pub(super) struct Followed {
    path: PathBuf,
    source: usize,
    /// Lines read so far, of all files that the path has led to.
    lines: u64,
    /// The oldest first; the last one is what the path leads to, or led to.
    tails: Vec<Tail>,
    /// Whether to begin at the end of the file that is there at the start.
    from_end: bool,
    /// Whether it was said that there is no such file.
    missing: bool,
}

/// An open file.
struct Tail {
    file: File,
    /// Device and inode.
    identity: (u64, u64),
    position: u64,
    /// The file's first bytes, as far as they were read.
    head: Vec<u8>,
    /// A line that is not finished yet.
    unfinished: Vec<u8>,
    /// When more was last found, once it was replaced.
    retired_at: Option<Instant>,
}

/// What is worth telling people.
pub(super) type Notice<'a> = &'a dyn Fn(String);

/// Follows the paths until nobody listens any more.
pub(super) fn follow(paths: Vec<PathBuf>, from_end: bool, chunks: &ChunkSender, notice: Notice<'_>) {
    let followed = |(source, path)| Followed { path, source, lines: 0, tails: Vec::new(), from_end, missing: false };
    let mut followed: Vec<Followed> = paths.into_iter().enumerate().map(followed).collect();
    loop {
        let mut found = false;
        for each in &mut followed {
            match each.poll(Instant::now(), notice) {
                Ok(read) => {
                    found |= !read.is_empty();
                    for chunk in read {
                        if chunks.blocking_send(Ok(chunk)).is_err() {
                            return;
                        }
                    }
                }
                Err(error) => {
                    let message =
                        format!("cannot read {} from line {} on: {error}", each.path.display(), each.lines + 1);
                    // Nobody listens to it any more: then it makes no difference.
                    let _ = chunks.blocking_send(Err(message));
                    return;
                }
            }
        }
        if chunks.is_closed() {
            return;
        }
        if !found {
            thread::sleep(POLL);
        }
    }
}

impl Followed {
    /// One look at the path and its files: a bounded share of what has come.
    fn poll(&mut self, now: Instant, notice: Notice<'_>) -> io::Result<Vec<Chunk>> {
        self.look_at_path(now, notice)?;
        let mut chunks = Vec::new();
        for tail in &mut self.tails {
            let bytes = tail.read(&self.path, notice)?;
            if !bytes.is_empty() {
                tail.retired_at = tail.retired_at.map(|_| now);
                chunks.push(Chunk { source: self.source, first_line: self.lines + 1, bytes: bytes.into() });
                self.lines += count_lines(&chunks.last().expect("just pushed").bytes);
            }
        }
        self.drop_retired(now, &mut chunks);
        Ok(chunks)
    }

    /// Lets go of files that were replaced and have been quiet for long, and of the oldest when there are too many.
    fn drop_retired(&mut self, now: Instant, chunks: &mut Vec<Chunk>) {
        let is_over = |tail: &Tail| tail.retired_at.is_some_and(|at| now.duration_since(at) >= RETIRED_PATIENCE);
        let excess = self.tails.len().saturating_sub(OPEN_MAX);
        for (index, tail) in std::mem::take(&mut self.tails).into_iter().enumerate() {
            if index >= excess && !is_over(&tail) {
                self.tails.push(tail);
            } else if !tail.unfinished.is_empty() {
                // Its writer has left it so; it is a line like the last one of a file that is not followed.
                chunks.push(Chunk { source: self.source, first_line: self.lines + 1, bytes: tail.unfinished.into() });
                self.lines += 1;
            }
        }
    }

    /// Opens what the path leads to, if that is another file than before.
    fn look_at_path(&mut self, now: Instant, notice: Notice<'_>) -> io::Result<()> {
        let metadata = match std::fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !self.missing {
                    self.missing = true;
                    notice(format!("{} is not there; waiting for it", self.path.display()));
                }
                // What appears now is new from its first line on.
                self.from_end = false;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if self.tails.last().is_some_and(|tail| tail.identity == identity(&metadata)) {
            return Ok(());
        }
        if !metadata.is_file() {
            return Err(io::Error::other("only regular files can be followed; pipe it to standard input instead"));
        }
        let tail = match Tail::open(&self.path, self.from_end) {
            // Gone since the line above: the next look sees what has become of it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        if self.missing || !self.tails.is_empty() {
            notice(format!("{} is a new file now; beginning with its first line", self.path.display()));
        }
        if let Some(last) = self.tails.last_mut() {
            last.retired_at = Some(now);
        }
        (self.missing, self.from_end) = (false, false);
        self.tails.push(tail);
        Ok(())
    }
}

impl Tail {
    fn open(path: &std::path::Path, from_end: bool) -> io::Result<Tail> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let mut tail = Tail {
            file,
            identity: identity(&metadata),
            position: if from_end { metadata.len() } else { 0 },
            head: Vec::new(),
            unfinished: Vec::new(),
            retired_at: None,
        };
        if tail.position > 0 {
            tail.head = tail.read_head(HEAD_BYTES)?;
        }
        Ok(tail)
    }

    /// The whole lines that have come, up to about [`READ_BYTES`].
    fn read(&mut self, path: &std::path::Path, notice: Notice<'_>) -> io::Result<Vec<u8>> {
        let length = self.file.metadata()?.len();
        if length == self.position {
            return Ok(Vec::new());
        }
        let begun_anew = length < self.position || self.read_head(self.head.len())? != self.head;
        if begun_anew {
            notice(format!("{} was emptied; beginning with its first line", path.display()));
            self.position = 0;
            self.head.clear();
            if !self.unfinished.is_empty() {
                // It will never be finished, and it is not lost.
                let mut line = std::mem::take(&mut self.unfinished);
                line.push(b'\n');
                return Ok(line);
            }
        }
        let mut bytes = std::mem::take(&mut self.unfinished);
        let before = bytes.len();
        let wanted = usize::try_from(length - self.position).unwrap_or(READ_BYTES).min(READ_BYTES);
        bytes.resize(before + wanted, 0);
        let read = self.file.read_at(&mut bytes[before..], self.position)?;
        bytes.truncate(before + read);
        if self.head.len() < HEAD_BYTES && self.position == self.head.len() as u64 {
            self.head.extend_from_slice(&bytes[before..][..read.min(HEAD_BYTES - self.head.len())]);
        }
        self.position += read as u64;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.unfinished = bytes.split_off(whole);
        if self.unfinished.len() > LINE_BYTES_MAX {
            return Err(line_too_long());
        }
        Ok(bytes)
    }

    fn read_head(&self, wanted: usize) -> io::Result<Vec<u8>> {
        let mut head = vec![0; wanted];
        let read = self.file.read_at(&mut head, 0)?;
        head.truncate(read);
        Ok(head)
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followed(path: PathBuf) -> Followed {
        Followed { path, source: 0, lines: 0, tails: Vec::new(), from_end: false, missing: false }
    }

    /// The lines that one look finds, with the number of the first in each chunk.
    fn look(followed: &mut Followed, now: Instant) -> Vec<(u64, String)> {
        let chunks = followed.poll(now, &|_| {}).unwrap();
        chunks.into_iter().map(|chunk| (chunk.first_line, String::from_utf8(chunk.bytes.to_vec()).unwrap())).collect()
    }

    fn found(first_line: u64, text: &str) -> Vec<(u64, String)> {
        vec![(first_line, text.to_owned())]
    }

    #[test]
    fn an_unfinished_line_waits_and_counts_when_its_file_is_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (mut followed, begin) = (followed(path.clone()), Instant::now());
        std::fs::write(&path, "one\ntwo\nhalf").unwrap();
        assert_eq!(look(&mut followed, begin), found(1, "one\ntwo\n"));
        std::fs::rename(&path, dir.path().join("log.1")).unwrap();
        std::fs::write(&path, "new\n").unwrap();
        assert_eq!(look(&mut followed, begin), found(3, "new\n"));
        assert_eq!(look(&mut followed, begin + RETIRED_PATIENCE / 2), []);
        assert_eq!(followed.tails.len(), 2);
        assert_eq!(look(&mut followed, begin + RETIRED_PATIENCE), found(4, "half"));
        assert_eq!(followed.tails.len(), 1);
    }

    /// When there were too many, all of them were let go, the one that is followed too: it was opened and sent again.
    #[test]
    fn only_the_oldest_of_too_many_files_is_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (mut followed, now) = (followed(path.clone()), Instant::now());
        for number in 0..3 * OPEN_MAX as u64 {
            std::fs::write(&path, format!("{number}\n")).unwrap();
            assert_eq!(look(&mut followed, now), found(number + 1, &format!("{number}\n")));
            assert_eq!(look(&mut followed, now), []);
            std::fs::rename(&path, dir.path().join(format!("log.{number}"))).unwrap();
            assert!(followed.tails.len() <= OPEN_MAX);
        }
    }

    #[test]
    fn a_file_that_shrank_or_begins_otherwise_is_read_from_its_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (mut followed, now) = (followed(path.clone()), Instant::now());
        std::fs::write(&path, "first\nunfinished").unwrap();
        assert_eq!(look(&mut followed, now), found(1, "first\n"));
        std::fs::write(&path, "x\n").unwrap();
        // What was unfinished will never be finished, and is not lost.
        assert_eq!(look(&mut followed, now), found(2, "unfinished\n"));
        assert_eq!(look(&mut followed, now), found(3, "x\n"));
        std::fs::write(&path, "longer than before\n").unwrap();
        assert_eq!(look(&mut followed, now), found(4, "longer than before\n"));
    }
}
