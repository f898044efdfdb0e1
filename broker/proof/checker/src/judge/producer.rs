//! One producer: what it sent, what became of it, and where its records lie.

use std::collections::BTreeMap;

use super::place::{Fact, How};
use super::{Judge, Rule, UNCERTAIN_CODES};
use crate::event::{Line, Place, Run};

/// OUT_OF_ORDER_SEQUENCE_NUMBER, INVALID_PRODUCER_EPOCH, UNKNOWN_PRODUCER_ID, DUPLICATE_SEQUENCE_NUMBER is not among them.
const OUT_OF_STEP_CODES: [i16; 3] = [45, 47, 59];

/// Acknowledged batches that are remembered, for an answer to a second request with the same batch.
const ACKED_BATCHES_KEPT: u64 = 1024;

#[derive(Debug)]
pub(super) struct ProducerState {
    place: Place,
    idempotent: bool,
    /// One behind the highest number that was sent.
    sent_to: u64,
    /// All before this number is acknowledged.
    acked_to: u64,
    /// By the number of the first record.
    batches: BTreeMap<u64, Batch>,
    /// Where its records lie, by number.
    offsets: BTreeMap<u64, i64>,
}

#[derive(Clone, Copy, Debug)]
struct Batch {
    count: u64,
    sent: u32,
    /// When it was first sent, and in which life of the broker last.
    sent_us: u64,
    life: u32,
    /// How often it was refused in a way that leaves nothing open.
    refused: u32,
    /// The last of these.
    refusal: Option<(Line, i16)>,
    acked: bool,
}

impl ProducerState {
    pub(super) fn new(place: Place, idempotent: bool) -> ProducerState {
        ProducerState { place, idempotent, sent_to: 0, acked_to: 0, batches: BTreeMap::new(), offsets: BTreeMap::new() }
    }

    /// A record that is not looked for any more.
    pub(super) fn forget(&mut self, number: u64) {
        self.offsets.remove(&number);
    }

    pub(super) fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// When a record was first sent, if that is still known.
    pub(super) fn sent_us(&self, number: u64) -> Option<u64> {
        self.batch_of(number).map(|batch| batch.sent_us)
    }

    /// Numbers that may be there, and nobody knows where, with the life of the broker in which they were last sent.
    pub(super) fn lost(&self) -> impl Iterator<Item = (u32, u64)> {
        let open = self.batches.iter().filter(|(_, batch)| batch.acked || batch.refused < batch.sent);
        open.flat_map(|(first, batch)| (*first..first + batch.count).map(|number| (batch.life, number)))
            .filter(|(_, number)| !self.offsets.contains_key(number))
    }

    /// The batch that holds a number.
    fn batch_of(&self, number: u64) -> Option<&Batch> {
        let (first, batch) = self.batches.range(..=number).next_back()?;
        (number < first + batch.count).then_some(batch)
    }

    /// Why a record must not be there, if it must not.
    fn refusal_of(&self, number: u64) -> Option<(Line, i16)> {
        let batch = self.batch_of(number)?;
        batch.refusal.filter(|_| batch.refused == batch.sent && !batch.acked)
    }

    fn advance_acked(&mut self) {
        while let Some(batch) = self.batches.get(&self.acked_to).filter(|batch| batch.acked) {
            self.acked_to += batch.count;
        }
        let old = self.acked_to.saturating_sub(ACKED_BATCHES_KEPT);
        while let Some(entry) = self.batches.first_entry().filter(|entry| *entry.key() < old && entry.get().acked) {
            entry.remove();
        }
    }
}

impl Judge {
    fn producer(&mut self, producer: u32) -> Option<&mut ProducerState> {
        if !self.producers.contains_key(&producer) {
            self.bad_history(format!("producer {producer} was not announced"));
        }
        self.producers.get_mut(&producer)
    }

    pub(super) fn sent(&mut self, producer: u32, first: u64, count: u64) {
        let (us, life) = (self.us, self.life);
        let Some(state) = self.producer(producer) else { return };
        let place = state.place;
        if first == state.sent_to && count > 0 {
            state.sent_to += count;
            let batch = Batch { count, sent: 1, sent_us: us, life, refused: 0, refusal: None, acked: false };
            state.batches.insert(first, batch);
        } else {
            match state.batches.get_mut(&first) {
                Some(batch) if batch.count == count && state.idempotent => {
                    batch.sent += 1;
                    batch.life = life;
                }
                _ => self.bad_history(format!("producer {producer} sends {count} records from number {first} on")),
            }
        }
        // So that the partition is known of, whatever comes first.
        self.place(place);
    }

