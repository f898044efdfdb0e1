//! When a shard has something to do although nobody asks: its deadlines, topics and settings that change, and the core's stop.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::Instant;

use super::{Host, Serving};
use crate::core::Core;
use crate::group::topics::TopicsOf;
use crate::metadata::MetadataImage;

/// The least time between two looks at what the shard wants to do by time.
const DEADLINES_APART: Duration = Duration::from_millis(5);

/// Between two looks while its partition takes no records.
const STALLED_PAUSE: Duration = Duration::from_millis(100);

/// Topics often come in swarms: one look for all of them.
const TOPICS_SETTLE: Duration = Duration::from_millis(100);

impl Host {
    /// Has the shard do what its time has come for, and tells it what has changed around it. However often it is woken meanwhile, what is
    /// due is put off by no more than the pauses that have names.
    pub(super) async fn keep_time(&self, core: &Core) -> Infallible {
        let mut draining = core.watch_draining();
        let mut metadata = core.shared().metadata.watch();
        metadata.mark_unchanged();
        let mut earliest = Instant::now();
        let mut topics_due: Option<Instant> = None;
        loop {
            let next_ms = self.with(Serving::next_deadline_ms).flatten();
            let next = next_ms.map(|at_ms| (self.time_zero + Duration::from_millis(at_ms)).max(earliest));
            tokio::select! {
                biased;
                () = sleep_until(next) => {
                    // Never at once again: a deadline that cannot be met must not keep the core busy.
                    earliest = Instant::now() + if self.on_time(core) { DEADLINES_APART } else { STALLED_PAUSE };
                }
                () = sleep_until(topics_due) => {
                    topics_due = None;
                    self.on_metadata(core, &core.metadata());
                }
                // A rebalance will not end here any more.
                _ = draining.changed() => self.refuse_parked(),
                _ = metadata.changed() => {
                    metadata.mark_unchanged();
                    topics_due.get_or_insert(Instant::now() + TOPICS_SETTLE);
                }
                () = self.rescheduled.notified() => {}
            }
        }
    }

    /// False if the partition takes no records, so that time stands still.
    fn on_time(&self, core: &Core) -> bool {
        let takes_records = core.takes_records(self.partition);
        let image = core.metadata();
        self.with(|serving| {
            if !takes_records {
                serving.stalled = true;
                return;
            }
            self.go_on_if_stalled(core, serving, &image);
            let effects = serving.shard.on_time(self.now(core), &TopicsOf(&image));
            self.carry_out(core, serving, effects);
        });
        takes_records
    }

    /// The partition takes records again, if it did not: members were refused meanwhile, so they were not silent.
    pub(super) fn go_on_if_stalled(&self, core: &Core, serving: &mut Serving, image: &MetadataImage) {
        if std::mem::take(&mut serving.stalled) {
            let effects = serving.shard.start(self.now(core), &TopicsOf(image));
            self.carry_out(core, serving, effects);
        }
    }

    fn on_metadata(&self, core: &Core, image: &MetadataImage) {
        self.with(|serving| {
            serving.shard.set_settings(self.settings(core));
            if !core.takes_records(self.partition) {
                // Topics are looked at when it goes on.
                serving.stalled = true;
                return;
            }
            let (now, topics) = (self.now(core), TopicsOf(image));
            if serving.topics_deleted != image.deleted() {
                serving.topics_deleted = image.deleted();
                let effects = serving.shard.on_topics_deleted(now, &topics);
                self.carry_out(core, serving, effects);
            }
            let effects = serving.shard.on_topics_changed(now, &topics);
            self.carry_out(core, serving, effects);
        });
    }
}

impl Serving {
    fn next_deadline_ms(&mut self) -> Option<u64> {
        // Whether it may go on is to be asked until it may.
        if self.stalled { Some(0) } else { self.shard.next_deadline_ms() }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
