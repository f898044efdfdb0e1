//! Takes records out of a batch, as compaction does: what is kept stays at its offset, under its timestamp, in its order.
//!
//! Offsets, epoch, producer and sequence of the batch stay what they were; length, count, largest timestamp and checksum follow from the
//! records that are left, which are compressed as they were, unless that made too little of them for whoever reads them under a limit. Who is
//! kept is the caller's to say. The delete horizon is KIP-534's: the base timestamp of a batch with tombstones says from when on they may go.

use std::ops::Range;

use bytes::BytesMut;

use crate::codec::Compressor;
use crate::header::BatchHeader;
use crate::varint::{self, VARINT32_BYTES_MAX, VARINT64_BYTES_MAX};
use crate::{Codec, DecompressLimit, Record, RecordError, RecordSet, TimestampType};

/// Bytes that a record may take more, decompressed, once its batch has a delete horizon: its timestamp, and its length for that.
pub const HORIZON_BYTES_MAX: usize = VARINT64_BYTES_MAX;

/// Memory that is kept from one batch to the next; a larger batch's is given back.
const KEPT_BYTES_MAX: usize = 2 << 20;

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewritten {
    /// Every record is kept as it is: the batch stays as it is stored.
    Unchanged,
    /// No record is kept: nothing was written. [`emptied`](crate::emptied) makes the batch that keeps its place.
    Emptied,
    /// A new batch with this header was appended to the output.
    Changed(BatchHeader),
}

/// Rewrites one batch after the other; see the module's page.
#[derive(Default)]
pub struct BatchRewriter {
    /// Where the kept records lie in the old ones, neighbours joined.
    kept: Vec<Range<usize>>,
    plain: BytesMut,
    /// One for each codec that was met.
    compressors: [Option<Compressor>; Codec::ALL.len()],
}

/// What a walk over the records found.
struct Survey {
    count: i32,
    max_timestamp: i64,
    has_tombstone: bool,
}

