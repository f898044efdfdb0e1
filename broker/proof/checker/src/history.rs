//! A history while it is made, in memory or as a file of JSON lines, and one that is read again. Both are judged by the same [`Judge`].
//!
//! A file is the history of one run: one JSON object a line, the line's number counted from 1, `us` the time in microseconds since the
//! beginning as the caller counts it. It is written out at every crash and every start, so that it can be read beside a run.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::event::{Event, Line};
use crate::judge::{Judge, Violation};

/// Events that a history in memory keeps to be shown; older ones are judged and dropped.
const EVENTS_KEPT_MAX: usize = 1_000_000;

/// One line of a file.
#[derive(Serialize, Deserialize)]
struct Entry {
    us: u64,
    #[serde(flatten)]
    event: Event,
}

/// Everything that the clients of one run saw, judged as it comes.
#[derive(Debug)]
pub struct History {
    judge: Judge,
    place: Storage,
    /// The first write that failed; nothing is written any more after it.
    failed: Option<io::Error>,
}

#[derive(Debug)]
enum Storage {
    Memory(std::collections::VecDeque<(u64, Event)>),
    File(PathBuf, BufWriter<File>),
}

/// Why a history could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file.
    #[error("{path}: {error}")]
    #[expect(missing_docs, reason = "the message names the fields")]
    Io { path: String, error: io::Error },
    /// A line that is no event. The last one may be cut: its writer was killed.
    #[error("{path}, line {line}: {error}")]
    #[expect(missing_docs, reason = "the message names the fields")]
    Line { path: String, line: Line, error: serde_json::Error },
}

impl History {
    /// A history that is kept in memory, its last million events at least.
    #[must_use]
    pub fn in_memory() -> History {
        History { judge: Judge::default(), place: Storage::Memory(std::collections::VecDeque::new()), failed: None }
    }

    /// A history that is written into a new file.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn to_file(path: &Path) -> io::Result<History> {
        let file = BufWriter::new(File::create(path)?);
        Ok(History { judge: Judge::default(), place: Storage::File(path.to_owned(), file), failed: None })
    }

    /// Puts an event down and judges it. `us` are microseconds since the beginning. Gives its line.
    pub fn record(&mut self, us: u64, event: Event) -> Line {
        let line = self.judge.take(us, &event);
        match &mut self.place {
            Storage::Memory(events) => {
                if events.len() == EVENTS_KEPT_MAX {
                    events.pop_front();
                }
                events.push_back((us, event));
            }
            Storage::File(_, file) if self.failed.is_none() => {
                let is_mark = event.is_mark();
                let written = write_line(file, us, event).and_then(|()| if is_mark { file.flush() } else { Ok(()) });
                self.failed = written.err();
            }
            Storage::File(..) => {}
        }
        line
    }

    /// The line that the next event will have: what a lookup that is sent now has to say as `asked`.
    #[must_use]
    pub fn now(&self) -> Line {
        self.judge.line() + 1
    }

    /// What was broken so far.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        self.judge.violations()
    }

    /// What is known by now.
    #[must_use]
    pub fn judge(&self) -> &Judge {
        &self.judge
    }

    /// Writes out what is not in the file yet.
    ///
    /// # Errors
    /// The first write that failed since the beginning.
    pub fn finish(&mut self) -> io::Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        match &mut self.place {
            Storage::Memory(_) => Ok(()),
            Storage::File(_, file) => file.flush(),
        }
    }

    /// Writes a history that is in memory into a file, as far as it was kept.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        match &self.place {
            Storage::Memory(events) => {
                let mut file = BufWriter::new(File::create(path)?);
                events.iter().try_for_each(|(us, event)| write_line(&mut file, *us, event.clone()))?;
                file.flush()
            }
            Storage::File(from, _) if from == path => Ok(()),
            Storage::File(from, _) => std::fs::copy(from, path).map(drop),
        }
    }
}

fn write_line(file: &mut impl Write, us: u64, event: Event) -> io::Result<()> {
    serde_json::to_writer(&mut *file, &Entry { us, event })?;
    file.write_all(b"\n")
}

/// Judges a history that lies in a file.
///
/// # Errors
/// When it cannot be read.
pub fn judge_file(path: &Path) -> Result<Judge, HistoryError> {
    let name = || path.display().to_string();
    let io_error = |error| HistoryError::Io { path: name(), error };
    let mut lines = BufReader::new(File::open(path).map_err(io_error)?);
    let (mut judge, mut text) = (Judge::default(), String::new());
    loop {
        text.clear();
        if lines.read_line(&mut text).map_err(io_error)? == 0 {
            return Ok(judge);
        }
        match serde_json::from_str::<Entry>(&text) {
            Ok(entry) => judge.take(entry.us, &entry.event),
            Err(_) if !text.ends_with('\n') => return Ok(judge),
            Err(error) => return Err(HistoryError::Line { path: name(), line: judge.line() + 1, error }),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Place, Run};
    use crate::judge::Rule;

    fn events() -> Vec<Event> {
        let place = Place { topic: 0, partition: 2 };
        let runs = vec![Run { offset: 0, producer: 0, number: 0, count: 2 }];
        vec![
            Event::Begin { words: "seed 7".to_owned() },
            Event::Topic { topic: 0, name: "t".to_owned(), caching: false, retained_records_min: Some(9) },
            Event::Producer { producer: 0, place, idempotent: true },
            Event::Booted,
            Event::Sent { producer: 0, first: 0, count: 2 },
            Event::Acked { producer: 0, first: 0, offset: Some(0) },
            Event::Seen {
                consumer: 0,
                place,
                asked: 7,
                from: 0,
                log_start: 0,
                end: 2,
                runs,
                next: None,
                foreign: None,
            },
            Event::Killed,
        ]
    }

    #[test]
    fn a_file_is_judged_as_it_was_when_it_was_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, copy) = (dir.path().join("history.jsonl"), dir.path().join("copy.jsonl"));
        let mut file = History::to_file(&path).expect("a file");
        let mut memory = History::in_memory();
        let lost = Event::Recovered { place: Place { topic: 0, partition: 2 }, asked: 9, log_start: 0, end: 0 };
        for event in events().into_iter().chain([lost]) {
            file.record(5, event.clone());
            memory.record(5, event);
        }
        file.finish().expect("it is written");
        memory.save(&copy).expect("it is written");
        assert_eq!(file.violations()[0].rule, Rule::NothingLost);
        for path in [&path, &copy] {
            assert_eq!(judge_file(path).expect("it can be read").violations(), file.violations());
        }
    }

    #[test]
    fn a_history_is_written_out_at_every_mark_and_may_end_within_a_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("history.jsonl");
        let mut history = History::to_file(&path).expect("a file");
        for event in events() {
            history.record(5, event);
        }
        assert_eq!(judge_file(&path).expect("it can be read").line(), 8);
        let text = std::fs::read_to_string(&path).expect("it can be read");
        std::fs::write(&path, &text[..text.len() - 3]).expect("it can be written");
        assert_eq!(judge_file(&path).expect("it can be read").line(), 7);
        std::fs::write(&path, text.replace("booted", "bootet")).expect("it can be written");
        let error = judge_file(&path).map(drop).expect_err("an event that is none").to_string();
        assert!(error.contains("line 4"), "{error}");
    }
}
