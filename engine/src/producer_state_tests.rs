//! Producer state: each rule by example, and all of them against a model that keeps the whole history.

use super::*;
use proptest::prelude::*;
use ringmill_batch::{Attributes, Codec};

/// A batch of `count` records by a producer, stamped at `base_offset`.
fn batch(producer: (i64, i16), base_sequence: i32, count: i32, base_offset: i64) -> BatchHeader {
    BatchHeader {
        base_offset: Offset::new(base_offset).unwrap(),
        batch_length: 100,
        leader_epoch: 0,
        crc: 0,
        attributes: Attributes::of(Codec::None),
        last_offset_delta: count - 1,
        base_timestamp: 0,
        max_timestamp: 0,
        producer_id: producer.0,
        producer_epoch: producer.1,
        base_sequence,
        record_count: count,
    }
}

fn duplicate_at(base_offset: i64, last_offset: i64) -> Verdict {
    let offset = |value| Offset::new(value).unwrap();
    Verdict::Duplicate { base_offset: offset(base_offset), last_offset: offset(last_offset), append_time_ms: None }
}

const P: (i64, i16) = (7, 0);

#[test]
fn an_unknown_producer_may_start_anywhere_and_goes_on_from_there() {
    let mut state = ProducerState::new();
    assert_eq!(state.check(&batch(P, 900, 3, 0)), Verdict::Append);
    state.advance(&batch(P, 900, 3, 0), 0);
    assert_eq!(state.check(&batch(P, 903, 1, 0)), Verdict::Append);
    assert_eq!(state.check(&batch(P, 904, 1, 0)), Verdict::OutOfOrder { expected_sequence: 903, base_sequence: 904 });
    assert_eq!(state.check(&batch(P, 902, 1, 0)), Verdict::OutOfOrder { expected_sequence: 903, base_sequence: 902 });
}

#[test]
fn an_unknown_producer_whose_batch_was_refused_goes_on_with_that_one_or_begins_a_new_epoch() {
    // On a disk that was full for a moment the first batch of a pipeline was refused and the second taken: a gap for good.
    let mut state = ProducerState::new();
    state.note_refused(&batch(P, 0, 5, 0));
    state.note_refused(&batch(P, 5, 5, 0));
    assert_eq!(state.check(&batch(P, 5, 5, 0)), Verdict::OutOfOrder { expected_sequence: 0, base_sequence: 5 });
    assert_eq!(state.check(&batch((P.0, 1), 0, 5, 0)), Verdict::Append);
    assert_eq!(state.check(&batch(P, 0, 5, 0)), Verdict::Append);
    state.advance(&batch(P, 0, 5, 0), 0);
    assert_eq!(state.check(&batch(P, 5, 5, 0)), Verdict::Append);
}

#[test]
fn what_comes_before_the_refused_batch_is_no_gap_and_is_waited_for_when_it_is_refused_too() {
    // It was in the queue already when its successor found it full, or the disk low.
    let mut state = ProducerState::new();
    state.note_refused(&batch(P, 5, 5, 0));
    assert_eq!(state.check(&batch(P, 0, 5, 0)), Verdict::Append);
    state.note_refused(&batch(P, 0, 5, 0));
    assert_eq!(state.check(&batch(P, 5, 5, 0)), Verdict::OutOfOrder { expected_sequence: 0, base_sequence: 5 });
    // Sequences begin again at 0 behind the largest.
    let mut state = ProducerState::new();
    state.note_refused(&batch(P, 3, 5, 0));
    assert_eq!(state.check(&batch(P, i32::MAX - 1, 5, 0)), Verdict::Append);
    state.note_refused(&batch(P, i32::MAX - 1, 5, 0));
    let expected_sequence = i32::MAX - 1;
    assert_eq!(state.check(&batch(P, 3, 5, 0)), Verdict::OutOfOrder { expected_sequence, base_sequence: 3 });
}

#[test]
fn refused_batches_of_many_producers_are_remembered_of_the_latest() {
    let mut state = ProducerState::new();
    let latest = i64::try_from(AWAITED_MAX).unwrap();
    (0..=latest).for_each(|id| state.note_refused(&batch((id, 0), 0, 1, 0)));
    assert_eq!(state.check(&batch((0, 0), 1, 1, 0)), Verdict::Append, "forgotten");
    for id in [1, latest] {
        let verdict = Verdict::OutOfOrder { expected_sequence: 0, base_sequence: 1 };
        assert_eq!(state.check(&batch((id, 0), 1, 1, 0)), verdict, "{id}");
    }
}

#[test]
fn whoever_is_lost_with_a_seal_goes_on_with_the_first_batch_that_was_lost() {
    let mut before = ProducerState::new();
    before.advance(&batch(P, 3, 2, 0), 0);
    before.advance(&batch(P, 5, 1, 2), 0);
    before.note_refused(&batch((8, 0), 4, 1, 0));
    let mut state = ProducerState::new();
    state.note_lost(&before);
    assert_eq!(state.check(&batch(P, 6, 1, 0)), Verdict::OutOfOrder { expected_sequence: 3, base_sequence: 6 });
    assert_eq!(state.check(&batch(P, 3, 2, 0)), Verdict::Append);
    assert_eq!(state.check(&batch((8, 0), 5, 1, 0)), Verdict::OutOfOrder { expected_sequence: 4, base_sequence: 5 });
}