impl BatchRewriter {
    /// Appends to `output` the batch of `records` with those that `keep` names, compressed as it was. Where a tombstone is kept in a batch
    /// that has no delete horizon yet, it gets `horizon_ms`, if there is one; the records' own timestamps stay. Whoever reads it under `limit` can.
    ///
    /// # Errors
    /// When the records cannot be read; nothing was written then.
    pub fn rewrite(
        &mut self,
        records: &RecordSet<'_>,
        horizon_ms: Option<i64>,
        keep: impl FnMut(&Record<'_>) -> bool,
        limit: DecompressLimit,
        output: &mut BytesMut,
    ) -> Result<Rewritten, RecordError> {
        let survey = self.survey(records, keep);
        let rewritten = survey.map(|survey| self.write_kept(records, &survey, horizon_ms, limit, output));
        self.give_back();
        rewritten
    }

    /// Walks all records, asks for each, and notes where the kept ones lie.
    fn survey(
        &mut self,
        records: &RecordSet<'_>,
        mut keep: impl FnMut(&Record<'_>) -> bool,
    ) -> Result<Survey, RecordError> {
        self.kept.clear();
        let mut survey = Survey { count: 0, max_timestamp: i64::MIN, has_tombstone: false };
        let mut walk = records.iter();
        let bytes = records.plain_bytes().len();
        loop {
            let start = bytes - walk.bytes_left();
            let Some(record) = walk.next() else { return Ok(survey) };
            let record = record?;
            if !keep(&record) {
                continue;
            }
            let end = bytes - walk.bytes_left();
            match self.kept.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => self.kept.push(start..end),
            }
            survey.count += 1;
            survey.max_timestamp = survey.max_timestamp.max(record.timestamp_ms);
            survey.has_tombstone |= record.value.is_none();
        }
    }

    /// Appends the batch of what the survey has found, if it differs from the old one.
    fn write_kept(
        &mut self,
        records: &RecordSet<'_>,
        survey: &Survey,
        horizon_ms: Option<i64>,
        limit: DecompressLimit,
        output: &mut BytesMut,
    ) -> Rewritten {
        if survey.count == 0 {
            return Rewritten::Emptied;
        }
        let header = *records.header();
        let gets_horizon = survey.has_tombstone && !header.attributes.has_delete_horizon();
        let horizon_ms = horizon_ms.filter(|_| gets_horizon);
        if survey.count == header.record_count && horizon_ms.is_none() {
            return Rewritten::Unchanged;
        }
        self.plain.clear();
        for range in &self.kept {
            let bytes = &records.plain_bytes()[range.clone()];
            match horizon_ms {
                Some(horizon_ms) => rebase(bytes, header.base_timestamp, horizon_ms, &mut self.plain),
                None => self.plain.extend_from_slice(bytes),
            }
        }
        let (attributes, base_timestamp) = match horizon_ms {
            Some(horizon_ms) => (header.attributes.with_delete_horizon(), horizon_ms),
            None => (header.attributes, header.base_timestamp),
        };
        // Where the broker's time of append is every record's, it stays so whoever is left.
        let max_timestamp = match header.timestamp_type() {
            TimestampType::CreateTime => survey.max_timestamp,
            TimestampType::LogAppendTime => header.max_timestamp,
        };
        let changed = BatchHeader { attributes, base_timestamp, max_timestamp, record_count: survey.count, ..header };
        Rewritten::Changed(self.write(changed, limit, output))
    }

    /// Appends header and records, compressed, to `output`; codec, length and checksum are settled here.
    fn write(&mut self, header: BatchHeader, limit: DecompressLimit, output: &mut BytesMut) -> BatchHeader {
        let start = output.len();
        output.resize(start + BatchHeader::BYTES, 0);
        let records = start + BatchHeader::BYTES;
        // Equal records, which is what may be left, zstd makes smaller than readers believe; gzip never does.
        let mut codec = header.codec();
        for tried in [codec, Codec::Gzip, Codec::None] {
            codec = tried;
            output.truncate(records);
            let number = Codec::ALL.iter().position(|&each| each == codec).expect("all codecs are listed");
            let compressor = self.compressors[number].get_or_insert_with(|| Compressor::new(codec, None));
            compressor.compress_onto(&self.plain, output);
            if codec == Codec::None || self.plain.len() <= limit.output_bytes_max(output.len() - records) {
                break;
            }
        }
        let length = output.len() - start - BatchHeader::LENGTH_PREFIX_BYTES;
        let batch_length = i32::try_from(length).expect("a batch that was read has records below 2 GiB");
        let attributes = header.attributes.with_codec(codec);
        BatchHeader { batch_length, attributes, ..header }.seal(&mut output[start..])
    }

    /// After a large batch, its memory.
    fn give_back(&mut self) {
        if self.plain.capacity() > KEPT_BYTES_MAX {
            self.plain = BytesMut::new();
            self.compressors = Default::default();
        }
        if self.kept.capacity() * size_of::<Range<usize>>() > KEPT_BYTES_MAX {
            self.kept = Vec::new();
        }
    }
}

impl std::fmt::Debug for BatchRewriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BatchRewriter({} bytes held)", self.plain.capacity())
    }
}

