//! The list of all groups, put together from all shards; `api/list_groups.rs` asks.

use std::rc::Rc;

use ringmill_groups::answer::{Answer, Listed};
use ringmill_groups::listing::{ListFilter, ListGroups, ListedPart};
use ringmill_groups::request::Request;
use ringmill_net::Line;
use ringmill_net::wire::ErrorCode;

use super::{ask_partition, group_topic};
use crate::core::Core;

/// Lists the groups that are wanted.
///
/// # Errors
/// As [`ask`](super::ask), if only one core cannot tell its part. INVALID_REQUEST if the list would be larger than `bytes_max`: the
/// protocol has no mark for a part of a list, and who took a part for all might delete the topics that the others read. Of the codes that no
/// client repeats the request for, this is the one whose text sends its reader to the broker's log, which says what to do.
pub async fn list(core: &Rc<Core>, wanted: &ListFilter, bytes_max: usize) -> Result<Vec<Listed>, ErrorCode> {
    let topic = group_topic(core).await?;
    let mut list = List { groups: Vec::new(), left_bytes: bytes_max };
    for index in 0..topic.partition_count {
        let mut after = None;
        loop {
            let asked = ListGroups { wanted: wanted.clone(), after };
            let Answer::List(part) = ask_partition(core, &topic, index, Request::List(asked)).await? else {
                unreachable!("groups answer in kind")
            };
            after = part.go_on_after.clone();
            if !list.add(part) {
                tell_too_many(core, bytes_max);
                return Err(ErrorCode::InvalidRequest);
            }
            if after.is_none() {
                break;
            }
        }
    }
    Ok(list.groups)
}

fn tell_too_many(core: &Core, bytes_max: usize) {
    if let Some(Line { left_out }) = core.groups().lines().line() {
        tracing::warn!(
            bytes_max,
            left_out,
            "ListGroups is refused: the answer would be larger than any may be; ask for fewer states or types, or delete groups \
             that nobody uses"
        );
    }
}

/// What was told so far.
struct List {
    groups: Vec<Listed>,
    left_bytes: usize,
}

impl List {
    /// False if there is no room for it.
    fn add(&mut self, part: ListedPart) -> bool {
        let bytes: usize = part.groups.iter().map(Listed::bytes).sum();
        let Some(left_bytes) = self.left_bytes.checked_sub(bytes) else { return false };
        self.left_bytes = left_bytes;
        self.groups.extend(part.groups);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_takes_parts_up_to_its_size_and_none_beyond() {
        let group = |name: String| Listed {
            group: name.into(),
            protocol_type: "".into(),
            state: "Empty",
            group_type: "classic",
        };
        let part = |number: usize| ListedPart { groups: vec![group(format!("{number:01024}"))], go_on_after: None };
        let one = part(0).groups[0].bytes();
        assert!((1_100..1_300).contains(&one), "{one} bytes for a name of 1,024");
        let mut list = List { groups: Vec::new(), left_bytes: 10 * one };
        assert_eq!((0..20).take_while(|number| list.add(part(*number))).count(), 10);
        assert_eq!((list.groups.len(), list.left_bytes), (10, 0));
    }
}
