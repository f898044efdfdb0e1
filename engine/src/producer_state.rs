//! What a partition remembers of its idempotent producers, so that a repeated batch is answered and not appended twice.
//!
//! Per producer the epoch and the last five batches, which is as many as a client keeps in flight. The log asks
//! [`ProducerState::check`] before it assigns offsets and calls [`ProducerState::advance`] when it has; whether a batch is
//! durable is not known here, nor how a snapshot reaches the disk. Transactions add to this when they come: control batches
//! pass unseen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ringmill_batch::{BatchHeader, Offset, TimestampType, sequence_after};

/// Batches remembered per producer. Clients keep at most five in flight when they are idempotent.
pub const BATCHES_PER_PRODUCER_MAX: usize = 5;

/// Producers remembered per partition, about 1 MiB. One more evicts the one that has been silent the longest, which costs it no
/// more than its memory of repeats: a producer that is not known may start anywhere.
pub const PRODUCERS_MAX: usize = 4096;

/// Unknown producers per partition of which a refused batch is remembered. One more takes the place of the one with the lowest id, the
/// longest here: it is the likeliest to have gone away, and nothing else is ever heard of such a one.
const AWAITED_MAX: usize = 1024;

/// The idempotent producers of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerState {
    /// By id; ordered, so that what is evicted and what a snapshot looks like depends on nothing else.
    producers: BTreeMap<i64, Producer>,
    /// Unknown ones whose batch was refused for want of space, or lost with a seal: epoch and sequence of the first such batch, by id.
    /// Without this the next of a pipeline would be taken for a beginning as soon as there is space, and leave a gap for good. Of this
    /// process only; in no snapshot.
    awaited: BTreeMap<i64, (i16, i32)>,
    /// Whether it was rebuilt around records that could not be read: a producer may have come further than is known here.
    has_gaps: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    last_append_ms: i64,
    /// The largest timestamp in the newest batch, which is the producer's own word.
    last_timestamp_ms: i64,
    /// All of this epoch, oldest first; empty when a snapshot was taken before any of them was durable.
    batches: VecDeque<Appended>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Appended {
    base_sequence: i32,
    last_offset_delta: i32,
    base_offset: Offset,
    append_time_ms: Option<i64>,
}

impl Appended {
    fn last_offset(&self) -> Offset {
        self.base_offset
            .checked_add(self.last_offset_delta.unsigned_abs().into())
            .expect("checked when it was remembered")
    }

    fn next_sequence(&self) -> i32 {
        sequence_after(sequence_after(self.base_sequence, self.last_offset_delta), 1)
    }
}

/// A producer as DescribeProducers shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Its id.
    pub id: i64,
    /// The newest epoch that has written.
    pub epoch: i16,
    /// The sequence of its last record; `None` when that is not known.
    pub last_sequence: Option<i32>,
    /// The largest timestamp in its newest batch, as stamped by the topic.
    pub last_timestamp_ms: i64,
}

/// What is to be done with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant's sentence names its fields")]
pub enum Verdict {
    /// It follows on what is known, or nothing is known that speaks against it.
    Append,
    /// It was appended before, at these offsets: the answer is the original's, once that is durable.
    Duplicate { base_offset: Offset, last_offset: Offset, append_time_ms: Option<i64> },
    /// Its sequence leaves a gap, goes back behind what is remembered, or does not start a new epoch at 0
    /// (OUT_OF_ORDER_SEQUENCE_NUMBER, 45).
    OutOfOrder { expected_sequence: i32, base_sequence: i32 },
    /// A newer incarnation of the producer has written already (INVALID_PRODUCER_EPOCH, 47).
    Fenced { known_epoch: i16, producer_epoch: i16 },
}

impl ProducerState {
    /// Knows no producer.
    #[must_use]
    pub fn new() -> ProducerState {
        ProducerState::default()
    }

    /// Producers known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Whether no producer is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Says that batches between the first and the last that it was advanced by could not be read.
    pub fn note_gap(&mut self) {
        self.has_gaps = true;
    }

    /// Whether batches are missing from it, so that it must not outlive this process: the next may be able to read them.
    #[must_use]
    pub fn has_gaps(&self) -> bool {
        self.has_gaps
    }

    /// All that are known, by rising id.
    pub fn active(&self) -> impl ExactSizeIterator<Item = ActiveProducer> {
        self.producers.iter().map(|(&id, producer)| ActiveProducer {
            id,
            epoch: producer.epoch,
            last_sequence: producer
                .batches
                .back()
                .map(|newest| sequence_after(newest.base_sequence, newest.last_offset_delta)),
            last_timestamp_ms: producer.last_timestamp_ms,
        })
    }

    /// Where the newest batch of each producer begins, and the newest of those before `durable_end`, which is left when a power cut takes the
    /// other: what must stay in the log, though it may be empty, so that a replay of the log knows how far each has come.
    #[must_use]
    pub fn newest_batches(&self, durable_end: Offset) -> BTreeSet<Offset> {
        let newest = |producer: &Producer| {
            let durable = producer.batches.iter().rfind(|batch| batch.last_offset() < durable_end);
            [producer.batches.back(), durable].map(|batch| batch.map(|batch| batch.base_offset))
        };
        self.producers.values().flat_map(newest).flatten().collect()
    }

