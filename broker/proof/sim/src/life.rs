//! One life of the broker as its clients share it: the connections, what goes wrong in it, and which answers that excuses.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use ringmill_checker::Place;
use ringmill_engine::disk::SimOptions;
use ringmill_net::transport::memory;
use ringmill_net::wire::ErrorCode;

use crate::client::Client;
use crate::history::History;
use crate::machine::{Machine, Running};
use crate::plan::Plan;
use crate::random::Random;
use crate::theme::Theme;

/// What goes wrong on the disk in one life.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mood {
    /// The rates.
    pub(crate) options: SimOptions,
    /// Writes and syncs may fail, or the device is full at times.
    pub(crate) fails: bool,
    /// Reads may fail.
    pub(crate) reads_fail: bool,
}

impl Mood {
    /// What this life will be like.
    #[must_use]
    pub(crate) fn of(plan: &Plan, random: &Random) -> Mood {
        let mut options = if random.one_in(2) { SimOptions::busy() } else { SimOptions::default() };
        options.late_write = 0.3;
        let fails = plan.has(Theme::Errors) || plan.has(Theme::Full) || plan.has(Theme::Metadata);
        if plan.has(Theme::Errors) && random.one_in(2) {
            let rates = [0.0, 0.002, 0.02];
            options.write_error = random.pick(&rates);
            options.sync_error = random.pick(&rates);
            options.no_space = random.pick(&rates);
        }
        let reads_fail = plan.has(Theme::ReadErrors);
        if reads_fail && random.one_in(2) {
            options.read_error = random.pick(&[0.001, 0.01, 0.1]);
        }
        Mood { options, fails, reads_fail }
    }
}

/// A broker that lives, and what its clients know.
pub(crate) struct Life {
    /// The broker.
    pub(crate) running: Running,
    /// What clients of all lives know.
    pub(crate) history: Rc<History>,
    /// The machine under it.
    pub(crate) machine: Rc<Machine>,
    /// What goes wrong.
    pub(crate) mood: Mood,
    /// What the run is about.
    pub(crate) plan: Rc<Plan>,
    /// Partitions that refused a produce for a storage error, and have not taken another since.
    refusing: RefCell<BTreeSet<Place>>,
}

impl Life {
    /// A life that begins.
    #[must_use]
    pub(crate) fn new(
        running: Running,
        history: Rc<History>,
        machine: Rc<Machine>,
        mood: Mood,
        plan: Rc<Plan>,
    ) -> Life {
        Life { running, history, machine, mood, plan, refusing: RefCell::default() }
    }

    /// A client on a new connection, as bad as the run's network is.
    pub(crate) fn connect(&self, random: &Random) -> Client {
        let mut options =
            memory::Options { seed: random.next(), delay_max: Duration::from_millis(2), ..memory::Options::default() };
        if self.plan.has(Theme::Network) {
            options.delay_max = random.pick(&[0, 2, 30].map(Duration::from_millis));
            options.chunk_bytes_max = random.pick(&[7, 100, 64 * 1024]);
            options.capacity_bytes = random.pick(&[64, 4096, 256 * 1024]);
            options.cut_after_bytes = random.one_in(3).then(|| random.below(6000));
            self.history.count("bad connections");
        }
        Client::new(self.running.open(options))
    }

    /// The time of day.
    #[must_use]
    pub(crate) fn now_ms(&self) -> i64 {
        self.machine.now_ms()
    }

    /// Whether this partition may answer a fetch with an error of storage.
    #[must_use]
    pub(crate) fn excuses_fetch(&self, place: Place, error: ErrorCode) -> bool {
        match error {
            ErrorCode::KafkaStorageError => self.mood.fails || self.mood.reads_fail || self.history.is_rotten(place),
            ErrorCode::CorruptMessage => self.mood.reads_fail || self.history.is_rotten(place),
            _ => false,
        }
    }

    /// A produce was refused.
    pub(crate) fn refused_produce(&self, place: Place, error: ErrorCode) {
        if error == ErrorCode::KafkaStorageError {
            let excused = self.mood.fails || self.mood.reads_fail || self.history.is_rotten(place);
            assert!(excused, "{place:?}: a produce is answered with a storage error, and nothing has failed");
            self.history.count("produces refused by storage");
            self.refusing.borrow_mut().insert(place);
        }
    }

    /// A produce was acknowledged.
    pub(crate) fn served(&self, place: Place) {
        if self.refusing.borrow_mut().remove(&place) {
            self.history.count("resumed after a storage error");
        }
    }
}
