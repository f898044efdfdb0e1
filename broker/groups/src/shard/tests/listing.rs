//! The list of all groups: told in parts, and only what is asked for.

use super::*;
use crate::listing::{ListFilter, ListGroups, ListedPart};
use crate::shard::LOOKS_PER_STEP_MAX;

impl Bench {
    /// One offset of a group without members.
    pub(super) fn commit_as(&mut self, group: &str) {
        let request = OffsetCommit {
            group: group.into(),
            member_id: "".into(),
            instance_id: None,
            generation: -1,
            knows_epochs: true,
            offsets: vec![commit("t", 0)],
        };
        let answer = self.answered(Request::Commit(request));
        assert!(matches!(&answer, Answer::Commit(results) if results[..] == [Ok(())]), "{answer:?}");
    }

    fn listed(&mut self, wanted: &ListFilter, after: Option<Arc<str>>) -> ListedPart {
        match self.answered(Request::List(ListGroups { wanted: wanted.clone(), after })) {
            Answer::List(part) => part,
            other => panic!("{other:?}"),
        }
    }
}

/// One step copied every group there is, with all of their names; 600,000 of them fit into the memory that groups have by default.
#[test]
fn a_step_lists_a_bounded_number_of_groups_and_all_are_listed_at_the_end() {
    let count = 2 * LOOKS_PER_STEP_MAX + 10;
    let mut bench = Bench::new();
    for number in 0..count {
        bench.commit_as(&format!("g{number:06}"));
    }
    let (mut after, mut names) = (None, Vec::new());
    loop {
        let part = bench.listed(&ListFilter::default(), after);
        assert!(part.groups.len() <= LOOKS_PER_STEP_MAX, "{} in one step", part.groups.len());
        names.extend(part.groups.into_iter().map(|each| each.group));
        after = part.go_on_after;
        if after.is_none() {
            break;
        }
    }
    let expected: Vec<Arc<str>> = (0..count).map(|number| format!("g{number:06}").into()).collect();
    assert!(names == expected, "{} of {count} are listed", names.len());
}

#[test]
fn what_is_not_asked_for_does_not_leave_the_shard() {
    let mut bench = Bench::new();
    let _ = bench.pair();
    bench.commit_as("tool");
    let mut names = |states: &[&str], types: &[&str]| {
        let part = bench.listed(&ListFilter::new(states, types), None);
        assert_eq!(part.go_on_after, None);
        part.groups.into_iter().map(|each| each.group.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&[], &[]), ["g", "tool"]);
    assert_eq!(names(&["stable"], &["classic"]), ["g"]);
    assert_eq!(names(&["Empty", "NoSuchState"], &[]), ["tool"]);
    assert_eq!(names(&["NoSuchState"], &[]), [""; 0]);
    assert_eq!(names(&[], &["consumer"]), [""; 0]);
}
