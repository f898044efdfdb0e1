//! What consumers read: answers one by one, and whether those that follow on each other have everything.

use std::collections::BTreeMap;

use super::place::How;
use super::{Judge, Rule};
use crate::event::{Event, Line, Place, Run};

/// OFFSET_OUT_OF_RANGE.
const OUT_OF_RANGE: i16 = 1;
/// CORRUPT_MESSAGE and KAFKA_STORAGE_ERROR.
const DAMAGE_CODES: [i16; 2] = [2, 56];
/// UNKNOWN_TOPIC_OR_PARTITION and UNKNOWN_TOPIC_ID.
const UNKNOWN_TOPIC_CODES: [i16; 2] = [3, 100];

/// Fetches of one consumer that follow on each other.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) place: Place,
    /// Where it began.
    first: i64,
    pub(super) next: i64,
    /// On a compacted topic, where each key was seen last.
    pub(super) lasts: BTreeMap<u32, i64>,
    /// The last number of each idempotent producer in it.
    numbers: BTreeMap<u32, u64>,
}

impl Judge {
    pub(super) fn seen(&mut self, event: &Event) {
        let Event::Seen { consumer, place, asked, from, log_start, end, runs, next, foreign } = event else { return };
        let (consumer, place, asked, from, end) = (*consumer, *place, *asked, *from, *end);
        if let Some(dropped) = self.dropped_before(place, asked) {
            if !self.lied {
                let words = format!("{} is read, and its topic was deleted in line {dropped}", self.name(place));
                self.violation(Rule::Topics, words);
            }
            return;
        }
        if self.place(place).is_none() {
            return;
        }
        self.settle(place);
        self.keys_end_at(place, end);
        self.end_is(place, asked, end);
        if *log_start >= 0 {
            self.log_start_is(place, asked, *log_start);
        }
        let mut reading = match self.readings.remove(&consumer) {
            Some(reading) if reading.place == place && reading.next == from => reading,
            _ => Reading { place, first: from, next: from, lasts: BTreeMap::new(), numbers: BTreeMap::new() },
        };
        for run in runs {
            self.read_run(&mut reading, *run, end);
            self.know(place, *run, How::Seen);
        }
        let next = next.unwrap_or(reading.next);
        self.passed(&mut reading, asked, from, next, runs);
        self.readings.insert(consumer, reading);
        if let Some(foreign) = foreign {
            let words = format!("{} offset {}: {}", self.name(place), foreign.offset, foreign.words);
            self.violation(Rule::NothingForeign, words);
        }
    }

    fn read_run(&mut self, reading: &mut Reading, run: Run, end: i64) {
        let Run { offset, producer, number, count } = run;
        let place = reading.place;
        let is_compacted = self.is_compacted(place);
        if offset < reading.next || (offset > reading.next && !is_compacted) {
            let words = format!("{}: offset {offset} follows on {}", self.name(place), reading.next - 1);
            self.violation(Rule::Readable, words);
        }
        reading.next = offset.saturating_add_unsigned(count);
        // With write caching a failing sync takes the watermark back, and may do so while an answer is made of what was visible before it.
        let may_go_back = self.places.get(&place).is_some_and(|state| state.in_doubt);
        if reading.next > end && !may_go_back {
            let words =
                format!("{} offset {} was sent, behind the high watermark {end}", self.name(place), reading.next - 1);
            self.violation(Rule::Readable, words);
        }
        let has_lost = self.places.get(&place).is_none_or(|state| state.has_lost);
        if !has_lost
            && !is_compacted
            && self.producers.get(&producer).is_some_and(super::producer::ProducerState::is_idempotent)
        {
            let from_start = (reading.first == 0).then_some(0);
            let expected = reading.numbers.get(&producer).map(|last| last + 1).or(from_start);
            if let Some(expected) = expected.filter(|expected| *expected < number) {
                let words = format!(
                    "{} offset {offset} is {}, and number {expected} did not come before it",
                    self.name(place),
                    Judge::name_made(producer, number)
                );
                self.violation(Rule::NoGap, words);
            }
        }
        reading.numbers.insert(producer, number + count - 1);
    }

    pub(super) fn read_refused(&mut self, place: Place, asked: Line, from: i64, code: i16) {
        if self.leaving(place).is_some() || self.lied {
            return;
        }
        self.settle(place);
        let Some(topic) = self.topics.get(&place.topic) else {
            return self.bad_history(format!("topic {} was not announced", place.topic));
        };
        let made = topic.made.filter(|made| *made < asked);
        let Some(state) = self.places.get(&place) else { return };
        let (promised_in, promised) = state.ends.before(asked);
        let start_max = if state.retained_records_min.is_some() { i64::MAX } else { state.trim_sent };
        let why = match code {
            OUT_OF_RANGE if (start_max..=promised).contains(&from) && !state.in_doubt => {
                format!("the end was promised to be {promised} in line {promised_in}")
            }
            code if DAMAGE_CODES.contains(&code) && self.faults_in_life => {
                self.damaged_in_life.insert(place);
                return;
            }
            code if DAMAGE_CODES.contains(&code) => "the disk did not fail".to_owned(),
            code if UNKNOWN_TOPIC_CODES.contains(&code) => match made {
                Some(made) => format!("its topic was created in line {made}"),
                None => return,
            },
            _ => return,
        };
        let words =
            format!("{}: a fetch from offset {from} on is refused with code {code}, and {why}", self.name(place));
        self.violation(Rule::Readable, words);
    }

    pub(super) fn whole(&mut self, consumer: u32, place: Place, log_start: i64, end: i64) {
        // A disk that fails may take its file system with it. What was promised must be there when it is well again.
        if self.leaving(place).is_some() || log_start >= end || self.damaged_in_life.contains(&place) {
            return;
        }
        let reached = self.readings.get(&consumer).filter(|reading| reading.place == place);
        let reached = reached.map(|reading| (reading.first, reading.next));
        if reached.is_some_and(|(first, next)| first <= log_start && next >= end) {
            return self.whole_has_last_of_each_key(consumer, place, log_start);
        }
        let got = match reached {
            Some((first, next)) => format!("offsets {first} to {} could be read", next - 1),
            None => "nothing could be read".to_owned(),
        };
        let words = format!("{}: the log reaches from {log_start} to {end}, and {got}", self.name(place));
        self.violation(Rule::Readable, words);
    }
}
