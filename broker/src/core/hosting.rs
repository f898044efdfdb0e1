//! Which partitions this process serves: who owns each, and how every core reads it.
//!
//! An immutable image, replaced as a whole when a topic comes or goes. A core looks at it through its own [`View`], which costs one
//! atomic load while nothing changes, so that no lock lies on the way of a request. It holds no setting and no name: those are the
//! metadata image's.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use ringmill_engine::log::LogReader;
use ringmill_engine::watch;

use crate::metadata::{Topic, TopicId};

/// A core of this process, counted from 0: a thread that owns partitions and serves connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(pub usize);

/// A partition of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    /// The topic.
    pub topic: TopicId,
    /// The partition's number inside its topic, from 0.
    pub index: i32,
}

/// One partition as every core sees it.
#[derive(Clone)]
pub struct Hosted {
    /// Takes its appends.
    pub owner: CoreId,
    /// Reads it, from any core; `None` while it is quarantined.
    pub reader: Option<Arc<LogReader>>,
}

/// All partitions of this process at one moment.
#[derive(Clone, Default)]
pub struct HostingImage {
    topics: BTreeMap<TopicId, BTreeMap<i32, Hosted>>,
}

impl HostingImage {
    /// Finds a partition of a topic. One that the topic does not count is not there, though it may be made already: what it would
    /// acknowledge before the topic counts it durably, a crash would take back.
    #[must_use]
    pub fn find(&self, topic: &Topic, index: i32) -> Option<&Hosted> {
        self.topics.get(&topic.id)?.get(&index).filter(|_| index < topic.partition_count)
    }
}

/// The one place where the image is replaced.
pub struct Hosting(watch::Sender<Arc<HostingImage>>);

impl Hosting {
    /// No partitions yet.
    #[must_use]
    pub fn new() -> Hosting {
        Hosting(watch::Sender::new(Arc::new(HostingImage::default())))
    }

    /// Adds partitions, or replaces them.
    pub fn add(&self, partitions: impl IntoIterator<Item = (PartitionId, Hosted)>) {
        self.0.send_modify(|image| {
            let image = Arc::make_mut(image);
            for (partition, hosted) in partitions {
                image.topics.entry(partition.topic).or_default().insert(partition.index, hosted);
            }
        });
    }

    /// Takes a topic's partitions from number `from` on out; parked fetches of them wake up by this.
    pub fn remove(&self, topic: TopicId, from: i32) {
        self.0.send_modify(|image| {
            let image = Arc::make_mut(image);
            let Some(partitions) = image.topics.get_mut(&topic) else { return };
            partitions.split_off(&from);
            if partitions.is_empty() {
                image.topics.remove(&topic);
            }
        });
    }

    /// The image as it changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<HostingImage>> {
        self.0.subscribe()
    }
}

impl Default for Hosting {
    fn default() -> Hosting {
        Hosting::new()
    }
}

/// One core's look at an image that others replace: an atomic load while it is unchanged, a short lock when it has changed.
pub struct View<T> {
    receiver: RefCell<watch::Receiver<Arc<T>>>,
    current: RefCell<Arc<T>>,
}

impl<T> View<T> {
    /// Looks at what `receiver` shows.
    #[must_use]
    pub fn new(mut receiver: watch::Receiver<Arc<T>>) -> View<T> {
        let current = receiver.borrow_and_update().clone();
        View { receiver: RefCell::new(receiver), current: RefCell::new(current) }
    }

    /// The newest image.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        let mut receiver = self.receiver.borrow_mut();
        if receiver.has_changed() {
            *self.current.borrow_mut() = receiver.borrow_and_update().clone();
        }
        self.current.borrow().clone()
    }

    /// Tells a task of this core when the image is replaced after this call.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<T>> {
        let mut receiver = self.receiver.borrow().clone();
        receiver.mark_unchanged();
        receiver
    }
}