#[test]
fn the_last_five_batches_are_known_again_and_older_ones_are_out_of_order() {
    let mut state = ProducerState::new();
    for index in 0..6 {
        state.advance(&batch(P, index * 2, 2, i64::from(index) * 10), 0);
    }
    assert_eq!(state.check(&batch(P, 0, 2, 0)), Verdict::OutOfOrder { expected_sequence: 12, base_sequence: 0 });
    for index in 1..6 {
        let base_offset = i64::from(index) * 10;
        assert_eq!(state.check(&batch(P, index * 2, 2, 0)), duplicate_at(base_offset, base_offset + 1));
    }
    let half = state.check(&batch(P, 10, 1, 0));
    assert_eq!(
        half,
        Verdict::OutOfOrder { expected_sequence: 12, base_sequence: 10 },
        "only exact repeats are repeats"
    );
}

#[test]
fn a_repeat_brings_the_append_time_back() {
    let mut state = ProducerState::new();
    let first = batch(P, 0, 1, 5);
    let stamped = BatchHeader { attributes: first.attributes.with_log_append_time(), max_timestamp: 99, ..first };
    state.advance(&stamped, 0);
    assert!(matches!(state.check(&first), Verdict::Duplicate { append_time_ms: Some(99), .. }));
}

#[test]
fn sequences_start_over_behind_the_largest() {
    let mut state = ProducerState::new();
    state.advance(&batch(P, i32::MAX - 1, 2, 0), 0);
    assert_eq!(state.check(&batch(P, 0, 1, 0)), Verdict::Append);
    let mut state = ProducerState::new();
    state.advance(&batch(P, i32::MAX - 1, 4, 0), 0);
    assert_eq!(state.check(&batch(P, 2, 1, 0)), Verdict::Append);
}

#[test]
fn a_newer_epoch_starts_at_zero_and_fences_the_older() {
    let mut state = ProducerState::new();
    state.advance(&batch((7, 3), 40, 1, 0), 0);
    assert_eq!(state.check(&batch((7, 2), 41, 1, 0)), Verdict::Fenced { known_epoch: 3, producer_epoch: 2 });
    assert_eq!(state.check(&batch((7, 4), 41, 1, 0)), Verdict::OutOfOrder { expected_sequence: 0, base_sequence: 41 });
    assert_eq!(state.check(&batch((7, 4), 0, 1, 0)), Verdict::Append);
    state.advance(&batch((7, 4), 0, 1, 1), 0);
    assert_eq!(state.check(&batch((7, 3), 40, 1, 0)), Verdict::Fenced { known_epoch: 4, producer_epoch: 3 });
}

#[test]
fn batches_without_a_producer_leave_no_trace() {
    let mut state = ProducerState::new();
    let anonymous = batch((-1, -1), -1, 1, 0);
    state.advance(&anonymous, 0);
    assert_eq!(state.check(&anonymous), Verdict::Append);
    assert!(state.is_empty());
}

#[test]
fn who_is_active_is_told_by_rising_id_with_the_last_sequence_and_timestamp() {
    let mut state = ProducerState::new();
    state.advance(&BatchHeader { max_timestamp: 77, ..batch((9, 2), i32::MAX, 2, 0) }, 1_000);
    state.advance(&BatchHeader { max_timestamp: 50, ..batch((4, 0), 0, 3, 2) }, 1_000);
    state.advance(&BatchHeader { max_timestamp: 40, ..batch((4, 0), 3, 1, 5) }, 1_000);
    let told: Vec<_> = state.active().map(|p| (p.id, p.epoch, p.last_sequence, p.last_timestamp_ms)).collect();
    assert_eq!(told, [(4, 0, Some(3), 40), (9, 2, Some(0), 77)], "sequences start over behind the largest");
    let none_durable = ProducerState::decode(&state.encode(Offset::ZERO)).unwrap();
    assert!(none_durable.active().all(|producer| producer.last_sequence.is_none()));
}

#[test]
fn the_silent_are_forgotten_after_their_time() {
    let mut state = ProducerState::new();
    state.advance(&batch((1, 0), 0, 1, 0), 1_000);
    state.advance(&batch((2, 0), 0, 1, 1), 5_000);
    assert_eq!(state.expire(3_000, 2_000), 0);
    assert_eq!(state.expire(3_001, 2_000), 1);
    assert_eq!(state.check(&batch((1, 0), 50, 1, 0)), Verdict::Append);
    assert_eq!(state.len(), 1);
    // The clock jumped back: nobody ages.
    assert_eq!(state.expire(i64::MIN, 2_000), 0);
}

