//! The driver for what a partition remembers of idempotent producers: any batches in any order, against a model of five batches each.

use std::collections::BTreeMap;

use ringmill_batch::{Attributes, BatchHeader, Offset, sequence_after};
use ringmill_engine::producer_state::{BATCHES_PER_PRODUCER_MAX, ProducerState, Verdict};

use crate::script::Script;

/// What should be known of one producer: its epoch, and base sequence, offset delta and base offset of its last batches.
#[derive(Clone, Debug)]
struct Known {
    epoch: i16,
    batches: Vec<(i32, i32, Offset)>,
}

/// Steps of a script: a batch is judged, and appended if that is the verdict; or a snapshot is taken and read.
pub fn producers(data: &[u8]) {
    let mut script = Script::new(data);
    let (mut state, mut model) = (ProducerState::new(), BTreeMap::<i64, Known>::new());
    let mut end = Offset::ZERO;
    let mut now_ms = 1_000;
    while let Some(step) = script.step() {
        if step == 255 {
            snapshot(&mut state, &model, end);
            continue;
        }
        now_ms += i64::from(script.byte());
        let header = batch(&mut script, &model, end);
        let verdict = state.check(&header);
        assert_eq!(verdict, expected(&model, &header), "{header:?} after {model:?}");
        if verdict != Verdict::Append {
            continue;
        }
        let Some(after) = end.checked_add(u64::from(header.last_offset_delta.unsigned_abs()) + 1) else { return };
        state.advance(&header, now_ms);
        end = after;
        let known = model.entry(header.producer_id).or_insert(Known { epoch: 0, batches: Vec::new() });
        if known.epoch != header.producer_epoch {
            *known = Known { epoch: header.producer_epoch, batches: Vec::new() };
        }
        known.batches.push((header.base_sequence, header.last_offset_delta, header.base_offset));
        let excess = known.batches.len().saturating_sub(BATCHES_PER_PRODUCER_MAX);
        known.batches.drain(..excess);
        check_active(&state, &model);
    }
    snapshot(&mut state, &model, end);
}

fn batch(script: &mut Script<'_>, model: &BTreeMap<i64, Known>, base_offset: Offset) -> BatchHeader {
    let producer_id = i64::from(script.byte() % 4);
    let known = model.get(&producer_id);
    let expected = known.and_then(|known| known.batches.last()).map_or(0, |last| next_after(*last));
    let epoch = known.map_or(0, |known| known.epoch);
    let (base_sequence, last_offset_delta) = match script.byte() % 8 {
        0 => (script.number_i32() & i32::MAX, script.number_i32() & i32::MAX),
        1 => (i32::MAX - i32::from(script.byte() % 4), i32::from(script.byte() % 8)),
        2 => (0, i32::from(script.byte() % 4)),
        // A repeat.
        3 | 4 => match known.map(|known| &known.batches[..]) {
            Some(batches @ [_, ..]) => {
                let (sequence, delta, _) = batches[script.below(batches.len())];
                (sequence, delta)
            }
            _ => (0, 0),
        },
        _ => (expected, i32::from(script.byte() % 4)),
    };
    let producer_epoch = match script.byte() % 16 {
        0 => epoch.saturating_add(1),
        1 => (epoch - 1).max(0),
        2 => script.number_i16() & i16::MAX,
        _ => epoch,
    };
    BatchHeader {
        base_offset,
        batch_length: 49,
        leader_epoch: 0,
        crc: 0,
        attributes: Attributes::default(),
        last_offset_delta,
        base_timestamp: 0,
        max_timestamp: 0,
        producer_id,
        producer_epoch,
        base_sequence,
        record_count: 1,
    }
}

fn next_after((base_sequence, last_offset_delta, _): (i32, i32, Offset)) -> i32 {
    sequence_after(sequence_after(base_sequence, last_offset_delta), 1)
}

fn last_offset((_, last_offset_delta, base_offset): (i32, i32, Offset)) -> Offset {
    base_offset.checked_add(last_offset_delta.unsigned_abs().into()).expect("it was checked before it was appended")
}

/// The rules in the order of their strength.
fn expected(model: &BTreeMap<i64, Known>, header: &BatchHeader) -> Verdict {
    let &BatchHeader { producer_epoch, base_sequence, last_offset_delta, .. } = header;
    let Some(known) = model.get(&header.producer_id) else { return Verdict::Append };
    let in_order = |expected_sequence| match base_sequence == expected_sequence {
        true => Verdict::Append,
        false => Verdict::OutOfOrder { expected_sequence, base_sequence },
    };
    if producer_epoch < known.epoch {
        return Verdict::Fenced { known_epoch: known.epoch, producer_epoch };
    }
    if producer_epoch > known.epoch {
        return in_order(0);
    }
    let repeated = known.batches.iter().find(|batch| (batch.0, batch.1) == (base_sequence, last_offset_delta));
    match (repeated, known.batches.last()) {
        (Some(&batch), _) => {
            Verdict::Duplicate { base_offset: batch.2, last_offset: last_offset(batch), append_time_ms: None }
        }
        (None, Some(&newest)) => in_order(next_after(newest)),
        (None, None) => Verdict::Append,
    }
}

/// A snapshot of all that is appended knows all of it.
fn snapshot(state: &mut ProducerState, model: &BTreeMap<i64, Known>, end: Offset) {
    let read = ProducerState::decode(&state.encode(end)).expect("what was written can be read");
    assert_eq!(read, *state);
    *state = read;
    check_active(state, model);
}

fn check_active(state: &ProducerState, model: &BTreeMap<i64, Known>) {
    let found = state.active().map(|active| (active.id, active.epoch, active.last_sequence));
    let last = |known: &Known| known.batches.last().map(|batch| sequence_after(batch.0, batch.1));
    assert!(found.eq(model.iter().map(|(id, known)| (*id, known.epoch, last(known)))));
}