/// Appends records, which were read before, with their timestamps counted from another base.
fn rebase(mut records: &[u8], from_ms: i64, to_ms: i64, output: &mut BytesMut) {
    const SOUND: &str = "these records were walked before";
    while !records.is_empty() {
        let length = varint::take_i32(&mut records).and_then(|length| usize::try_from(length).ok()).expect(SOUND);
        let (mut record, behind) = records.split_at(length);
        records = behind;
        let attributes = *record.split_off_first().expect(SOUND);
        let delta = varint::take_i64(&mut record).expect(SOUND);
        // In two's complement, like every reader: a strange timestamp comes back as it went.
        let delta = from_ms.wrapping_add(delta).wrapping_sub(to_ms);
        let length = 1 + varint::size(delta) + record.len();
        let mut prefix = [0; VARINT32_BYTES_MAX + 1 + VARINT64_BYTES_MAX];
        let mut at = varint::put(&mut prefix, i64::try_from(length).expect("a record is small"));
        prefix[at] = attributes;
        at += 1;
        at += varint::put(&mut prefix[at..], delta);
        output.extend_from_slice(&prefix[..at]);
        output.extend_from_slice(record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchBuilder, DecompressLimit, LeaderEpoch, Offset, check_stored, read_records, stamp};

    const HORIZON_MS: i64 = 1_800_000_000_000;

    /// Records as (offset, timestamp, key, value), for comparing.
    type Plain = Vec<(i64, i64, Option<Vec<u8>>, Option<Vec<u8>>)>;

    fn plain(batch: &[u8]) -> Plain {
        let records = read_records(batch, DecompressLimit::default()).unwrap();
        records
            .iter()
            .map(|record| {
                let record = record.unwrap();
                let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
                (record.offset.get(), record.timestamp_ms, owned(record.key), owned(record.value))
            })
            .collect()
    }

    /// Ten records of keys 0 to 4, the seventh a tombstone; from offset 100 on, by producer 7.
    fn batch(codec: Codec) -> Vec<u8> {
        let mut builder = BatchBuilder::new(codec, None);
        builder.producer(7, 1, 20);
        for number in 0..10_u8 {
            let value = (number != 6).then_some([b'v'; 200]);
            let headers: &[(&[u8], Option<&[u8]>)] = &[(b"h", Some(&[number]))];
            let value = value.as_ref().map(|value| &value[..]);
            builder.push(1000 - i64::from(number) * 3, Some(&[number % 5]), value, headers);
        }
        let mut batch = builder.finish();
        stamp(&mut batch, Offset::new(100).unwrap(), LeaderEpoch::new(3).unwrap());
        batch.to_vec()
    }

    fn rewritten(batch: &[u8], keep: impl FnMut(&Record<'_>) -> bool) -> (Rewritten, BytesMut) {
        let mut output = BytesMut::from(&b"before"[..]);
        let records = read_records(batch, DecompressLimit::default()).unwrap();
        let limit = DecompressLimit::default();
        let done = BatchRewriter::default().rewrite(&records, Some(HORIZON_MS), keep, limit, &mut output).unwrap();
        assert_eq!(output.split_to(6), &b"before"[..], "it appends");
        (done, output)
    }

    #[test]
    fn what_is_kept_stays_where_and_what_it_was_in_every_codec() {
        for codec in Codec::ALL {
            let before = batch(codec);
            let is_kept = |offset: i64| [101, 102, 105, 109].contains(&offset);
            let (done, after) = rewritten(&before, |record| is_kept(record.offset.get()));
            let (old, new) = (check_stored(&before).unwrap(), check_stored(&after).unwrap());
            assert_eq!(done, Rewritten::Changed(new), "{codec}");
            let kept: Plain = plain(&before).into_iter().filter(|record| is_kept(record.0)).collect();
            assert_eq!(plain(&after), kept, "{codec}");
            let expected = BatchHeader {
                batch_length: new.batch_length,
                crc: new.crc,
                record_count: 4,
                max_timestamp: 997,
                ..old
            };
            assert_eq!(new, expected, "{codec}");
            assert_eq!(after.len(), new.total_bytes());
        }
    }

    #[test]
    fn a_kept_tombstone_gives_the_batch_a_horizon_once_and_changes_no_timestamp() {
        let before = batch(Codec::Lz4);
        let records = read_records(&before, DecompressLimit::default()).unwrap();
        let done = BatchRewriter::default().rewrite(
            &records,
            None,
            |_| true,
            DecompressLimit::default(),
            &mut BytesMut::new(),
        );
        assert_eq!(done.unwrap(), Rewritten::Unchanged, "not yet");
        let (_, once) = rewritten(&before, |_| true);
        let header = check_stored(&once).unwrap();
        assert_eq!(header.delete_horizon_ms(), Some(HORIZON_MS));
        assert_eq!((header.record_count, header.max_timestamp), (10, 1000));
        assert_eq!(plain(&once), plain(&before));
        let (again, nothing) = rewritten(&once, |_| true);
        assert_eq!((again, nothing.len()), (Rewritten::Unchanged, 0), "the horizon stays");
        let (_, less) = rewritten(&once, |record| record.offset.get() > 104);
        assert_eq!(check_stored(&less).unwrap().delete_horizon_ms(), Some(HORIZON_MS));
        assert_eq!(plain(&less), plain(&before)[5..]);
    }

    #[test]
    fn nothing_is_written_where_all_or_nothing_is_kept() {
        let before = batch(Codec::None);
        assert_eq!(rewritten(&before, |_| false), (Rewritten::Emptied, BytesMut::new()));
        let (_, values) = rewritten(&before, |record| record.value.is_some());
        assert_eq!(check_stored(&values).unwrap().delete_horizon_ms(), None, "no tombstone is left");
        assert_eq!(rewritten(&values, |_| true), (Rewritten::Unchanged, BytesMut::new()));
    }

    #[test]
    fn what_is_left_can_be_read_within_the_limit_in_another_codec_if_need_be() {
        let mut builder = BatchBuilder::new(Codec::Zstd, None);
        let noise: Vec<u8> =
            (0..2000_u32).flat_map(|number| crate::crc32c(&number.to_be_bytes()).to_be_bytes()).collect();
        builder.push(1000, Some(b"a"), Some(&noise), &[]);
        builder.push(1000, Some(b"b"), Some(&[b'v'; 300_000]), &[]);
        let before = builder.finish();
        let ratio = |ratio_max| DecompressLimit { output_bytes_max: 1 << 20, ratio_max, ratio_free_bytes: 1000 };
        let records = read_records(&before, ratio(1100)).unwrap();
        let mut walk = records.iter();
        walk.next();
        let first_bytes = records.bytes() - walk.bytes_left();
        for (ratio_max, codec) in [(1 << 20, Codec::Zstd), (1100, Codec::Gzip), (200, Codec::None)] {
            let (limit, mut after) = (ratio(ratio_max), BytesMut::new());
            let keep = |record: &Record<'_>| record.key == Some(b"b");
            BatchRewriter::default().rewrite(&records, None, keep, limit, &mut after).unwrap();
            assert_eq!(check_stored(&after).unwrap().codec(), codec, "{ratio_max}");
            assert_eq!(read_records(&after, limit).unwrap().bytes(), records.bytes() - first_bytes, "{ratio_max}");
            assert_eq!(plain(&after), plain(&before)[1..], "{ratio_max}");
        }
    }

    #[test]
    fn a_delete_horizon_costs_each_record_no_more_than_is_said() {
        for timestamp_ms in [0, -1, i64::MIN, i64::MAX, HORIZON_MS] {
            let mut builder = BatchBuilder::new(Codec::Lz4, None);
            // Lengths around those at which one more byte is needed for them.
            (0..200).for_each(|bytes| builder.push(timestamp_ms, Some(&vec![b'k'; bytes]), None, &[]));
            let before = builder.finish();
            let (_, after) = rewritten(&before, |_| true);
            let bytes = |batch: &[u8]| read_records(batch, DecompressLimit::default()).unwrap().bytes();
            let grown = bytes(&after) - bytes(&before);
            assert!(grown <= 200 * HORIZON_BYTES_MAX, "{timestamp_ms}: {grown} bytes");
        }
    }

    #[test]
    fn places_of_many_records_are_not_kept_for_the_next_batch() {
        // Those of every other one of 1.2 million were 10 MB, until the end of the pass.
        let records = 3 * KEPT_BYTES_MAX / size_of::<Range<usize>>();
        let mut builder = BatchBuilder::new(Codec::None, None);
        (0..records).for_each(|_| builder.push(0, None, None, &[]));
        let mut batch = builder.finish();
        let header = check_stored(&batch).unwrap();
        let rewrite = |batch: &[u8]| {
            let mut rewriter = BatchRewriter::default();
            let (records, limit) =
                (read_records(batch, DecompressLimit::default()).unwrap(), DecompressLimit::default());
            let keep = |record: &Record<'_>| record.offset.get() % 2 == 0;
            let is_read = rewriter.rewrite(&records, None, keep, limit, &mut BytesMut::new()).is_ok();
            assert!(rewriter.kept.capacity() * size_of::<Range<usize>>() <= KEPT_BYTES_MAX);
            is_read
        };
        assert!(rewrite(&batch));
        // One more than there are: the walk ends with an error.
        let (record_count, last_offset_delta) = (header.record_count + 1, header.last_offset_delta + 1);
        BatchHeader { record_count, last_offset_delta, ..header }.write(&mut batch);
        assert!(!rewrite(&batch));
    }

    #[test]
    fn the_time_of_append_stays_that_of_all() {
        let mut before = batch(Codec::Gzip);
        crate::stamp_append_time(&mut before, 5000);
        let (_, after) = rewritten(&before, |record| record.offset.get() != 100);
        assert!(plain(&after).iter().all(|record| record.1 == 5000));
        assert_eq!(check_stored(&after).unwrap().max_timestamp, 5000);
    }
}
