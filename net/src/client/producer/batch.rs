//! A partition's batches on the producer's side: the one being filled, those that are ready, and who waits for each record.
//!
//! Pure state: no I/O, and time comes in as an argument. The sender task moves batches from here to requests and back.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ringmill_batch::{BatchBuilder, BatchHeader, DecompressLimit, RecordSet, crc32c, read_records, sequence_after};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::{Delivered, Identity, ProducerOptions, Queued, Report};
use crate::client::ClientError;

/// Where the bytes begin that a batch's CRC covers.
const CRC_COVERS_FROM: usize = 21;

/// A batch that is closed and only waits to be sent, for the first time or again.
pub(super) struct ReadyBatch {
    pub(super) bytes: Bytes,
    reports: Vec<(Report, OwnedSemaphorePermit)>,
    /// The earliest of its records' deadlines.
    pub(super) deadline: Instant,
}

impl ReadyBatch {
    /// Tells every record's sender that it lies at `base_offset` and following; −1 where no answer was asked for.
    pub(super) fn delivered(self, topic: &Arc<str>, partition: i32, base_offset: i64) {
        for (offset, (report, space)) in (base_offset..).zip(self.reports) {
            let offset = if base_offset < 0 { -1 } else { offset };
            drop(space);
            report.tell(Ok(Delivered { topic: Arc::clone(topic), partition, offset }));
        }
    }

    /// Writes another producer and sequence number into it. Returns the number that comes after it.
    fn renumber(&mut self, Identity { id, epoch }: Identity, sequence: i32) -> i32 {
        // Unless an earlier request still holds the bytes, this takes them as they are.
        let mut bytes = BytesMut::from(std::mem::take(&mut self.bytes));
        let mut header = BatchHeader::parse(&bytes).expect("the builder makes sound batches");
        (header.producer_id, header.producer_epoch, header.base_sequence) = (id, epoch, sequence);
        header.write(&mut bytes);
        header.crc = crc32c(&bytes[CRC_COVERS_FROM..]);
        header.write(&mut bytes);
        self.bytes = bytes.freeze();
        sequence_after(sequence, header.record_count)
    }

    /// Cuts a batch in two that the broker found too large, each half with the numbers that its records had. A batch of one record, or
    /// one that cannot be read, comes back as it was.
    pub(super) fn split(mut self, options: &ProducerOptions) -> Result<[ReadyBatch; 2], ReadyBatch> {
        let middle = self.reports.len() / 2;
        let halves = match read_records(&self.bytes, DecompressLimit::default()) {
            Ok(records) if middle > 0 => {
                [rebuild(&records, 0..middle, options), rebuild(&records, middle..usize::MAX, options)]
            }
            _ => [None, None],
        };
        let [Some(first), Some(second)] = halves else { return Err(self) };
        let (reports, deadline) = (self.reports.split_off(middle), self.deadline);
        let second = ReadyBatch { bytes: second, reports, deadline };
        Ok([ReadyBatch { bytes: first, reports: self.reports, deadline }, second])
    }

    /// Tells every record's sender why it was given up.
    pub(super) fn failed(self, error: &ClientError) {
        for (report, space) in self.reports {
            drop(space);
            report.tell(Err(error.clone()));
        }
    }
}

/// A batch of some of the records of another, with the sequence numbers that they had there.
fn rebuild(records: &RecordSet<'_>, range: Range<usize>, options: &ProducerOptions) -> Option<Bytes> {
    let mut builder = BatchBuilder::new(options.codec, options.level);
    for record in records.iter().skip(range.start).take(range.len()) {
        let record = record.ok()?;
        let headers: Vec<_> = record.headers.iter().collect();
        builder.push(record.timestamp_ms, record.key, record.value, &headers);
    }
    let header = records.header();
    if header.producer_id >= 0 {
        let skipped = i32::try_from(range.start).ok()?;
        let base_sequence = sequence_after(header.base_sequence, skipped);
        builder.producer(header.producer_id, header.producer_epoch, base_sequence);
    }
    Some(builder.finish().freeze())
}