    pub(super) fn acked(&mut self, producer: u32, first: u64, offset: Option<i64>) {
        let Some(state) = self.producer(producer) else { return };
        let place = state.place;
        let Some(batch) = state.batches.get_mut(&first) else {
            return self.bad_history(format!("number {first} of producer {producer} is acknowledged and was not sent"));
        };
        let count = batch.count;
        batch.acked = true;
        state.advance_acked();
        self.settle(place);
        if let Some(offset) = offset {
            self.know(place, Run { offset, producer, number: first, count }, How::Acknowledged);
            let line = self.line;
            if let Some(state) = self.places.get_mut(&place).filter(|state| !state.in_doubt) {
                state.ends.raise(line, offset.saturating_add_unsigned(count));
            }
        }
    }

    pub(super) fn refused(&mut self, producer: u32, first: u64, code: i16) {
        let line = self.line;
        let Some(state) = self.producer(producer) else { return };
        let (place, in_step) = (state.place, state.idempotent && state.acked_to >= first);
        let Some(batch) = state.batches.get_mut(&first) else {
            return self.bad_history(format!("number {first} of producer {producer} is refused and was not sent"));
        };
        if !UNCERTAIN_CODES.contains(&code) {
            batch.refused += 1;
            batch.refusal = Some((line, code));
        }
        let (from, to) = (first, first + batch.count);
        let forbidden = state.refusal_of(first).is_some();
        let there = state.offsets.range(from..to).next().map(|(number, offset)| (*number, *offset));
        if let Some((number, offset)) = there.filter(|_| forbidden) {
            let words = format!(
                "{} offset {offset} was seen to be {}, and that was refused with code {code} every time it was sent",
                self.name(place),
                Judge::name_made(producer, number)
            );
            self.violation(Rule::RefusedIsAbsent, words);
        }
        // A start learns of producers from their batches: of one that a failing disk did not give it, it knows nothing.
        let has_lost = self.faults_in_start || self.places.get(&place).is_some_and(|state| state.has_lost);
        if OUT_OF_STEP_CODES.contains(&code) && in_step && !has_lost && self.leaving(place).is_none() {
            let words = format!(
                "{}: number {first} of producer {producer} is refused with code {code}, and all before it is acknowledged",
                self.name(place)
            );
            self.violation(Rule::NoGap, words);
        }
    }

    /// A record of a producer has been found: is it one that it sent, there, once, and in order?
    pub(super) fn producer_is_known_at(&mut self, place: Place, offset: i64, fact: Fact) {
        let Fact { producer, number, .. } = fact;
        let here = format!("{} offset {offset} is {}", self.name(place), Judge::name_made(producer, number));
        let Some(state) = self.producers.get_mut(&producer).filter(|state| number < state.sent_to) else {
            return self.violation(Rule::NothingForeign, format!("{here}, and that was never sent"));
        };
        if state.place != place {
            let meant = state.place;
            let words = format!("{here}, and that was sent to {}", self.name(meant));
            return self.violation(Rule::NothingForeign, words);
        }
        let refusal = state.refusal_of(number);
        let before = state.offsets.range(..number).next_back().map(|(number, offset)| (*number, *offset));
        let after = state.offsets.range(number + 1..).next().map(|(number, offset)| (*number, *offset));
        let twice = state.offsets.insert(number, offset);
        if let Some((line, code)) = refusal {
            let words = format!("{here}, and that was refused with code {code} every time, the last in line {line}");
            self.violation(Rule::RefusedIsAbsent, words);
        }
        if let Some(other) = twice {
            let words = format!("{here}, and so is offset {other}");
            return self.violation(Rule::NoDuplicate, words);
        }
        let wrong = before.filter(|(_, found)| *found > offset).or(after.filter(|(_, found)| *found < offset));
        if let Some((other, found)) = wrong {
            let words = format!("{here}, and its number {other} is at offset {found}");
            self.violation(Rule::InOrder, words);
        }
    }
}
