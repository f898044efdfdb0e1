//! What all groups are looked at for: topics that were deleted, topics that have changed, and what has expired.
//!
//! A step takes a bounded part of that. What is left is due at once, in steps of their own, so that deadlines and requests have their turn
//! between. A sweep goes by the order of ids, so groups may come and go while it is under way: one that comes knows the topics as they are.

use std::ops::Bound;
use std::sync::Arc;

use super::{Groups, LOOKS_PER_STEP_MAX};
use crate::context::Context;
use crate::offsets::Place;

/// Those that are under way.
#[derive(Default)]
pub(super) struct Sweeps {
    deleted: Sweep,
    changed: Sweep,
    expiry: Sweep,
    /// When to go on.
    due_ms: Option<u64>,
}

/// How far a sweep is.
#[derive(Default)]
struct Sweep {
    at: Option<At>,
    /// To be done once more from the start: what it looks for has changed meanwhile.
    again: bool,
}

/// The next group.
struct At {
    group: Bound<Arc<str>>,
    /// Of its offsets, those behind this one are left.
    behind: Option<Place>,
}

#[derive(Clone, Copy)]
enum Aim {
    Deleted,
    Changed,
    Expiry,
}

impl Sweeps {
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.due_ms
    }

    /// Topics were deleted.
    pub(super) fn begin_deleted(&mut self) {
        self.deleted.begin_anew();
    }

    /// Topics have come, gone or grown.
    pub(super) fn begin_changed(&mut self) {
        self.changed.begin_anew();
    }

    /// Something may have expired.
    pub(super) fn begin_expiry(&mut self) {
        self.expiry.begin();
    }

    fn of(&mut self, aim: Aim) -> &mut Sweep {
        match aim {
            Aim::Deleted => &mut self.deleted,
            Aim::Changed => &mut self.changed,
            Aim::Expiry => &mut self.expiry,
        }
    }
}

impl Sweep {
    fn begin(&mut self) {
        self.at.get_or_insert(At { group: Bound::Unbounded, behind: None });
    }

    /// One that is under way is done to its end first, for it would never come to the last groups otherwise.
    fn begin_anew(&mut self) {
        self.again = self.at.is_some();
        self.begin();
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.again) {
            self.begin();
        }
    }
}

impl Groups {
    /// Does a step's part of each sweep that is under way.
    pub(super) fn sweep(&mut self, cx: &mut Context<'_>) {
        for aim in [Aim::Deleted, Aim::Changed, Aim::Expiry] {
            self.sweep_for(cx, aim);
        }
        if self.sweeps.changed.at.is_some() {
            cx.matching.keep_found();
        }
        let is_under_way =
            [&self.sweeps.deleted, &self.sweeps.changed, &self.sweeps.expiry].map(|each| each.at.is_some());
        self.sweeps.due_ms = is_under_way.contains(&true).then_some(cx.now.monotonic_ms + 1);
    }

    fn sweep_for(&mut self, cx: &mut Context<'_>, aim: Aim) {
        let mut looks_left = LOOKS_PER_STEP_MAX;
        while looks_left > 0
            && let Some(At { group, behind }) = self.sweeps.of(aim).at.take()
        {
            let next = self.by_id.range::<str, _>((group.as_ref().map(|id| &**id), Bound::Unbounded)).next();
            let Some(id) = next.map(|(id, _)| Arc::clone(id)) else {
                self.sweeps.of(aim).end();
                continue;
            };
            // The group that it was amid may have gone since.
            let behind = behind.filter(|_| matches!(&group, Bound::Included(amid) if *amid == id));
            let rest = self.look(cx, aim, &id, behind.as_ref(), &mut looks_left);
            let group = if rest.is_some() { Bound::Included(id) } else { Bound::Excluded(id) };
            self.sweeps.of(aim).at = Some(At { group, behind: rest });
        }
    }

    /// Looks at a group, and at no more of its offsets than looks are left; where it ended if there are more.
    fn look(
        &mut self,
        cx: &mut Context<'_>,
        aim: Aim,
        id: &Arc<str>,
        behind: Option<&Place>,
        looks_left: &mut usize,
    ) -> Option<Place> {
        let group = self.by_id.get_mut(id).expect("its key was just read");
        let looks = group.looks();
        let (looked, rest) = match aim {
            Aim::Changed => {
                group.members.on_topics_changed(cx);
                (0, None)
            }
            Aim::Deleted => group.forget_deleted_topics(cx, id, behind, *looks_left),
            Aim::Expiry => group.expire(cx, id, behind, *looks_left),
        };
        *looks_left = looks_left.saturating_sub(looks + looked);
        match aim {
            Aim::Expiry if rest.is_none() => self.forget_if_idle(cx, id),
            _ => self.settle(id, cx.now.monotonic_ms),
        }
        rest
    }
}
