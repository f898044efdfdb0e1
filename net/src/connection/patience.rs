//! How long a connection is waited for: a frame that has begun, a peer that asks nothing, a peer that takes nothing.
//!
//! One timer per connection, armed anew only when something nearer than it must be watched, so that a busy connection costs
//! no timer at all.

use std::cell::Cell;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::Link;
use crate::transport::Stream;

/// What "for ever" is taken for: a point in time that can be counted to.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What the timer of a connection watches.
pub(super) struct Patience {
    idle: Duration,
    /// When the frame that is being read must be there.
    frame_due: Cell<Option<Instant>>,
    /// When the peer last did something for its part.
    quiet_since: Cell<Instant>,
    sending: Cell<bool>,
    armed_for: Cell<Instant>,
    sooner: Notify,
}

impl Patience {
    pub(super) fn new(idle: Duration) -> Patience {
        let now = Instant::now();
        Patience {
            idle: idle.min(FOR_EVER),
            frame_due: Cell::new(None),
            quiet_since: Cell::new(now),
            sending: Cell::new(false),
            armed_for: Cell::new(now),
            sooner: Notify::new(),
        }
    }

    /// A whole frame has arrived.
    pub(super) fn touch(&self) {
        self.frame_due.set(None);
        self.quiet_since.set(Instant::now());
    }

    /// The rest of a frame must arrive within this time.
    pub(super) fn expect_frame(&self, within: Duration) {
        let due = Instant::now() + within.min(FOR_EVER);
        self.frame_due.set(Some(due));
        if due < self.armed_for.get() {
            self.sooner.notify_one();
        }
    }

    /// The writer begins or ends a send.
    pub(super) fn sending(&self, sending: bool) {
        self.sending.set(sending);
        self.quiet_since.set(Instant::now());
    }

    /// Waits until a limit has passed, and names it.
    pub(super) async fn limit_passed<S: Stream>(&self, link: &Link<S>) -> &'static str {
        let mut sent_bytes = 0;
        loop {
            let now = Instant::now();
            if self.frame_due.get().is_some_and(|due| due <= now) {
                return "a frame did not arrive in time";
            }
            // A send that moves is no silence; and while a handler thinks, the peer is not the one who is late.
            let moved = sent_bytes != link.stream.sent_bytes();
            sent_bytes = link.stream.sent_bytes();
            if (self.sending.get() && moved) || (!self.sending.get() && !link.answers.is_idle()) {
                self.quiet_since.set(now);
            }
            let idle_due = self.quiet_since.get() + self.idle;
            if idle_due <= now {
                return if self.sending.get() { "the peer does not read its answer" } else { "idle" };
            }
            let due = self.frame_due.get().map_or(idle_due, |frame| frame.min(idle_due));
            self.armed_for.set(due);
            tokio::select! {
                biased;
                () = self.sooner.notified() => {}
                () = sleep_until(due) => {}
            }
        }
    }
}