    /// Says what is to be done with a batch that has no offsets yet. Batches without a producer are always appended.
    #[must_use]
    pub fn check(&self, batch: &BatchHeader) -> Verdict {
        let &BatchHeader { producer_id, producer_epoch, base_sequence, .. } = batch;
        if !batch.has_producer() || batch.is_control() {
            return Verdict::Append;
        }
        let Some(known) = self.producers.get(&producer_id) else {
            return match self.awaited.get(&producer_id) {
                // What comes before it waited for its turn already when that one was refused.
                Some(&(epoch, sequence)) if epoch == producer_epoch && !is_before(base_sequence, sequence) => {
                    in_order(sequence, base_sequence)
                }
                _ => Verdict::Append,
            };
        };
        if producer_epoch < known.epoch {
            return Verdict::Fenced { known_epoch: known.epoch, producer_epoch };
        }
        if producer_epoch > known.epoch {
            return in_order(0, base_sequence);
        }
        let original = known.batches.iter().find(|appended| {
            appended.base_sequence == base_sequence && appended.last_offset_delta == batch.last_offset_delta
        });
        if let Some(&original) = original {
            return Verdict::Duplicate {
                base_offset: original.base_offset,
                last_offset: original.last_offset(),
                append_time_ms: original.append_time_ms,
            };
        }
        match known.batches.back() {
            Some(newest) => in_order(newest.next_sequence(), base_sequence),
            None => Verdict::Append,
        }
    }

    /// Remembers that a batch was refused that its producer will send again; only of an unknown producer is that of interest.
    pub fn note_refused(&mut self, batch: &BatchHeader) {
        if batch.has_producer() && !batch.is_control() && !self.producers.contains_key(&batch.producer_id) {
            self.wait_for(batch.producer_id, batch.producer_epoch, batch.base_sequence);
        }
    }

    /// Remembers what a seal has cost: `before` is what was known when it came, `self` what is still true. Whoever is no longer known
    /// goes on with the first batch that was lost.
    pub fn note_lost(&mut self, before: &ProducerState) {
        for (&id, producer) in &before.producers {
            if let (false, Some(first)) = (self.producers.contains_key(&id), producer.batches.front()) {
                self.wait_for(id, producer.epoch, first.base_sequence);
            }
        }
        for (&id, &(epoch, sequence)) in &before.awaited {
            self.wait_for(id, epoch, sequence);
        }
    }

    /// The one with the first sequence is waited for, unless the producer has begun anew since.
    fn wait_for(&mut self, id: i64, epoch: i16, sequence: i32) {
        let (known_epoch, known_sequence) = *self.awaited.entry(id).or_insert((epoch, sequence));
        if known_epoch < epoch || (known_epoch == epoch && is_before(sequence, known_sequence)) {
            self.awaited.insert(id, (epoch, sequence));
        }
        if self.awaited.len() > AWAITED_MAX {
            self.awaited.pop_first();
        }
    }

    /// Remembers a batch that has got its offsets: `batch` as stamped, `now_ms` the broker's time, milliseconds since 1970.
    /// Recovery calls it for every batch of the log that a snapshot does not cover, so a batch is taken as it comes.
    pub fn advance(&mut self, batch: &BatchHeader, now_ms: i64) {
        if !batch.has_producer() || batch.is_control() {
            return;
        }
        if !self.producers.contains_key(&batch.producer_id) && self.producers.len() >= PRODUCERS_MAX {
            self.evict_oldest();
        }
        self.awaited.remove(&batch.producer_id);
        let fresh = Producer {
            epoch: batch.producer_epoch,
            last_append_ms: now_ms,
            last_timestamp_ms: batch.max_timestamp,
            batches: VecDeque::new(),
        };
        let producer = self.producers.entry(batch.producer_id).or_insert(fresh);
        if producer.epoch != batch.producer_epoch {
            producer.epoch = batch.producer_epoch;
            producer.batches.clear();
        }
        if producer.batches.len() == BATCHES_PER_PRODUCER_MAX {
            producer.batches.pop_front();
        }
        let append_time_ms = match batch.timestamp_type() {
            TimestampType::CreateTime => None,
            TimestampType::LogAppendTime => Some(batch.max_timestamp),
        };
        producer.batches.push_back(Appended {
            base_sequence: batch.base_sequence,
            last_offset_delta: batch.last_offset_delta,
            base_offset: batch.base_offset,
            append_time_ms,
        });
        // The clock may jump back; a producer never seems older than it was.
        producer.last_append_ms = producer.last_append_ms.max(now_ms);
        producer.last_timestamp_ms = batch.max_timestamp;
        assert!(self.producers.len() <= PRODUCERS_MAX, "{} producers", self.producers.len());
    }

    fn evict_oldest(&mut self) {
        let oldest = self.producers.iter().min_by_key(|&(id, producer)| (producer.last_append_ms, *id));
        if let Some((&id, _)) = oldest {
            self.producers.remove(&id);
        }
    }

