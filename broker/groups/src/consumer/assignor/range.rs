//! The `range` assignor: each topic's partitions are cut into as many pieces as it has subscribers, the longer ones first.
//!
//! Readers come in one order for all topics, so that those with equal subscriptions get the same partitions of topics with equally many:
//! such topics can be joined. Static members come first, by their names, which outlive their ids.

use std::collections::BTreeMap;

use super::Problem;
use crate::consumer::assignment::Assignment;

/// What each member shall own.
pub(crate) fn assign(problem: &Problem<'_>) -> Vec<Assignment> {
    let mut order: Vec<usize> = (0..problem.members.len()).collect();
    order.sort_by_key(|member| {
        let subscriber = &problem.members[*member];
        (subscriber.instance_id.is_none(), subscriber.instance_id, subscriber.member_id)
    });
    let mut shares = vec![Assignment::new(); problem.members.len()];
    // Topics with the same subscribers share the list of them.
    let mut topics_by_readers: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
    for (topic, subscriptions) in problem.subscriptions_by_topic().into_iter().enumerate() {
        topics_by_readers.entry(subscriptions).or_default().push(topic);
    }
    for (subscriptions, topics) in topics_by_readers {
        let reads = |member: &usize| subscriptions.binary_search(&problem.members[*member].subscription).is_ok();
        let subscribers: Vec<usize> = order.iter().copied().filter(reads).collect();
        for topic in topics.into_iter().filter(|_| !subscribers.is_empty()) {
            let topic = problem.topics[topic];
            let partitions = usize::try_from(topic.partitions).unwrap_or(0);
            let (each, longer) = (partitions / subscribers.len(), partitions % subscribers.len());
            let mut rest = 0..topic.partitions;
            for (at, member) in subscribers.iter().enumerate() {
                let piece: Vec<i32> = rest.by_ref().take(each + usize::from(at < longer)).collect();
                if piece.is_empty() {
                    break;
                }
                shares[*member].insert(topic.id, piece);
            }
        }
    }
    shares
}
