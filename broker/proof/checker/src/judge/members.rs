//! Who owns what in a group, as its members were told: one owner per partition, and no way back to a generation that is over.

use std::collections::{BTreeMap, BTreeSet};

use super::commits::Offsets;
use super::timeline::Timeline;
use super::{Judge, Rule};
use crate::event::{Event, Line, Place};

/// A group.
#[derive(Debug)]
pub(super) struct GroupState {
    is_consumer: bool,
    /// Who owns a partition: in the newest generation, or now.
    owners: BTreeMap<Place, (String, Line)>,
    /// The newest generation that any member was told of; of classic groups only.
    generation: Timeline,
    members: BTreeMap<String, MemberState>,
    pub(super) offsets: BTreeMap<Place, Offsets>,
}

/// A member.
#[derive(Debug)]
struct MemberState {
    /// The epochs that it was told; of the consumer protocol only.
    epoch: Timeline,
    /// Since when it knows that it is out.
    told_out: Option<Line>,
}

impl GroupState {
    fn new(is_consumer: bool) -> GroupState {
        GroupState {
            is_consumer,
            owners: BTreeMap::new(),
            generation: Timeline::new(0, 0),
            members: BTreeMap::new(),
            offsets: BTreeMap::new(),
        }
    }

    /// The broker is gone: what it has not carried out by now it never will.
    pub(super) fn nothing_is_under_way(&mut self, line: Line) {
        self.offsets.values_mut().for_each(|offsets| offsets.nothing_is_under_way(line));
    }

    /// Why a commit that was sent in line `sent` must not have been taken, if it must not.
    pub(super) fn forbids(&self, member: &str, generation: i32, sent: Line) -> Option<String> {
        let (since, newest) = match (self.is_consumer, self.members.get(member)) {
            (true, Some(state)) => {
                if let Some(line) = state.told_out.filter(|line| *line < sent) {
                    return Some(format!("the member was told in line {line} that it is out"));
                }
                state.epoch.before(sent)
            }
            (true, None) => return None,
            (false, _) => self.generation.before(sent),
        };
        (i64::from(generation) < newest).then(|| format!("{newest} was told in line {since}"))
    }

    /// A member is told what is its own; gives what another one owns.
    fn assign(&mut self, line: Line, member: &str, generation: i32, places: &[Place]) -> Vec<(Place, String, Line)> {
        let state = self
            .members
            .entry(member.to_owned())
            .or_insert_with(|| MemberState { epoch: Timeline::new(0, 0), told_out: None });
        state.told_out = None;
        state.epoch.raise(line, i64::from(generation));
        if !self.is_consumer {
            let newest = self.generation.latest().1;
            if i64::from(generation) < newest {
                // An answer that was long on its way: its generation's owners are forgotten.
                return Vec::new();
            }
            if i64::from(generation) > newest {
                self.owners.clear();
                self.generation.raise(line, i64::from(generation));
            }
        }
        let mut taken = Vec::new();
        for place in places {
            match self.owners.get(place) {
                Some((owner, since)) if owner != member => taken.push((*place, owner.clone(), *since)),
                Some(_) => {}
                None => drop(self.owners.insert(*place, (member.to_owned(), line))),
            }
        }
        taken
    }
}

impl Judge {
    pub(super) fn member_event(&mut self, event: &Event) {
        let line = self.line;
        let (Event::Group { group, .. }
        | Event::Assigned { group, .. }
        | Event::GaveUp { group, .. }
        | Event::MemberOut { group, .. }) = event
        else {
            return;
        };
        if let Event::Group { is_consumer, .. } = event {
            if self.groups.insert(group.clone(), GroupState::new(*is_consumer)).is_some() {
                self.bad_history(format!("group {group:?} is announced twice"));
            }
            return;
        }
        let Some(state) = self.groups.get_mut(group) else {
            return self.bad_history(format!("group {group:?} was not announced"));
        };
        match event {
            Event::Assigned { member, generation, places, .. } => {
                let distinct: BTreeSet<Place> = places.iter().copied().collect();
                let taken = state.assign(line, member, *generation, places);
                if distinct.len() < places.len() {
                    let words = format!("group {group:?} gives member {member:?} a partition twice: {places:?}");
                    self.violation(Rule::OneOwner, words);
                }
                let taken = if self.lied { Vec::new() } else { taken };
                for (place, owner, since) in taken {
                    let words = format!(
                        "group {group:?} gives {} to member {member:?} in {generation}, and {owner:?} has it since line {since}",
                        self.name(place)
                    );
                    self.violation(Rule::OneOwner, words);
                }
            }
            Event::GaveUp { member, places, .. } if state.is_consumer => {
                state.owners.retain(|place, (owner, _)| owner != member || !places.contains(place));
            }
            Event::MemberOut { member, told, .. } => {
                state.owners.retain(|_, (owner, _)| owner != member);
                if let Some(member) = state.members.get_mut(member).filter(|_| *told) {
                    member.told_out = member.told_out.or(Some(line));
                }
            }
            // Members of the classic protocol hand nothing over.
            _ => {}
        }
    }
}
