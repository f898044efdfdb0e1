//! One partition: which record lies where, as far as anybody was told, and how far its end and its start are promised.

use std::collections::BTreeMap;

use super::timeline::Timeline;
use super::{Judge, Rule};
use crate::event::{Line, Place};

/// How a client learnt where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Acknowledged,
    Seen,
}

/// A record whose place is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fact {
    pub(super) producer: u32,
    pub(super) number: u64,
    pub(super) line: Line,
    pub(super) how: How,
}

#[derive(Debug)]
pub(super) struct PlaceState {
    pub(super) caching: bool,
    pub(super) retained_records_min: Option<u64>,
    /// By offset.
    pub(super) facts: BTreeMap<i64, Fact>,
    /// The promised end: one behind the highest offset that was acknowledged or visible.
    pub(super) ends: Timeline,
    /// The log start as it was seen.
    pub(super) log_starts: Timeline,
    /// The highest log start that was asked for.
    pub(super) trim_sent: i64,
    /// What lies before this survives a power cut, on a topic with write caching too.
    pub(super) synced: i64,
    /// The power was cut, and nobody has looked yet how far the log reaches.
    pub(super) cut_pending: bool,
    /// The disk fails: nothing new is known for certain until the next start.
    pub(super) in_doubt: bool,
    /// It has lost records and was allowed to: producers have gaps here.
    pub(super) has_lost: bool,
}

impl PlaceState {
    pub(super) fn new(caching: bool, retained_records_min: Option<u64>, faults: bool) -> PlaceState {
        PlaceState {
            caching,
            retained_records_min,
            facts: BTreeMap::new(),
            ends: Timeline::new(0, 0),
            log_starts: Timeline::new(0, 0),
            trim_sent: 0,
            synced: 0,
            cut_pending: false,
            in_doubt: caching && faults,
            has_lost: caching && faults,
        }
    }

    pub(super) fn power_cut(&mut self, line: Line) {
        self.cut_pending = true;
        self.has_lost = true;
        self.ends = Timeline::new(line, self.synced);
    }

    pub(super) fn lying_cut(&mut self, line: Line) {
        self.synced = 0;
        self.log_starts = Timeline::new(line, 0);
        self.power_cut(line);
    }

    pub(super) fn all_is_synced(&mut self) {
        if !self.in_doubt && !self.cut_pending {
            self.synced = self.ends.latest().1;
        }
    }

    /// What is no longer promised.
    pub(super) fn shrink(&mut self, line: Line, end: i64) -> BTreeMap<i64, Fact> {
        self.cut_pending = false;
        self.ends = Timeline::new(line, end);
        self.facts.split_off(&end)
    }
}

impl Judge {
    /// One record is where somebody was told.
    pub(super) fn know_one(&mut self, place: Place, offset: i64, (producer, number): (u32, u64), how: How) {
        let line = self.line;
        let Some(state) = self.places.get_mut(&place) else { return };
        if offset < state.log_starts.latest().1 || (state.in_doubt && offset >= state.synced) {
            return;
        }
        let new = Fact { producer, number, line, how };
        if let Some(old) = state.facts.get(&offset).copied() {
            if (old.producer, old.number) != (producer, number) {
                let words = self.name_record(place, offset, &old);
                let now = Judge::name_made(producer, number);
                return self.violation(Rule::ContentStays, format!("{words}, and is now {now}"));
            }
            return;
        }
        state.facts.insert(offset, new);
        self.producer_is_known_at(place, offset, new);
        self.key_is_known(place, offset, (producer, number));
    }

    /// The end of a log as a client was told, when it had asked in line `asked`.
    pub(super) fn end_is(&mut self, place: Place, asked: Line, end: i64) {
        let line = self.line;
        let leaving = self.leaving(place).is_some();
        let Some(state) = self.places.get_mut(&place) else { return };
        let (promised_in, promised) = state.ends.before(asked);
        if state.in_doubt {
            return;
        }
        if end >= promised {
            return state.ends.raise(line, end);
        }
        if !leaving {
            let first_lost = state.facts.range(end..promised).next().map(|(offset, fact)| (*offset, *fact));
            let lost = match first_lost {
                Some((offset, fact)) => self.name_record(place, offset, &fact),
                None => format!("{} offset {end} was visible", self.name(place)),
            };
            let words = format!(
                "{lost}, and is gone: the log ends at {end}, and its end was promised to be {promised} in line {promised_in}"
            );
            self.violation(Rule::NothingLost, words);
        }
    }

    /// The log start as a client was told, when it had asked in line `asked`.
    pub(super) fn log_start_is(&mut self, place: Place, asked: Line, log_start: i64) {
        let line = self.line;
        let leaving = self.leaving(place).is_some();
        let lied = self.lied;
        let Some(state) = self.place(place) else { return };
        let (seen_in, before) = state.log_starts.before(asked);
        let end = state.ends.latest().1;
        let (trim_sent, retained) = (state.trim_sent, state.retained_records_min);
        let complaint = if log_start < before && !leaving {
            Some(format!("was {before} in line {seen_in}"))
        } else if log_start > trim_sent && !leaving && !lied {
            match retained {
                None => Some(format!("nobody asked for more than {trim_sent}")),
                Some(retained) if end.saturating_sub_unsigned(retained) < log_start && !state.in_doubt => {
                    Some(format!("the end is {end}, and retention leaves {retained} records"))
                }
                Some(_) => None,
            }
        } else {
            None
        };
        if log_start > state.log_starts.latest().1 {
            state.log_starts.raise(line, log_start);
            let kept = state.facts.split_off(&log_start);
            let removed = std::mem::replace(&mut state.facts, kept);
            for fact in removed.values() {
                if let Some(producer) = self.producers.get_mut(&fact.producer) {
                    producer.forget(fact.number);
                }
            }
        }
        if let Some(complaint) = complaint {
            let words = format!("the log start of {} is {log_start}, and {complaint}", self.name(place));
            self.violation(Rule::LogStart, words);
        }
    }

    /// Start and end after a start, before anything is written.
    pub(super) fn recovered(&mut self, place: Place, asked: Line, log_start: i64, end: i64) {
        let Some(state) = self.place(place) else { return };
        let (cut, in_doubt, synced) = (state.cut_pending, state.in_doubt, state.synced);
        self.end_is(place, asked, end);
        self.log_start_is(place, asked, log_start);
        if in_doubt {
            return;
        }
        if cut {
            // What was promised behind this end is gone; if it may not be, that has just been said.
            self.shrink(place, end.max(synced));
        }
        if let Some(state) = self.places.get_mut(&place) {
            state.synced = state.ends.latest().1;
        }
    }
}
