//! Watches the room on the data directory's disk, for the whole process, and says in the log when it ends and when it is back.
//!
//! The first core runs [`watch`]. What follows from a lack of room is decided elsewhere: logs refuse batches and stop securing space, new
//! partitions (`topics.rs`) are refused; reads, deletions and retention go on. Nothing is deleted earlier than the
//! settings of its topic say.

use std::rc::Rc;
use std::time::Duration;

use ringmill_engine::data_dir::{Outlook, SpaceLimits};
use tokio::time::Instant;

use super::Core;
use crate::metadata::MetadataError;

/// How often the volume is looked at while there is room.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The same near the mark and below it: room that is back should be used soon.
const LOOK_INTERVAL_NEAR: Duration = Duration::from_millis(200);

/// "Near" is less than so many times the mark.
const NEAR_MARKS: u64 = 4;

/// Looks at the volume for ever; its task is dropped with the core.
pub(super) async fn watch(core: Rc<Core>) {
    let mut told = Told::default();
    loop {
        let interval = match core.shared.space.look(core.disk()).await {
            Ok(outlook) => {
                told.tell(&core, &outlook);
                let is_near = outlook.usable_bytes < outlook.mark_bytes.saturating_mul(NEAR_MARKS);
                if is_near { LOOK_INTERVAL_NEAR } else { LOOK_INTERVAL }
            }
            Err(error) => {
                told.tell_failure(&core, &error);
                LOOK_INTERVAL
            }
        };
        tokio::time::sleep_until(Instant::now() + interval).await;
    }
}

/// What the log says already.
#[derive(Default)]
struct Told {
    is_low: bool,
    has_failed: bool,
}

impl Told {
    fn tell(&mut self, core: &Core, outlook: &Outlook) {
        self.has_failed = false;
        let Outlook { usable_bytes, mark_bytes, resume_bytes, is_low } = *outlook;
        let path = core.shared.data_dir.display();
        if is_low && !self.is_low {
            let SpaceLimits { free_bytes_min, .. } = core.shared.space.limits();
            tracing::error!(
                %path, free_bytes = usable_bytes, limit_bytes = mark_bytes, resume_bytes, setting = "ringmill.disk.free.bytes.min",
                free_bytes_min, "the disk is nearly full: records are refused until there is room again; reads, deletions and retention go on"
            );
        }
        if !is_low && self.is_low {
            tracing::info!(%path, free_bytes = usable_bytes, limit_bytes = mark_bytes, "there is room on the disk again: records are taken");
        }
        self.is_low = is_low;
    }

    fn tell_failure(&mut self, core: &Core, error: &std::io::Error) {
        if !std::mem::replace(&mut self.has_failed, true) {
            let path = core.shared.data_dir.display();
            tracing::warn!(%path, %error, "the free space of the disk cannot be read");
        }
    }
}

impl Core {
    /// Commits a change of metadata that must be possible on a full disk, because it can free space: with the reserve's help if need be.
    ///
    /// # Errors
    /// Those of `attempt`: of the last one, when the reserve has nothing left to give.
    pub async fn commit<T>(
        &self,
        mut attempt: impl AsyncFnMut() -> Result<T, MetadataError>,
    ) -> Result<T, MetadataError> {
        loop {
            match attempt().await {
                Err(MetadataError::NoSpace(_)) if self.shared.space.give_up_slice(self.disk()).await => {}
                result => return result,
            }
        }
    }
}
