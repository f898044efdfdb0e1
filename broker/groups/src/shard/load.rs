//! A shard out of its records.

use std::sync::Arc;

use super::sweeps::Sweeps;
use super::{Groups, Members, Shard};
use crate::classic::ClassicGroup;
use crate::consumer::ConsumerGroup;
use crate::context::{Effects, Now};
use crate::record::Record;
use crate::topics::Topics;

impl Shard {
    /// Takes a record that was read, in the order of the log.
    pub fn replay(&mut self, record: &Record) {
        self.groups.replay(record);
    }

    /// All records were read (or time stood still for members, who were refused): sessions begin, requests may come. Topics may have been
    /// deleted meanwhile.
    pub fn start(&mut self, now: Now, topics: &dyn Topics) -> Effects {
        let check = self.settings.expiry_interval_ms;
        self.step(now, topics, |groups, cx| {
            cx.matching.forget();
            let ids: Vec<Arc<str>> = groups.by_id.keys().cloned().collect();
            for id in ids {
                let group = groups.by_id.get_mut(&id).expect("its key was just read");
                if !group.was_stored() && group.members.is_empty() {
                    // Of a group of the consumer protocol only the records were left that removed it.
                    group.members = Members::Classic(ClassicGroup::new(Arc::clone(&id), cx.now.wall_ms));
                }
                group.members.start(cx);
                groups.downgrade_if_due(cx, &id);
                groups.settle(&id, cx.now.monotonic_ms);
            }
            groups.sweeps = Sweeps::default();
            groups.sweeps.begin_deleted();
            groups.sweep(cx);
            groups.next_expiry_ms = Some(cx.now.monotonic_ms.saturating_add(check));
        })
    }
}

impl Groups {
    fn replay(&mut self, record: &Record) {
        match record {
            Record::Offset { group, topic, partition, value } => {
                self.loading(group).offsets.apply(topic, *partition, value.as_ref());
            }
            Record::Classic { group, value: Some(stored) } => {
                self.loading(group).members = Members::Classic(ClassicGroup::from_stored(Arc::clone(group), stored));
            }
            Record::Classic { group, value: None } => {
                // A group that was upgraded left this before the records of the consumer protocol.
                let loading = self.loading(group);
                if matches!(loading.members, Members::Classic(_)) {
                    loading.members = Members::Classic(ClassicGroup::new(Arc::clone(group), -1));
                }
            }
            Record::Consumer { group, part } => self.loading_consumer(group).apply(part),
        }
    }

    fn loading_consumer(&mut self, id: &Arc<str>) -> &mut ConsumerGroup {
        let members = &mut self.loading(id).members;
        if let Members::Classic(_) = members {
            *members = Members::Consumer(ConsumerGroup::new(Arc::clone(id)));
        }
        match members {
            Members::Consumer(group) => group,
            Members::Classic(_) => unreachable!("it was just made one of the consumer protocol"),
        }
    }

    fn loading(&mut self, id: &Arc<str>) -> &mut super::Group {
        self.by_id.entry(Arc::clone(id)).or_insert_with(|| super::Group::new(Arc::clone(id), -1))
    }
}