#[test]
fn one_producer_too_many_evicts_the_longest_silent() {
    let mut state = ProducerState::new();
    let ids = 0..i64::try_from(PRODUCERS_MAX).unwrap();
    for id in ids.clone() {
        // The producer 3 spoke first.
        state.advance(&batch((id, 0), 0, 1, id), if id == 3 { 10 } else { 20 });
    }
    state.advance(&batch((ids.end, 0), 0, 1, ids.end), 20);
    assert_eq!(state.len(), PRODUCERS_MAX);
    assert_eq!(state.check(&batch((3, 0), 0, 1, 0)), Verdict::Append);
    assert_eq!(state.check(&batch((2, 0), 0, 1, 0)), duplicate_at(2, 2));
}

#[test]
fn a_snapshot_holds_only_what_is_durable() {
    let mut state = ProducerState::new();
    state.advance(&batch(P, 0, 2, 10), 0);
    let durable = state.clone();
    state.advance(&batch(P, 2, 2, 12), 0);
    assert_eq!(state.active().next().and_then(|producer| producer.last_sequence), Some(3));
    assert_eq!(ProducerState::decode(&state.encode(Offset::new(13).unwrap())), Ok(durable));
    assert_eq!(ProducerState::decode(&state.encode(Offset::new(14).unwrap())), Ok(state));
}

#[test]
fn a_snapshot_cut_or_lengthened_is_refused() {
    let mut state = ProducerState::new();
    for id in 0..3 {
        state.advance(&batch((id, 0), 0, 1, id), 0);
    }
    let bytes = state.encode(Offset::new(100).unwrap());
    for length in 0..bytes.len() {
        assert_eq!(ProducerState::decode(&bytes[..length]), Err(SnapshotError), "{length} bytes");
    }
    assert_eq!(ProducerState::decode(&[&bytes[..], &[0]].concat()), Err(SnapshotError));
    assert_eq!(ProducerState::decode(&u32::MAX.to_be_bytes()), Err(SnapshotError));
}

/// Keeps everything that was ever appended and answers from there.
#[derive(Default)]
struct Model(Vec<BatchHeader>);

impl Model {
    fn check(&self, new: &BatchHeader) -> Verdict {
        let of_producer: Vec<_> = self.0.iter().filter(|old| old.producer_id == new.producer_id).collect();
        let Some(newest) = of_producer.last() else { return Verdict::Append };
        if new.producer_epoch < newest.producer_epoch {
            return Verdict::Fenced { known_epoch: newest.producer_epoch, producer_epoch: new.producer_epoch };
        }
        if new.producer_epoch == newest.producer_epoch {
            let same_epoch = of_producer.iter().rev().take_while(|old| old.producer_epoch == new.producer_epoch);
            let repeated = same_epoch
                .take(5)
                .find(|old| (old.base_sequence, old.record_count) == (new.base_sequence, new.record_count));
            if let Some(old) = repeated {
                return duplicate_at(old.base_offset.get(), old.last_offset().get());
            }
        }
        let expected = if new.producer_epoch > newest.producer_epoch {
            0
        } else {
            i32::try_from((i64::from(newest.base_sequence) + i64::from(newest.record_count)) % (1 << 31)).unwrap()
        };
        if new.base_sequence == expected {
            Verdict::Append
        } else {
            Verdict::OutOfOrder { expected_sequence: expected, base_sequence: new.base_sequence }
        }
    }
}

/// Who produces, how its sequence relates to the expected one, how many records.
fn step() -> impl Strategy<Value = (i64, i16, i32, i32)> {
    // Mostly in order, sometimes a repeat of one of the last, sometimes a gap.
    let shift = prop_oneof![6 => Just(0), 4 => -9..0_i32, 1 => 1..3_i32];
    (0..3_i64, prop_oneof![9 => Just(0_i16), 1 => -1..=1_i16], shift, prop_oneof![3 => Just(1), 1 => 2..4_i32])
}

proptest! {
    #[test]
    fn the_state_answers_as_the_whole_history_would(
        start in prop_oneof![Just(0), Just(i32::MAX - 4)], steps in proptest::collection::vec(step(), 1..120)
    ) {
        let (mut state, mut model, mut end) = (ProducerState::new(), Model::default(), 0);
        for (id, epoch_shift, sequence_shift, count) in steps {
            let newest = model.0.iter().rev().find(|old| old.producer_id == id);
            let epoch = newest.map_or(1, |old| (old.producer_epoch + epoch_shift).max(0));
            let next = newest.map_or(start, |old| sequence_after(old.last_sequence(), 1));
            let next = if epoch_shift == 1 { 0 } else { next };
            let new = batch((id, epoch), sequence_after(next, sequence_shift), count, end);
            let verdict = state.check(&new);
            prop_assert_eq!(verdict, model.check(&new));
            if verdict == Verdict::Append {
                state.advance(&new, end);
                model.0.push(new);
                end += i64::from(count);
            }
            // A restart between any two steps changes nothing.
            state = ProducerState::decode(&state.encode(Offset::new(end).unwrap())).unwrap();
        }
    }

    #[test]
    fn noise_is_no_snapshot_or_one_that_reads_the_same_again(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(state) = ProducerState::decode(&bytes) {
            prop_assert_eq!(ProducerState::decode(&state.encode(Offset::new(i64::MAX).unwrap())), Ok(state));
        }
    }
}
