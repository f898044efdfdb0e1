//! A group's offset of one partition: which commits were sent, what became of them, and which of them a lookup may show.
//!
//! Commits of several members may overlap, and one that was never answered may be carried out until the broker is gone. A commit is
//! passed once another is known to have been taken that was sent after the end of the first: from then on nobody may be shown it.

use std::collections::BTreeMap;

use super::{Judge, Rule};
use crate::event::{Event, Line};

/// Codes that leave open whether a commit was carried out: REQUEST_TIMED_OUT and COORDINATOR_NOT_AVAILABLE.
const UNCERTAIN_CODES: [i16; 2] = [7, 15];

/// Passed commits that are remembered, for lookups that were asked before they were passed.
const PASSED_MAX: usize = 1000;

/// All commits of a partition that may matter yet.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    by_number: BTreeMap<u64, Commit>,
    /// The highest number that was forgotten: it was passed long ago.
    forgotten: Option<u64>,
    /// Since when there is an offset for certain.
    known: Option<Line>,
}

/// A commit.
#[derive(Debug)]
struct Commit {
    member: Option<String>,
    generation: i32,
    offset: i64,
    sent: Line,
    /// From here on it is not carried out any more, or was before.
    ended: Option<Line>,
    /// It was acknowledged, or seen.
    taken: Option<Line>,
    /// With a code that leaves no doubt.
    refused: Option<(Line, i16)>,
    /// From here on it must not be seen; and the number of the one that has passed it.
    passed: Option<(Line, u64)>,
}

impl Offsets {
    pub(super) fn nothing_is_under_way(&mut self, line: Line) {
        self.by_number.values_mut().for_each(|commit| commit.ended = commit.ended.or(Some(line)));
    }

    /// Commit `number` is known to be the offset, or to have been: those that ended before it was sent are passed.
    fn took(&mut self, line: Line, number: u64) {
        let Some(commit) = self.by_number.get_mut(&number) else { return };
        commit.taken = commit.taken.or(Some(line));
        let sent = commit.sent;
        self.known = self.known.or(Some(line));
        for earlier in self.by_number.values_mut() {
            if earlier.passed.is_none() && earlier.ended.is_some_and(|ended| ended < sent) {
                earlier.passed = Some((line, number));
            }
        }
        while self.by_number.len() > PASSED_MAX {
            let gone = |commit: &Commit| commit.passed.is_some() || commit.refused.is_some();
            let Some((oldest, _)) = self.by_number.iter().find(|(_, commit)| gone(commit)) else { break };
            let oldest = *oldest;
            self.by_number.remove(&oldest);
            self.forgotten = self.forgotten.max(Some(oldest));
        }
    }

    /// What is wrong with a lookup that was asked in line `asked` and answered now.
    fn found(&mut self, line: Line, asked: Line, offset: Option<i64>, number: Option<u64>) -> Option<String> {
        let Some(offset) = offset else {
            let since = self.known.filter(|known| *known < asked)?;
            return Some(format!("has none, and had one in line {since}"));
        };
        let Some(commit) = number.and_then(|number| self.by_number.get(&number)) else {
            let forgotten = number.is_some() && number <= self.forgotten;
            let why = if forgotten { "was passed long ago" } else { "nobody sent" };
            return Some(format!("has {offset} of commit {number:?}, which {why}"));
        };
        let number = number.expect("it was found by it");
        let what = format!("has {offset} of commit {number}");
        if commit.offset != offset {
            return Some(format!("{what}, which said {} in line {}", commit.offset, commit.sent));
        }
        if let Some((line, code)) = commit.refused {
            return Some(format!("{what}, which was refused with {code} in line {line}"));
        }
        if let Some((since, by)) = commit.passed.filter(|(since, _)| *since < asked) {
            return Some(format!("{what} again, and had that of commit {by} in line {since}"));
        }
        self.took(line, number);
        None
    }
}

impl Judge {
    pub(super) fn commit_event(&mut self, event: &Event) {
        let line = self.line;
        let (Event::CommitSent { group, place, .. }
        | Event::Committed { group, place, .. }
        | Event::CommitRefused { group, place, .. }
        | Event::CommitFound { group, place, .. }) = event
        else {
            return;
        };
        let Some(state) = self.groups.get_mut(group) else {
            return self.bad_history(format!("group {group:?} was not announced"));
        };
        let offsets = state.offsets.entry(*place).or_default();
        let broken = match event {
            Event::CommitSent { member, generation, commit, offset, .. } => {
                let (member, generation, offset) = (member.clone(), *generation, *offset);
                let (ended, taken, refused, passed) = (None, None, None, None);
                let new = Commit { member, generation, offset, sent: line, ended, taken, refused, passed };
                let twice = offsets.by_number.insert(*commit, new).is_some();
                twice.then(|| (Rule::BadHistory, format!("sends commit {commit} twice")))
            }
            Event::Committed { commit, .. } => match offsets.by_number.get_mut(commit) {
                None => Some((Rule::BadHistory, format!("never sent commit {commit}"))),
                Some(taken) => {
                    taken.ended = Some(line);
                    let (member, generation, sent) = (taken.member.clone(), taken.generation, taken.sent);
                    offsets.took(line, *commit);
                    let why = member.and_then(|member| state.forbids(&member, generation, sent));
                    let words = |why| format!("takes commit {commit}, sent in line {sent} in {generation}: {why}");
                    why.filter(|_| !self.lied).map(|why| (Rule::OldGeneration, words(why)))
                }
            },
            Event::CommitRefused { commit, code, .. } => match offsets.by_number.get_mut(commit) {
                None => Some((Rule::BadHistory, format!("never sent commit {commit}"))),
                Some(_) if UNCERTAIN_CODES.contains(code) => None,
                Some(refused) => {
                    refused.ended = Some(line);
                    refused.refused = Some((line, *code));
                    let words =
                        |seen| format!("refuses commit {commit} with {code}, which was its offset in line {seen}");
                    refused.taken.map(|seen| (Rule::GroupOffsets, words(seen)))
                }
            },
            Event::CommitFound { asked, offset, commit, .. } if !self.lied => {
                offsets.found(line, *asked, *offset, *commit).map(|words| (Rule::GroupOffsets, words))
            }
            _ => None,
        };
        if let Some((rule, words)) = broken {
            let words = format!("group {group:?}, {}: it {words}", self.name(*place));
            self.violation(rule, words);
        }
    }
}
