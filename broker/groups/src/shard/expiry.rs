//! What is forgotten: offsets whose group has not been used for long, those of topics that are gone, and groups with nothing left.
//!
//! When an offset's time begins (KIP-211): for a group that only keeps offsets at its commit, for one whose members have all left at
//! that moment, or at the commit if that is later. While a group has members, only offsets of topics that it no longer reads age.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Group, Groups};
use crate::context::Context;
use crate::record::Offset;

impl Groups {
    /// Forgets what has expired.
    pub(super) fn expire(&mut self, cx: &mut Context<'_>) {
        let ids: Vec<Arc<str>> = self.by_id.keys().cloned().collect();
        for id in ids {
            let group = self.by_id.get_mut(&id).expect("its key was just read");
            group.expire(cx, &id);
            self.forget_if_idle(cx, &id);
        }
    }

    pub(super) fn on_topics_changed(&mut self, cx: &mut Context<'_>) {
        cx.matching.forget();
        let ids: Vec<Arc<str>> = self.by_id.keys().cloned().collect();
        for id in ids {
            self.by_id.get_mut(&id).expect("its key was just read").members.on_topics_changed(cx);
            self.settle(&id, cx.now.monotonic_ms);
        }
    }

    /// Forgets the offsets of topics that are no more.
    pub(super) fn forget_deleted_topics(&mut self, cx: &mut Context<'_>) {
        let ids: Vec<Arc<str>> = self.by_id.keys().cloned().collect();
        for id in ids {
            let group = self.by_id.get_mut(&id).expect("its key was just read");
            let topics = cx.topics;
            let is_gone = |topic: &Arc<str>, offset: &Offset| match topics.find(topic) {
                None => true,
                // Another topic of the same name.
                Some((topic_id, _)) => offset.is_of_another(topic_id),
            };
            group.offsets.delete_where(cx, &id, is_gone);
            self.settle(&id, cx.now.monotonic_ms);
        }
    }

    fn forget_if_idle(&mut self, cx: &mut Context<'_>, id: &Arc<str>) {
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
    fn expire(&mut self, cx: &mut Context<'_>, id: &Arc<str>) {
        let (now_ms, retention_ms) = (cx.now.wall_ms, cx.settings.offsets_retention_ms);
        let idle_since_ms = self.members.idle_since_ms();
        let is_old = |offset: &Offset| match offset.expire_ms {
            -1 => {
                let since_ms = offset.commit_ms.max(idle_since_ms.unwrap_or(i64::MIN));
                now_ms.saturating_sub(since_ms) >= retention_ms
            }
            expire_ms => now_ms >= expire_ms,
        };
        let old = self.offsets.topics_where(is_old);
        let read = if self.members.is_empty() { BTreeSet::new() } else { self.members.read_of(old) };
        self.offsets.delete_where(cx, id, |topic, offset| is_old(offset) && !read.contains(topic));
    }
}
