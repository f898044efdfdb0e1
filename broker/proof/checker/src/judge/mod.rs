//! The judge: follows a history event by event, keeps what has been promised, and says what does not fit to it.
//!
//! It knows no time but what it is told with each event, and reads no file. Per partition it keeps every record between log start and end whose place is known; what
//! retention or a deletion has removed is forgotten, and so is what a power cut may have taken. Events come in here and are told to the part
//! that they concern: topics here, partitions in `place`, producers in `producer`, readings in `reading`, who owns what in a group in `members`,
//! its offsets in `commits`, what compaction takes away in `compacted`.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{Event, Line, Place, Run};

mod commits;
mod compacted;
mod members;
mod place;
mod producer;
mod reading;
mod timeline;
mod violation;
mod wording;

pub use compacted::Compacted;
pub use violation::{Rule, Violation};

use members::GroupState;
use place::PlaceState;
use producer::ProducerState;
use reading::Reading;

/// Violations that are kept; more say nothing new.
pub const VIOLATIONS_MAX: usize = 100;

/// Codes that leave open whether a request was carried out: REQUEST_TIMED_OUT and KAFKA_STORAGE_ERROR.
const UNCERTAIN_CODES: [i16; 2] = [7, 56];

/// Judges a history while it is told.
#[derive(Debug, Default)]
pub struct Judge {
    line: Line,
    /// The time of the last event.
    us: u64,
    /// How often the broker went down.
    life: u32,
    violations: Vec<Violation>,
    topics: BTreeMap<u32, Topic>,
    places: BTreeMap<Place, PlaceState>,
    producers: BTreeMap<u32, ProducerState>,
    readings: BTreeMap<u32, Reading>,
    groups: BTreeMap<String, GroupState>,
    /// Topics that are compacted, what is known of their keys, and what is missing.
    compacted: BTreeMap<u32, compacted::Promise>,
    keys: BTreeMap<Place, compacted::Keys>,
    taken: Compacted,
    /// Whether the disk fails now, and whether it did in this life of the broker.
    faults: bool,
    faults_in_life: bool,
    /// Where reads were refused for damage in this life, of a disk that failed in it.
    damaged_in_life: BTreeSet<Place>,
    /// Whether the broker is down or starts, and whether the disk failed while it last was and did.
    starting: bool,
    faults_in_start: bool,
    /// Whether a disk ever lied about a flush.
    lied: bool,
}

#[derive(Debug)]
struct Topic {
    name: String,
    caching: bool,
    retained_records_min: Option<u64>,
    made: Option<Line>,
    drop_sent: Option<Line>,
    dropped: Option<Line>,
}

impl Judge {
    /// Takes the next event, which was put down at `us`, microseconds since the beginning; gives its line.
    pub fn take(&mut self, us: u64, event: &Event) -> Line {
        self.line += 1;
        self.us = us;
        match event {
            Event::Begin { .. } => {}
            Event::Topic { topic, name, caching, retained_records_min } => {
                self.topic_is_announced(*topic, name, *caching, *retained_records_min);
            }
            Event::Compacted { topic, keys, tombstones_kept_us } => {
                self.topic_is_compacted(*topic, *keys, *tombstones_kept_us);
            }
            Event::TopicMade { .. }
            | Event::TopicDropSent { .. }
            | Event::TopicDropped { .. }
            | Event::TopicFound { .. }
            | Event::TopicAbsent { .. } => self.topic_event(event),
            Event::Producer { producer, place, idempotent } => {
                if self.producers.insert(*producer, ProducerState::new(*place, *idempotent)).is_some() {
                    self.bad_history(format!("producer {producer} is announced twice"));
                }
            }
            Event::Sent { producer, first, count } => self.sent(*producer, *first, *count),
            Event::Acked { producer, first, offset } => self.acked(*producer, *first, *offset),
            Event::Refused { producer, first, code } => self.refused(*producer, *first, *code),
            Event::Seen { .. } => self.seen(event),
            Event::ReadRefused { place, asked, from, code } => self.read_refused(*place, *asked, *from, *code),
            Event::Whole { consumer, place, log_start, end } => self.whole(*consumer, *place, *log_start, *end),
            Event::TrimSent { place, before } => {
                if let Some(state) = self.place(*place) {
                    state.trim_sent = state.trim_sent.max(*before);
                }
            }
            Event::Trimmed { place, log_start } => self.log_start_is(*place, self.line, *log_start),
            Event::Group { .. } | Event::Assigned { .. } | Event::GaveUp { .. } | Event::MemberOut { .. } => {
                self.member_event(event);
            }
            Event::CommitSent { .. }
            | Event::Committed { .. }
            | Event::CommitRefused { .. }
            | Event::CommitFound { .. } => self.commit_event(event),
            Event::Recovered { place, asked, log_start, end } => self.recovered(*place, *asked, *log_start, *end),
            Event::Booted => {
                self.faults_in_life = self.faults;
                self.faults_in_start = self.faults || (self.starting && self.faults_in_start);
                self.starting = false;
                self.readings.clear();
                self.damaged_in_life.clear();
                let faults = self.faults;
                self.places.values_mut().for_each(|state| state.in_doubt &= faults);
            }
            Event::Stopped => {
                self.is_down();
                self.places.values_mut().for_each(PlaceState::all_is_synced);
            }
            Event::Killed => self.is_down(),
            Event::PowerCut => {
                self.is_down();
                let line = self.line;
                self.places.values_mut().filter(|state| state.caching).for_each(|state| state.power_cut(line));
            }
            Event::LyingCut => {
                self.is_down();
                self.lied = true;
                let line = self.line;
                self.places.values_mut().for_each(|state| state.lying_cut(line));
            }
            Event::Faults { on } => self.faults(*on),
        }
        self.line
    }

