//! The shards of one core.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ringmill_groups::NoRoom;
use ringmill_net::wire::ErrorCode;
use ringmill_net::{Line, LineLimit};
use tokio::task::JoinHandle;

use super::Ask;
use super::host::Host;
use crate::core::Core;
use crate::core::hosting::PartitionId;
use crate::internal_topics::GROUPS;

/// By partition.
pub struct Hosts {
    hosted: RefCell<BTreeMap<PartitionId, Hosted>>,
    lines: LineLimit,
}

struct Hosted {
    host: Rc<Host>,
    /// Lives the host's life.
    task: JoinHandle<()>,
}

impl Hosts {
    /// None yet.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it reads the clock")]
    pub fn new() -> Hosts {
        Hosts { hosted: RefCell::default(), lines: LineLimit::new() }
    }

    /// Tells the operator that a request was refused for want of room, and what sets it: few of the protocol's answers have words.
    pub(super) fn tell(&self, partition: PartitionId, no_room: &NoRoom) {
        if let Some(Line { left_out }) = self.lines.line() {
            let NoRoom { group, request, full } = no_room;
            tracing::warn!(
                partition = partition.index,
                group = &**group,
                left_out,
                "{request} is refused for want of room: {full}"
            );
        }
    }

    /// For lines about what peers ask of this core's groups.
    pub(super) fn lines(&self) -> &LineLimit {
        &self.lines
    }

    /// Begins to load what the core owns, so that sessions end and offsets expire although nobody asks.
    pub fn start(core: &Rc<Core>) {
        let image = core.metadata();
        let Some(topic) = image.topic(GROUPS) else { return };
        for index in 0..topic.partition_count {
            let partition = PartitionId { topic: topic.id, index };
            if core.owns(partition) {
                Hosts::host(core, partition);
            }
        }
    }

    /// Takes a request for a shard of this core.
    pub fn take(core: &Rc<Core>, ask: Ask) {
        if !core.owns(ask.partition) {
            // Quarantined, or the core is closing. Who asked may have gone.
            let _ = ask.reply.send(Err(ErrorCode::CoordinatorNotAvailable));
            return;
        }
        Hosts::host(core, ask.partition).take(core, ask.request, ask.reply);
    }

    /// Ends the shards' tasks; what is parked is refused.
    pub fn stop(&self) {
        for hosted in std::mem::take(&mut *self.hosted.borrow_mut()).into_values() {
            hosted.task.abort();
            hosted.host.close();
        }
    }

    fn host(core: &Rc<Core>, partition: PartitionId) -> Rc<Host> {
        let mut hosts = core.groups().hosted.borrow_mut();
        let hosted = hosts.entry(partition).or_insert_with(|| {
            let host = Host::new(partition);
            let task = tokio::task::spawn_local(Rc::clone(&host).live(Rc::clone(core)));
            Hosted { host, task }
        });
        Rc::clone(&hosted.host)
    }
}
