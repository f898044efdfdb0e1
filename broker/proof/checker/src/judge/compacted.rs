//! Compacted topics: which records may be missing, and that what is gone stays gone.
//!
//! A record may be missing where a later one of its key lies in the log, or may lie there: one that was sent and never answered. A tombstone may
//! be missing, too, once it is old enough; then nothing older of its key may be there any more. Whoever reads from start to end in a moment
//! in which nobody writes sees the last record of each key, unless it is such a tombstone.

use std::collections::BTreeMap;

use super::place::Fact;
use super::reading::Reading;
use super::{Judge, Rule};
use crate::event::{Line, Place, Run};
use crate::keyed::Key;
use crate::made::Made;

/// How much earlier a tombstone may go: a broker counts in whole milliseconds.
const TICK_US: u64 = 1_000;

/// What a topic was announced with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promise {
    keys: u32,
    tombstones_kept_us: u64,
}

/// The keys of one partition.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// The last record of each key, as far as anybody was told.
    newest: BTreeMap<u32, Newest>,
    /// Records that were missing, and since when.
    gone: BTreeMap<i64, Line>,
    /// Tombstones that were missing and have no successor: nothing before them is left of their keys.
    buried: BTreeMap<u32, (i64, Line)>,
    /// What was sent in a life of the broker before this one lies before this end. The last entry is of the present life.
    ends: Vec<(u32, i64)>,
}

#[derive(Clone, Copy, Debug)]
struct Newest {
    offset: i64,
    /// When it was sent, if it is a tombstone.
    tombstone_sent_us: Option<u64>,
}

/// What compaction has taken away, as readers noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Records of which there is a later one, or may be.
    pub superseded: u64,
    /// Tombstones that were the last of their key.
    pub tombstones: u64,
}

impl Judge {
    /// What compaction has taken away so far.
    #[must_use]
    pub fn compacted(&self) -> Compacted {
        self.taken
    }

    /// Whether records of this partition may be missing.
    #[must_use]
    pub fn is_compacted(&self, place: Place) -> bool {
        self.compacted.contains_key(&place.topic)
    }

    pub(super) fn topic_is_compacted(&mut self, topic: u32, keys: u32, tombstones_kept_us: u64) {
        if !self.topics.contains_key(&topic) {
            return self.bad_history(format!("topic {topic} was not announced"));
        }
        self.compacted.insert(topic, Promise { keys, tombstones_kept_us });
    }

    /// Somebody was told where a record lies, for the first time.
    pub(super) fn key_is_known(&mut self, place: Place, offset: i64, (producer, number): (u32, u64)) {
        let Some(Promise { keys, .. }) = self.compacted.get(&place.topic) else { return };
        let Key { key, is_tombstone } = Made { producer, number }.key(*keys);
        // When that was is not known of what was acknowledged long ago; then it counts as old.
        let sent_us = self.producers.get(&producer).and_then(|state| state.sent_us(number)).unwrap_or(0);
        let new = Newest { offset, tombstone_sent_us: is_tombstone.then_some(sent_us) };
        let newest = &mut self.keys.entry(place).or_default().newest;
        if newest.get(&key).is_none_or(|newest| newest.offset < offset) {
            newest.insert(key, new);
        }
    }

    /// What was sent in earlier lives lies before the first end that is seen in this one.
    pub(super) fn keys_end_at(&mut self, place: Place, end: i64) {
        let life = self.life;
        if self.is_compacted(place) {
            let ends = &mut self.keys.entry(place).or_default().ends;
            if ends.last().is_none_or(|(since, _)| *since < life) {
                ends.push((life, end));
            }
        }
    }

    /// A log was allowed to lose everything from `end` on, and perhaps what compaction has done to the rest.
    pub(super) fn keys_are_lost(&mut self, place: Place, end: i64) {
        if let Some(keys) = self.keys.get_mut(&place) {
            *keys = Keys { ends: std::mem::take(&mut keys.ends), ..Keys::default() };
            let left = self.places.get(&place).map(|state| state.facts.clone()).unwrap_or_default();
            for (offset, Fact { producer, number, .. }) in left.range(..end) {
                self.key_is_known(place, *offset, (*producer, *number));
            }
        }
    }

    /// An answer that was asked for in line `asked` had these records between `from` and `next`, and none beside them.
    pub(super) fn passed(&mut self, reading: &mut Reading, asked: Line, from: i64, next: i64, runs: &[Run]) {
        let place = reading.place;
        let Some(Promise { keys, .. }) = self.compacted.get(&place.topic).copied() else {
            if next > reading.next {
                let words = format!("{} has no record at offsets {} to {}", self.name(place), reading.next, next - 1);
                self.violation(Rule::Readable, words);
            }
            return;
        };
        for &Run { offset, producer, number, count } in runs {
            for (index, offset) in (0..count).zip(offset..) {
                let made = Made { producer, number: number + index };
                reading.lasts.insert(made.key(keys).key, offset);
                self.must_be_left(place, asked, offset, made.key(keys).key);
            }
        }
        reading.next = next.max(reading.next);
        let Some(state) = self.places.get(&place).filter(|state| !state.in_doubt) else { return };
        let is_shown = |offset: i64| {
            let at = runs.partition_point(|run| run.offset <= offset).checked_sub(1);
            at.is_some_and(|at| offset < runs[at].offset.saturating_add_unsigned(runs[at].count))
        };
        let missing = state.facts.range(from..next.max(from)).filter(|(offset, _)| !is_shown(**offset));
        let missing: Vec<(i64, Fact)> = missing.map(|(offset, fact)| (*offset, *fact)).collect();
        for (offset, fact) in missing {
            self.is_missing(place, offset, fact);
        }
    }

