//! The shard's groups for ListGroups, so many at a time that a step stays short.

use std::ops::Bound;
use std::sync::Arc;

use super::{Groups, LOOKS_PER_STEP_MAX};
use crate::listing::{ListGroups, ListedPart};

impl Groups {
    /// Those of the next groups that are wanted. The last group of a step may go beyond its looks.
    pub(super) fn list(&self, asked: &ListGroups) -> ListedPart {
        let after = asked.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut part = ListedPart::default();
        let mut looks_left = LOOKS_PER_STEP_MAX;
        for (id, group) in self.by_id.range::<str, _>((after, Bound::Unbounded)) {
            let listed = group.members.listed(id);
            if asked.wanted.fits(listed.state, listed.group_type) {
                part.groups.push(listed);
            }
            looks_left = looks_left.saturating_sub(group.looks());
            if looks_left == 0 {
                part.go_on_after = Some(Arc::clone(id));
                break;
            }
        }
        part
    }
}
