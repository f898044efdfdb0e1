//! What is forgotten: offsets whose group has not been used for long, those of topics that are gone, and groups with nothing left.
//!
//! When an offset's time begins (KIP-211): for a group that only keeps offsets at its commit, for one whose members have all left at
//! that moment, or at the commit if that is later. While a group has members, only offsets of topics that it no longer reads age.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Group, Groups};
use crate::context::Context;
use crate::offsets::Place;
use crate::record::CommittedOffset;

impl Groups {
    pub(super) fn forget_if_idle(&mut self, cx: &mut Context<'_>, id: &Arc<str>) {
        let is_idle = self.by_id.get(id).is_some_and(|group| group.members.is_empty() && group.offsets.is_empty());
        match is_idle {
            true => self.forget(cx, id),
            false => self.settle(id, cx.now.monotonic_ms),
        }
    }

    /// Removes a group without members and offsets, durably.
    pub(super) fn forget(&mut self, cx: &mut Context<'_>, id: &Arc<str>) {
        let group = self.by_id.get(id).expect("the caller has found it");
        cx.effects.records.extend(group.members.tombstones(id));
        self.remove(id);
    }
}

impl Group {
    /// Forgets what has expired of the next so many offsets: how many were looked at, and where that ended if there are more.
    pub(super) fn expire(
        &mut self,
        cx: &mut Context<'_>,
        id: &Arc<str>,
        behind: Option<&Place>,
        most: usize,
    ) -> (usize, Option<Place>) {
        let (now_ms, retention_ms) = (cx.now.wall_ms, cx.settings.offsets_retention_ms);
        let idle_since_ms = self.members.idle_since_ms();
        let is_old = |offset: &CommittedOffset| match offset.expire_ms {
            -1 => {
                let since_ms = offset.commit_ms.max(idle_since_ms.unwrap_or(i64::MIN));
                now_ms.saturating_sub(since_ms) >= retention_ms
            }
            expire_ms => now_ms >= expire_ms,
        };
        let old = self.offsets.topics_where(behind, most, is_old);
        let read = if self.members.is_empty() { BTreeSet::new() } else { self.members.read_of(old) };
        self.offsets.delete_part(cx, id, behind, most, |topic, offset| is_old(offset) && !read.contains(topic))
    }

    /// Forgets the offsets of topics that are no more, among the next so many: how many were looked at, and where that ended if there are
    /// more.
    pub(super) fn forget_deleted_topics(
        &mut self,
        cx: &mut Context<'_>,
        id: &Arc<str>,
        behind: Option<&Place>,
        most: usize,
    ) -> (usize, Option<Place>) {
        let topics = cx.topics;
        let is_gone = |topic: &Arc<str>, offset: &CommittedOffset| match topics.find(topic) {
            None => true,
            // Another topic of the same name.
            Some((topic_id, _)) => offset.is_of_another(topic_id),
        };
        self.offsets.delete_part(cx, id, behind, most, is_gone)
    }
}