    /// A record is shown; whoever asked after it was gone must not see it.
    fn must_be_left(&mut self, place: Place, asked: Line, offset: i64, key: u32) {
        let Some(keys) = self.keys.get(&place) else { return };
        if let Some(line) = keys.gone.get(&offset).filter(|line| **line < asked) {
            let words = format!("{} offset {offset} was gone in line {line}, and is there again", self.name(place));
            return self.violation(Rule::GoneStaysGone, words);
        }
        if let Some((after, line)) = keys.buried.get(&key).filter(|(after, line)| offset < *after && *line < asked) {
            let words = format!(
                "{} offset {offset} has key {key}, whose tombstone at offset {after} was gone in line {line}",
                self.name(place)
            );
            self.violation(Rule::GoneStaysGone, words);
        }
    }

    /// A record that was there is not.
    fn is_missing(&mut self, place: Place, offset: i64, fact: Fact) {
        let (line, us) = (self.line, self.us);
        let Some(Promise { keys, tombstones_kept_us }) = self.compacted.get(&place.topic).copied() else { return };
        let key = Made { producer: fact.producer, number: fact.number }.key(keys).key;
        let Some(state) = self.keys.get(&place) else { return };
        if state.gone.contains_key(&offset) {
            return;
        }
        let newest = state.newest.get(&key).copied();
        let is_superseded =
            newest.is_some_and(|newest| newest.offset > offset) || self.may_follow(place, offset, key, false);
        let is_over = newest.is_some_and(|newest| newest.is_over(us, tombstones_kept_us));
        // A disk that lies may keep what a compaction made, and lose the later records that it went by.
        let is_excused = self.lied || self.leaving(place).is_some();
        let Some(state) = self.keys.get_mut(&place) else { return };
        state.gone.insert(offset, line);
        if is_superseded {
            self.taken.superseded += 1;
        } else if is_over {
            state.buried.insert(key, (offset, line));
            self.taken.tombstones += 1;
        } else if !is_excused {
            let words = format!(
                "{}, and is gone, and nothing later of its key {key} is known",
                self.name_record(place, offset, &fact)
            );
            self.violation(Rule::LastOfKey, words);
        }
    }

    /// Whether a record of this key that was sent and not found may lie behind `offset`.
    fn may_follow(&self, place: Place, offset: i64, key: u32, is_tombstone: bool) -> bool {
        let Some(Promise { keys, .. }) = self.compacted.get(&place.topic).copied() else { return false };
        let ends = self.keys.get(&place).map(|keys| &keys.ends[..]).unwrap_or_default();
        let may_lie_there =
            |life: u32| ends.iter().find(|(since, _)| *since > life).is_none_or(|(_, end)| offset < *end - 1);
        let mut lost =
            self.producers.iter().filter(|(_, state)| state.place() == place).flat_map(|(producer, state)| {
                let lost = state.lost().filter(|(life, _)| may_lie_there(*life));
                lost.map(|(_, number)| Made { producer: *producer, number }.key(keys))
            });
        lost.any(|lost| lost.key == key && (lost.is_tombstone || !is_tombstone))
    }

    /// A reading has come from the start of a log to its end, and nobody wrote meanwhile: the last record of each key was in it.
    pub(super) fn whole_has_last_of_each_key(&mut self, reading_of: u32, place: Place, log_start: i64) {
        let us = self.us;
        let Some(Promise { tombstones_kept_us, .. }) = self.compacted.get(&place.topic).copied() else { return };
        let (Some(reading), Some(state)) = (self.readings.get(&reading_of), self.places.get(&place)) else { return };
        let known = self.keys.get(&place).map(|keys| keys.newest.clone()).unwrap_or_default();
        let expected = log_start.max(state.log_starts.latest().1)..reading.next;
        let missing = known.into_iter().filter(|(key, newest)| {
            let is_shown = reading.lasts.get(key).is_some_and(|last| *last >= newest.offset);
            expected.contains(&newest.offset) && !is_shown && !newest.is_over(us, tombstones_kept_us)
        });
        let missing: Vec<(u32, Newest)> = missing.collect();
        for (key, Newest { offset, .. }) in missing {
            if self.lied || self.may_follow(place, offset, key, true) {
                continue;
            }
            let fact = self.places.get(&place).and_then(|state| state.facts.get(&offset)).copied();
            let record = match fact {
                Some(fact) => self.name_record(place, offset, &fact),
                None => format!("{} offset {offset} was known", self.name(place)),
            };
            let words = format!("{record}, the last of key {key}, and is not there, nor anything later of that key");
            self.violation(Rule::LastOfKey, words);
        }
    }
}

impl Newest {
    /// It is a tombstone and was shown for as long as it must be.
    fn is_over(&self, now_us: u64, kept_us: u64) -> bool {
        self.tombstone_sent_us.is_some_and(|sent_us| now_us + TICK_US >= sent_us.saturating_add(kept_us))
    }
}
