//! A line on the terminal that moves while much is being sent. Short work shows nothing.

use std::cell::{Cell, OnceCell};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How long nothing is shown: what is done by then needs no progress.
const HIDDEN: Duration = Duration::from_secs(1);

/// How far the inputs have been read.
pub(super) struct Progress {
    began: Instant,
    shown: bool,
    total_bytes: Option<u64>,
    read_bytes: Cell<u64>,
    bar: OnceCell<ProgressBar>,
}

impl Progress {
    /// Of inputs of so many bytes, if that is known.
    pub(super) fn new(total_bytes: Option<u64>) -> Progress {
        let (read_bytes, bar) = (Cell::new(0), OnceCell::new());
        Progress { began: Instant::now(), shown: true, total_bytes, read_bytes, bar }
    }

    /// One that never shows.
    pub(super) fn hidden() -> Progress {
        Progress { shown: false, ..Progress::new(None) }
    }

    /// So many bytes more were read.
    pub(super) fn read(&self, bytes: u64) {
        self.read_bytes.set(self.read_bytes.get() + bytes);
        if self.shown && self.began.elapsed() >= HIDDEN {
            self.bar.get_or_init(|| bar(self.total_bytes)).set_position(self.read_bytes.get());
        }
    }

    /// Takes the line away.
    pub(super) fn finish(&self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}

fn bar(total_bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match total_bytes {
        Some(bytes) => {
            (ProgressBar::new(bytes), "{bar:30} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}")
        }
        None => (ProgressBar::new_spinner(), "{spinner} {decimal_bytes}, {decimal_bytes_per_sec}"),
    };
    // A template that is wrong is left as it comes, for it is only looks.
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