    /// Forgets producers that have appended nothing for `expire_after_ms`; answers how many.
    pub fn expire(&mut self, now_ms: i64, expire_after_ms: i64) -> usize {
        let before = self.producers.len();
        self.producers.retain(|_, producer| now_ms.saturating_sub(producer.last_append_ms) <= expire_after_ms);
        before - self.producers.len()
    }

    /// A snapshot: all that concerns offsets before `durable_end`.
    ///
    /// Big-endian: the number of producers (u32), then each by rising id: id (i64), epoch (i16), last append (i64, ms), last
    /// timestamp (i64, ms), the number of batches (u8), and each oldest first: base sequence (i32), last offset delta (i32), base
    /// offset (i64), append time (i64, ms, −1 without). Checksum and version are the business of whoever writes the file.
    #[must_use]
    pub fn encode(&self, durable_end: Offset) -> Vec<u8> {
        let count = u32::try_from(self.producers.len()).expect("producers are bounded");
        let mut bytes = count.to_be_bytes().to_vec();
        for (id, producer) in &self.producers {
            let durable = producer.batches.iter().filter(|batch| batch.last_offset() < durable_end);
            let durable: Vec<&Appended> = durable.collect();
            bytes.extend(id.to_be_bytes());
            bytes.extend(producer.epoch.to_be_bytes());
            bytes.extend(producer.last_append_ms.to_be_bytes());
            bytes.extend(producer.last_timestamp_ms.to_be_bytes());
            bytes.push(u8::try_from(durable.len()).expect("batches per producer are bounded"));
            for batch in durable {
                bytes.extend(batch.base_sequence.to_be_bytes());
                bytes.extend(batch.last_offset_delta.to_be_bytes());
                bytes.extend(batch.base_offset.get().to_be_bytes());
                bytes.extend(batch.append_time_ms.unwrap_or(-1).to_be_bytes());
            }
        }
        bytes
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// When the bytes are anything else; the log then rebuilds the state from its batches.
    pub fn decode(bytes: &[u8]) -> Result<ProducerState, SnapshotError> {
        let mut rest = bytes;
        let state = take_state(&mut rest).ok_or(SnapshotError)?;
        if rest.is_empty() { Ok(state) } else { Err(SnapshotError) }
    }
}

/// A producer snapshot that is not one, or of an older version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no producer snapshot")]
pub struct SnapshotError;

/// By the shorter way round: behind the largest sequence comes 0.
fn is_before(sequence: i32, other: i32) -> bool {
    let distance = other.wrapping_sub(sequence) & i32::MAX;
    distance != 0 && distance <= i32::MAX / 2
}

fn in_order(expected_sequence: i32, base_sequence: i32) -> Verdict {
    if base_sequence == expected_sequence {
        Verdict::Append
    } else {
        Verdict::OutOfOrder { expected_sequence, base_sequence }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*taken)
}

fn take_state(rest: &mut &[u8]) -> Option<ProducerState> {
    let count = usize::try_from(u32::from_be_bytes(take(rest)?)).ok().filter(|&count| count <= PRODUCERS_MAX)?;
    let mut producers = BTreeMap::new();
    for _ in 0..count {
        let id = i64::from_be_bytes(take(rest)?);
        let rises = producers.last_key_value().is_none_or(|(&before, _)| before < id);
        let producer = take_producer(rest)?;
        if id < 0 || !rises {
            return None;
        }
        producers.insert(id, producer);
    }
    Some(ProducerState { producers, ..ProducerState::default() })
}

fn take_producer(rest: &mut &[u8]) -> Option<Producer> {
    let epoch = i16::from_be_bytes(take(rest)?);
    let last_append_ms = i64::from_be_bytes(take(rest)?);
    let last_timestamp_ms = i64::from_be_bytes(take(rest)?);
    let [count] = take(rest)?;
    if epoch < 0 || usize::from(count) > BATCHES_PER_PRODUCER_MAX {
        return None;
    }
    let mut batches: VecDeque<Appended> = VecDeque::with_capacity(BATCHES_PER_PRODUCER_MAX);
    for _ in 0..count {
        let batch = take_batch(rest)?;
        if batches.back().is_some_and(|before| before.last_offset() >= batch.base_offset) {
            return None;
        }
        batches.push_back(batch);
    }
    Some(Producer { epoch, last_append_ms, last_timestamp_ms, batches })
}

fn take_batch(rest: &mut &[u8]) -> Option<Appended> {
    let base_sequence = i32::from_be_bytes(take(rest)?);
    let last_offset_delta = i32::from_be_bytes(take(rest)?);
    let base_offset = Offset::new(i64::from_be_bytes(take(rest)?))?;
    let append_time_ms = i64::from_be_bytes(take(rest)?);
    let in_range = base_sequence >= 0
        && last_offset_delta >= 0
        && base_offset.checked_add(last_offset_delta.unsigned_abs().into()).is_some();
    let append_time_ms = (append_time_ms >= 0).then_some(append_time_ms);
    in_range.then_some(Appended { base_sequence, last_offset_delta, base_offset, append_time_ms })
}

#[cfg(test)]
#[path = "producer_state_tests.rs"]
mod tests;
