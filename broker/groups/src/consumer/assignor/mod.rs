//! Assignors: pure functions from subscriptions to who shall own what.

pub(crate) mod range;
pub(crate) mod uniform;

#[cfg(test)]
mod properties;

use std::sync::Arc;

use super::assignment::Assignment;
use crate::TopicId;

/// What there is to assign, and to whom.
#[derive(Debug)]
pub(crate) struct Problem<'a> {
    /// The topics that exist and have a subscriber.
    pub(crate) topics: Vec<Topic>,
    /// The different subscriptions, each as indexes into `topics`, in order. Many members share few of them.
    pub(crate) subscriptions: Vec<Vec<usize>>,
    /// Everybody, in the order of their ids.
    pub(crate) members: Vec<Subscriber<'a>>,
}

impl Problem<'_> {
    /// What the work grows with: members, partitions, and topics in the different subscriptions.
    pub(crate) fn size(&self) -> u64 {
        let partitions: u64 = self.topics.iter().map(|topic| u64::from(topic.partitions.unsigned_abs())).sum();
        let subscribed: usize = self.subscriptions.iter().map(Vec::len).sum();
        partitions + (self.members.len() + subscribed) as u64
    }
}

/// A topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Topic {
    pub(crate) id: TopicId,
    /// How many it has.
    pub(crate) partitions: i32,
}

/// A member.
#[derive(Debug)]
pub(crate) struct Subscriber<'a> {
    pub(crate) member_id: &'a Arc<str>,
    pub(crate) instance_id: Option<&'a Arc<str>>,
    /// Index into `subscriptions`.
    pub(crate) subscription: usize,
    /// What it was to own before.
    pub(crate) previous: Option<&'a Assignment>,
}

/// An assignor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Assignor {
    /// Even shares; what members have stays with them as far as that goes.
    Uniform,
    /// Neighbouring partitions, the same of each topic.
    Range,
}

impl Assignor {
    /// All of them; the first is used where no member asks for one.
    pub(crate) const ALL: [Assignor; 2] = [Assignor::Uniform, Assignor::Range];

    /// The name in the protocol.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }

    /// The one of that name.
    pub(crate) fn of_name(name: &str) -> Option<Assignor> {
        Assignor::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// What each member shall own, in the order of `problem.members`.
    pub(crate) fn assign(self, problem: &Problem<'_>) -> Vec<Assignment> {
        match self {
            Assignor::Uniform => uniform::assign(problem),
            Assignor::Range => range::assign(problem),
        }
    }
}

impl Problem<'_> {
    /// By topic, the subscriptions that have it.
    fn subscriptions_by_topic(&self) -> Vec<Vec<usize>> {
        let mut by_topic = vec![Vec::new(); self.topics.len()];
        for (subscription, topics) in self.subscriptions.iter().enumerate() {
            for topic in topics {
                by_topic[*topic].push(subscription);
            }
        }
        by_topic
    }
}
