//! The history of one data directory, shared by all clients of a lane, and how often each thing was reached.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use ringmill_checker::{Compacted, Event, History, Line, Place};

use tokio::sync::Notify;

use crate::report::{Counts, Failure};

/// Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Ledger(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    history: RefCell<History>,
    counts: RefCell<Counts>,
    /// What compaction had taken away when the counts were last taken.
    compacted: Cell<Compacted>,
    begun: Instant,
    path: PathBuf,
    /// Woken whenever a large request has been handed to the system.
    large_sent: Notify,
    /// How long such a request takes to be answered, about, in microseconds.
    large_us: Cell<u64>,
}

impl Ledger {
    /// Begins a history in a new file. `words` say how to run it again.
    pub(crate) fn begin(path: &Path, words: String) -> Result<Ledger, Failure> {
        let history = History::to_file(path).map_err(Failure::not_possible(path.display()))?;
        let inner = Inner {
            history: RefCell::new(history),
            counts: RefCell::default(),
            compacted: Cell::default(),
            begun: Instant::now(),
            path: path.to_owned(),
            large_sent: Notify::new(),
            large_us: Cell::new(1_500),
        };
        let ledger = Ledger(Rc::new(inner));
        ledger.put(Event::Begin { words });
        Ok(ledger)
    }

    /// Puts an event down, which judges it.
    pub(crate) fn put(&self, event: Event) -> Line {
        let us = u64::try_from(self.0.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.history.borrow_mut().record(us, event)
    }

    /// The line to give as `asked` with whatever is looked up from now on.
    pub(crate) fn now(&self) -> Line {
        self.0.history.borrow().now()
    }

    pub(crate) fn count(&self, what: &'static str, count: u64) {
        self.0.counts.borrow_mut().add(what, count);
    }

    /// The counts since they were last taken.
    pub(crate) fn take_counts(&self) -> Counts {
        let now = self.0.history.borrow().judge().compacted();
        let before = self.0.compacted.replace(now);
        self.count("records superseded", now.superseded - before.superseded);
        self.count("tombstones removed", now.tombstones - before.tombstones);
        self.0.counts.take()
    }

    /// Log start and end of a partition, as far as they are promised by now.
    pub(crate) fn promised(&self, place: Place) -> (i64, i64) {
        self.0.history.borrow().judge().promised(place)
    }

    /// `Err` as soon as anything is broken, with what and how to look at it again.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let mut history = self.0.history.borrow_mut();
        if history.violations().is_empty() {
            return Ok(());
        }
        let words: Vec<String> = history.violations().iter().map(|violation| format!("  {violation}")).collect();
        history.finish().map_err(Failure::not_possible(self.0.path.display()))?;
        Err(Failure::Broken(format!(
            "promises were broken:\n{}\nthe history: {}\njudge it again: ringmill-torture check {1}",
            words.join("\n"),
            self.0.path.display()
        )))
    }

    /// Says that a large request has been handed to the system.
    pub(super) fn large_is_sent(&self) {
        self.0.large_sent.notify_waiters();
    }

    /// Says how long a large request took to be answered.
    pub(super) fn large_took(&self, us: u64) {
        self.0.large_us.set((self.0.large_us.get() * 7 + us) / 8);
    }

    /// Waits for the next large request, and gives how long its answer will take, about, in microseconds: somewhere within that time the
    /// broker is in the middle of a long write.
    pub(crate) async fn large_sent(&self) -> u64 {
        self.0.large_sent.notified().await;
        self.0.large_us.get()
    }

    /// Writes everything out.
    pub(crate) fn finish(&self) -> Result<(), Failure> {
        self.0.history.borrow_mut().finish().map_err(Failure::not_possible(self.0.path.display()))
    }
}