/// One partition's share of the producer.
pub(super) struct Partition {
    builder: BatchBuilder,
    reports: Vec<(Report, OwnedSemaphorePermit)>,
    /// When the batch being filled was begun, and the earliest deadline in it.
    open: Option<(Instant, Instant)>,
    pub(super) ready: VecDeque<ReadyBatch>,
    /// Requests in flight that carry a batch of this partition.
    pub(super) in_flight: usize,
    /// Batches that failed for a reason that may pass, by the order of their sending. While there are any, nothing else of the
    /// partition is sent, and they only go again when nothing of it is in flight: that keeps the order.
    pub(super) failed: Vec<(u64, ReadyBatch)>,
    /// Nothing is sent before this; the sender clears it when the time has come.
    pub(super) resume_at: Option<Instant>,
    /// Whose numbers the batches bear, if the producer is idempotent.
    identity: Option<Identity>,
    next_sequence: i32,
    /// The broker's numbers and ours differ, because a batch was given up: only a new identity helps.
    pub(super) out_of_step: bool,
}

impl Partition {
    pub(super) fn new(options: &ProducerOptions, identity: Option<Identity>) -> Partition {
        Partition {
            builder: BatchBuilder::new(options.codec, options.level),
            reports: Vec::new(),
            open: None,
            ready: VecDeque::new(),
            in_flight: 0,
            failed: Vec::new(),
            resume_at: None,
            identity,
            next_sequence: 0,
            out_of_step: false,
        }
    }

    /// Adds a record; a batch that is full is closed. Says whether that happened.
    pub(super) fn push(&mut self, queued: Queued, now: Instant, now_ms: i64, options: &ProducerOptions) -> bool {
        let Queued { record, report, deadline, space, .. } = queued;
        let full = self.builder.len_bytes() + record.buffered_bytes() > options.batch_bytes && !self.builder.is_empty();
        if full {
            self.close();
        }
        let headers: Vec<(&[u8], Option<&[u8]>)> =
            record.headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
        let timestamp_ms = record.timestamp_ms.unwrap_or(now_ms);
        self.builder.push(timestamp_ms, record.key.as_deref(), record.value.as_deref(), &headers);
        self.reports.push((report, space));
        let (begun, earliest) = self.open.unwrap_or((now, deadline));
        self.open = Some((begun, earliest.min(deadline)));
        if self.builder.len_bytes() >= options.batch_bytes {
            self.close();
            return true;
        }
        full
    }

    /// Closes the batch being filled, if any: it gets its sequence number and is ready.
    pub(super) fn close(&mut self) {
        let Some((_, deadline)) = self.open.take() else { return };
        if let Some(Identity { id, epoch }) = self.identity {
            self.builder.producer(id, epoch, self.next_sequence);
            self.next_sequence = sequence_after(self.next_sequence, self.builder.count());
        }
        let bytes = self.builder.finish().freeze();
        let reports = std::mem::take(&mut self.reports);
        self.ready.push_back(ReadyBatch { bytes, reports, deadline });
    }

    /// When the batch being filled was begun.
    pub(super) fn open_since(&self) -> Option<Instant> {
        self.open.map(|(begun, _)| begun)
    }

    /// Puts failed batches back in front, in their order, once nothing is in flight.
    pub(super) fn requeue_failed(&mut self) {
        if self.in_flight > 0 || self.failed.is_empty() {
            return;
        }
        self.failed.sort_by_key(|(order, _)| *order);
        for (_, batch) in std::mem::take(&mut self.failed).into_iter().rev() {
            self.ready.push_front(batch);
        }
    }

    /// Whether a batch may be sent now.
    pub(super) fn may_send(&self) -> bool {
        !self.ready.is_empty() && self.failed.is_empty() && self.resume_at.is_none() && !self.out_of_step
    }

    /// Whether all that keeps it from being sent is its identity. Nothing may be in flight then, for that bears the old one.
    pub(super) fn wants_identity(&self) -> bool {
        self.out_of_step && self.in_flight == 0 && !self.ready.is_empty() && self.resume_at.is_none()
    }

    /// Numbers everything that waits anew, from 0.
    pub(super) fn take_identity(&mut self, identity: Identity) {
        assert!(self.in_flight == 0 && self.failed.is_empty(), "what is in flight bears the old numbers");
        let renumber = |sequence, batch: &mut ReadyBatch| batch.renumber(identity, sequence);
        self.next_sequence = self.ready.iter_mut().fold(0, renumber);
        self.identity = Some(identity);
        self.out_of_step = false;
    }

    /// A batch was given up: an idempotent producer's numbers have a gap from here on.
    pub(super) fn gave_up(&mut self) {
        self.out_of_step = self.identity.is_some();
    }

    /// Whether nothing is left to do.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_none() && self.ready.is_empty() && self.failed.is_empty() && self.in_flight == 0
    }
}