    /// The line of the last event, 0 before the first.
    #[must_use]
    pub fn line(&self) -> Line {
        self.line
    }

    /// What was broken so far, the first [`VIOLATIONS_MAX`] of it.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Records whose place is known by now and that are not removed, over all partitions.
    #[must_use]
    pub fn records_known(&self) -> usize {
        self.places.values().map(|state| state.facts.len()).sum()
    }

    /// The log start and the end of a partition as far as they are promised by now.
    #[must_use]
    pub fn promised(&self, place: Place) -> (i64, i64) {
        self.places.get(&place).map_or((0, 0), |state| (state.log_starts.latest().1, state.ends.latest().1))
    }

    fn violation(&mut self, rule: Rule, words: String) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation { rule, line: self.line, words });
        }
    }

    fn bad_history(&mut self, words: String) {
        self.violation(Rule::BadHistory, words);
    }

    /// The partition's state; made when it is first spoken of.
    fn place(&mut self, place: Place) -> Option<&mut PlaceState> {
        let Some(topic) = self.topics.get(&place.topic) else {
            self.bad_history(format!("topic {} was not announced", place.topic));
            return None;
        };
        let new = || PlaceState::new(topic.caching, topic.retained_records_min, self.faults);
        Some(self.places.entry(place).or_insert_with(new))
    }

    fn topic_is_announced(&mut self, topic: u32, name: &str, caching: bool, retained_records_min: Option<u64>) {
        let name = name.to_owned();
        let new = Topic { name, caching, retained_records_min, made: None, drop_sent: None, dropped: None };
        if self.topics.insert(topic, new).is_some() {
            self.bad_history(format!("topic {topic} is announced twice"));
        }
    }

    fn topic_event(&mut self, event: &Event) {
        let line = self.line;
        let (Event::TopicMade { topic }
        | Event::TopicDropSent { topic }
        | Event::TopicDropped { topic }
        | Event::TopicFound { topic, .. }
        | Event::TopicAbsent { topic, .. }) = event
        else {
            return;
        };
        let Some(state) = self.topics.get_mut(topic) else {
            return self.bad_history(format!("topic {topic} was not announced"));
        };
        match event {
            Event::TopicMade { .. } => state.made = Some(line),
            Event::TopicDropSent { .. } => state.drop_sent = state.drop_sent.or(Some(line)),
            Event::TopicDropped { .. } => {
                state.dropped = Some(line);
                // Nothing of it is looked at any more, but that it is not seen again.
                self.places.retain(|place, _| place.topic != *topic);
            }
            Event::TopicFound { asked, .. } if !self.lied => {
                if let Some(dropped) = state.dropped.filter(|dropped| dropped < asked) {
                    let words = format!("topic {:?} was deleted in line {dropped}, and is there", state.name);
                    self.violation(Rule::Topics, words);
                }
            }
            Event::TopicAbsent { asked, .. } if !self.lied => {
                if let (Some(made), None) = (state.made.filter(|made| made < asked), state.drop_sent) {
                    let words = format!("topic {:?} was created in line {made}, and is not there", state.name);
                    self.violation(Rule::Topics, words);
                }
            }
            _ => {}
        }
    }

    /// Since when a deletion of the topic is under way.
    fn leaving(&self, place: Place) -> Option<Line> {
        self.topics.get(&place.topic).and_then(|topic| topic.drop_sent)
    }

    /// Whether the topic's deletion was answered before this line.
    fn dropped_before(&self, place: Place, line: Line) -> Option<Line> {
        self.topics.get(&place.topic).and_then(|topic| topic.dropped).filter(|dropped| *dropped < line)
    }

    /// The broker is gone, and a start comes next.
    fn is_down(&mut self) {
        self.faults_in_start = self.faults || (self.starting && self.faults_in_start);
        self.starting = true;
        self.life += 1;
        let line = self.line;
        self.groups.values_mut().for_each(|group| group.nothing_is_under_way(line));
    }

    fn faults(&mut self, on: bool) {
        self.faults = on;
        self.faults_in_life |= on;
        self.faults_in_start |= on && self.starting;
        if on {
            let line = self.line;
            for state in self.places.values_mut().filter(|state| state.caching) {
                state.power_cut(line);
                state.in_doubt = true;
            }
            self.settle_all();
        }
    }

    fn settle_all(&mut self) {
        let places: Vec<Place> = self.places.keys().copied().collect();
        places.into_iter().for_each(|place| self.settle(place));
    }

    /// After a power cut nobody has asked where the log ends: what was not synced for certain is forgotten.
    fn settle(&mut self, place: Place) {
        if let Some(state) = self.places.get(&place)
            && state.cut_pending
        {
            self.shrink(place, state.synced);
        }
    }

    /// A log ends at `end` after a cut: what was behind it is forgotten.
    fn shrink(&mut self, place: Place, end: i64) {
        let line = self.line;
        let Some(state) = self.places.get_mut(&place) else { return };
        for (_, fact) in state.shrink(line, end) {
            if let Some(producer) = self.producers.get_mut(&fact.producer) {
                producer.forget(fact.number);
            }
        }
        self.readings.retain(|_, reading| reading.place != place);
        self.keys_are_lost(place, end);
    }

    /// The records of a run are where it says. `how` is told when something else is found there later.
    fn know(&mut self, place: Place, run: Run, how: place::How) {
        for (index, offset) in (0..run.count).zip(run.offset..) {
            self.know_one(place, offset, (run.producer, run.number + index), how);
        }
    }
}

#[cfg(test)]
mod tests;
